"""Media types as headers carry them (RFC 9110 section 8.3.1), read as tolerantly as clients write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct


class MediaType(Struct, frozen=True):
    """name: ``type/subtype`` in lower case; parameters: names in lower case, values unquoted, the first of each name."""

    name: str
    parameters: Mapping[str, str] = {}

    def parameter(self, name: str) -> str:
        return self.parameters.get(name, "")


def parse_media_type(text: str) -> MediaType | None:
    """One media type; None if it is none.

    A quoted ``type`` that swallowed its neighbours, ``type="image/jpeg; transfer-syntax=1.2"``, is taken apart.
    """
    name, *rest = split_outside_quotes(text, ";")
    # A plus sign that nobody encoded arrives as a space from a query.
    name = name.strip().lower().replace(" ", "+")
    kind, slash, subtype = name.partition("/")
    if not (slash and _is_token(kind) and _is_token(subtype)):
        return None
    parameters: dict[str, str] = {}
    for each in rest:
        key, equals, value = each.partition("=")
        if equals:
            parameters.setdefault(key.strip().lower(), _unquoted(value.strip()))
    if ";" in parameters.get("type", ""):
        inner = parse_media_type(parameters["type"])
        if inner is not None:
            parameters = {**inner.parameters, **parameters, "type": inner.name}
    return MediaType(name, parameters)


def split_outside_quotes(text: str, separator: str) -> Iterator[str]:
    """The pieces between separators that stand outside quoted strings. An open quote goes to the end."""
    start, at, quoted = 0, 0, False
    while at < len(text):
        character = text[at]
        if quoted and character == "\\":
            at += 1
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[start:at]
            start = at + 1
        at += 1
    yield text[start:]


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in text)


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    plain, at = [], 1
    while at < len(value) and value[at] != '"':
        if value[at] == "\\":
            at += 1
        plain.append(value[at : at + 1])
        at += 1
    return "".join(plain)
