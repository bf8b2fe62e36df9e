"""From what somebody wrote to the value of one setting.

A mistake is a ConfigError that begins with the key path and names the place it was written in.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NoReturn

import msgspec

from config.keys import SECRETS, Key
from protocols.errors import ConfigError

_SWITCHES: Final = {"yes": True, "on": True, "no": False, "off": False}
_NOTHING: Final = frozenset({"", "none", "null"})
_SHOWN_CHARACTERS: Final = 60
_EXPECTED_BY_PATTERN: Final = {
    r"^[ !-\[\]-~]*[!-\[\]-~][ !-\[\]-~]*$": "an AE title: 1 to 16 ASCII characters, no backslash",
    "^(debug|info|warning|error)$": "debug, info, warning or error",
    "^(folder|s3|azure)$": "folder, s3 or azure",
}


def from_toml(key: Key, path: str, value: object, source: str) -> Any:
    """Take a TOML value as it is typed: no text for a number, but an integer for a float is fine."""
    return _converted(key, path, value, source, value, strict=True)


def from_text(key: Key, path: str, text: str, source: str) -> Any:
    """Read a value from the environment or the command line.

    Lists are separated by commas. "none" or nothing is no value where a setting may have none.
    Switches understand yes, on, no and off besides true and false.
    """
    value: object = text.strip()
    if key.kind.startswith("list"):
        if key.kind.endswith("or none") and text.strip().lower() in _NOTHING - {""}:
            value = None
        else:
            value = [item.strip() for item in text.split(",") if item.strip()]
    elif key.kind.endswith("or none") and text.strip().lower() in _NOTHING:
        value = None
    elif key.is_switch:
        value = _SWITCHES.get(text.strip().lower(), text.strip().lower())
    return _converted(key, path, value, source, text, strict=key.kind.startswith(("text", "list")))


def refuse(path: str, what: str, source: str) -> NoReturn:
    raise ConfigError(f"{path}: {what} ({source})")


def _converted(key: Key, path: str, value: object, source: str, written: object, *, strict: bool) -> Any:
    try:
        converted = msgspec.convert(value, key.annotation, strict=strict)
    except msgspec.ValidationError as mistake:
        inner, expected = _expectation(str(mistake))
        refuse(path + inner, f"expected {expected}{_not(key, written)}", source)
    if isinstance(converted, float) and not math.isfinite(converted):
        refuse(path, f"expected a finite number{_not(key, written)}", source)
    # Spaces around an AE title mean nothing (PS3.5 6.2): drop them here, so that nobody compares them later.
    return converted.strip(" ") if key.name == "ae_title" else converted


def _expectation(mistake: str) -> tuple[str, str]:
    """Split msgspec's sentence: "Expected `int`, got `str` - at `$[1]`" -> ("[1]", "int")."""
    sentence, _, at = mistake.partition(" - at `$")
    what = (
        re.sub(r", got .*$", "", sentence).removeprefix("Expected ").replace("`", "").replace("null", "none")
    )
    if " matching regex '" in what:
        pattern = what.partition(" matching regex '")[2].removesuffix("'").replace("\\\\", "\\")
        what = _EXPECTED_BY_PATTERN.get(pattern, f"text like {pattern}")
    return at.removesuffix("`"), what.replace(" | ", " or ")


def _not(key: Key, written: object) -> str:
    if key.path in SECRETS:
        return ""
    shown = repr(written)
    return f", not {shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + '…'}"
