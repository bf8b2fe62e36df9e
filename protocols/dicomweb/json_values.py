"""Single values of the DICOM JSON Model as JSON text (PS3.18 F.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from typing import Final

quote: Final[Callable[[str], str]] = encode_basestring
"""JSON text of a string, everything but control characters, quotes and backslashes as it is."""

_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_PLAIN: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_EXACT_INTEGERS: Final = 2**53


def person_name(value: str) -> str:
    """A PN value as an object of its component groups; null if all are empty (PS3.18 F.2.2)."""
    if "=" not in value:
        return f'{{"Alphabetic":{quote(value)}}}' if value else "null"
    groups = zip(_GROUPS, value.split("=", 3), strict=False)
    parts = [f'"{name}":{quote(group)}' for name, group in groups if group]
    return f"{{{','.join(parts)}}}" if parts else "null"


@lru_cache(maxsize=4096)
def number(value: str) -> str:
    """An IS or DS value as a JSON number; as a string if that would lose digits, or it is no number (PS3.18 F.2.3)."""
    if _PLAIN.fullmatch(value):
        return value if value != "-0" else "0"
    if len(value) > 64 or not _DECIMAL.fullmatch(value):
        return quote(value) if value else "null"
    if _INTEGER.fullmatch(value):
        whole = int(value)
        return str(whole) if abs(whole) <= _EXACT_INTEGERS else quote(value)
    real = float(value)
    return repr(real) if isfinite(real) and Decimal(repr(real)) == Decimal(value) else quote(value)


def whole_number(value: int) -> str:
    """A 64-bit integer: a string beyond what JavaScript's numbers hold exactly."""
    return str(value) if abs(value) <= _EXACT_INTEGERS else f'"{value}"'


def real_number(value: float) -> str:
    """FL and FD; JSON has no infinity and no NaN, so they are null."""
    return repr(value) if isfinite(value) else "null"
