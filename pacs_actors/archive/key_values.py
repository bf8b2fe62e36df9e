"""What the values of matching keys mean (PS3.4 C.2.2.2): wildcards, ranges, numbers. Pure text rules, no SQL.

Dates, times and date-times are brought to the forms of the SQL functions ``dicom_date``, ``dicom_time`` and
``dicom_datetime``: digits of fixed width, which compare as text.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from msgspec import Struct

from protocols.errors import BadIdentifier

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
SINGLE_VALUED_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is text there
MAX_VALUES: Final = 10_000
MAX_VALUE_CHARACTERS: Final = 4096

# The same forms as in the SQL functions.
_MONTH, _DAY, _HOUR = "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])", "([01][0-9]|2[0-3])"
_MINUTE, _SECOND, _FRACTION = "([0-5][0-9])", "([0-5][0-9]|60)", r"(?:\.([0-9]{1,6}))?"
_DATE: Final = re.compile(rf"([0-9]{{4}})\.?{_MONTH}\.?{_DAY}")
_TIME: Final = re.compile(rf"{_HOUR}(?::?{_MINUTE}(?::?{_SECOND}{_FRACTION})?)?")
_OF_DATETIME: Final = rf"(?:{_MONTH}(?:{_DAY}(?:{_HOUR}(?:{_MINUTE}(?:{_SECOND}{_FRACTION})?)?)?)?)?"
_DATETIME: Final = re.compile(rf"([0-9]{{4}}){_OF_DATETIME}([+-][0-9]{{4}})?")
_NUMBER: Final = re.compile(
    r" *[+-]?(?:[0-9]{1,64}(?:\.[0-9]{0,64})?|\.[0-9]{1,64})(?:[eE][+-]?[0-9]{1,2})? *"
)
_LITERAL_RUN: Final = re.compile(r"[^\W_]{3,}")

_EARLIEST: Final = "0101000000"  # month, day, hour, minute, second that an imprecise date-time begins with
_LATEST: Final = "1231235959"


class Range(Struct, frozen=True):
    """Both ends belong to it; None is open (PS3.4 C.2.2.2.5)."""

    low: str | None
    high: str | None


def split_values(key: str, vr: str) -> list[str]:
    """The alternatives of a key, without padding: a UID list, or several values of which one has to match.

    raises: BadIdentifier for more than MAX_VALUES, or one of more than MAX_VALUE_CHARACTERS
    """
    if vr in SINGLE_VALUED_VRS:
        values = [key.rstrip(" ")]
    elif "\\" not in key:
        values = [key.strip(" ")]
    else:
        parts = key.split("\\", MAX_VALUES)
        if len(parts) > MAX_VALUES:
            raise BadIdentifier(f"a key of more than {MAX_VALUES} values")
        values = [stripped for value in parts if (stripped := value.strip(" "))]
    if len(key) > MAX_VALUE_CHARACTERS and max(map(len, values), default=0) > MAX_VALUE_CHARACTERS:
        raise BadIdentifier(f"a key of more than {MAX_VALUE_CHARACTERS} characters")
    return values


def storable(text: str) -> str:
    """The text without what PostgreSQL's text cannot hold: NUL and lone surrogates become U+FFFD."""
    if text.isascii():
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" or c == "\0" else c for c in text)


def is_universal(key: str) -> bool:
    """Zero length, or nothing but asterisks: of every VR, since senders put them into dates as well."""
    return not key.strip(" *")


def has_wildcard(value: str) -> bool:
    return "*" in value or "?" in value


def like_pattern(value: str) -> str:
    """The LIKE pattern (escape character: backslash) of a value with ``*`` and ``?``."""
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return re.sub(r"\*+", "%", escaped).replace("?", "_")


def is_selective(value: str) -> bool:
    """Is there a run of three letters or digits, so that a trigram index narrows the search?"""
    return _LITERAL_RUN.search(value) is not None


def prefix_of(value: str) -> str | None:
    """``abc`` of ``abc*``; None if the value is not of that form."""
    bare = value.rstrip("*")
    return bare if bare and bare != value and not has_wildcard(bare) else None


def after_prefix(prefix: str) -> str | None:
    """The least text, by code points, that is greater than every text with this prefix; None if there is
    none.
    """
    for end in range(len(prefix), 0, -1):
        following = ord(prefix[end - 1]) + 1
        if following <= 0x10FFFF:
            # Surrogates are no characters.
            return prefix[: end - 1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)
    return None


def number(value: str) -> Decimal | None:
    """An IS or DS value (also US…): 1, 01 and 1.0 are the same; None if it is none."""
    return Decimal(value.strip(" ")) if _NUMBER.fullmatch(value) else None


def date(value: str) -> str | None:
    """YYYYMMDD of a DA value, also of the old form YYYY.MM.DD; None if it is none."""
    found = _DATE.fullmatch(value)
    return "".join(found.groups()) if found else None


def time(value: str, *, latest: bool = False) -> str | None:
    """HHMMSS.FFFFFF of a TM value; what it leaves out is filled with the earliest, or latest, possible."""
    found = _TIME.fullmatch(value)
    if not found:
        return None
    hours, minutes, seconds, fraction = found.groups()
    sexagesimal, digit = ("59", "9") if latest else ("00", "0")
    return f"{hours}{minutes or sexagesimal}{seconds or sexagesimal}.{(fraction or '').ljust(6, digit)}"


def date_time(value: str, *, latest: bool = False) -> str | None:
    """YYYYMMDDHHMMSS.FFFFFF of a DT value in its local time: its offset from UTC is not applied."""
    found = _DATETIME.fullmatch(value)
    if not found:
        return None
    year, *parts, fraction, _ = found.groups()
    rest = "".join(part or "" for part in parts)
    filler, digit = (_LATEST, "9") if latest else (_EARLIEST, "0")
    return f"{year}{rest}{filler[len(rest) :]}.{(fraction or '').ljust(6, digit)}"


def date_range(key: str) -> Range | None:
    """The range of a DA key, None if it is a single value. raises: BadIdentifier for a malformed one."""
    if "-" not in key:
        return None
    low, _, high = key.partition("-")
    return _range(key, low, high, date(low.strip()), date(high.strip()))


def time_range(key: str) -> Range | None:
    """The range of a TM key; it does not cross midnight, and an imprecise end includes all it may mean."""
    if "-" not in key:
        return None
    low, _, high = key.partition("-")
    return _range(key, low, high, time(low.strip()), time(high.strip(), latest=True))


def date_time_range(key: str) -> Range | None:
    """The range of a DT key.

    A hyphen also begins an offset from UTC. ``-hhmm`` up to -1200 after a date-time is one, unless another
    hyphen or nothing at all makes it the sign of the range (PS3.5 6.2: offsets are -1200 to +1400).
    """
    if "-" not in key:
        return None
    single = _DATETIME.fullmatch(key)
    if single and single[8] and "-0000" <= single[8] <= "-1200":
        return None
    for place in (index for index, sign in enumerate(key) if sign == "-"):
        low, high = key[:place].strip(), key[place + 1 :].strip()
        first, last = date_time(low), date_time(high, latest=True)
        if (first or not low) and (last or not high) and (first or last):
            return Range(first, last)
    raise BadIdentifier("a malformed range of date-times")


def _range(key: str, low: str, high: str, first: str | None, last: str | None) -> Range:
    malformed = (low.strip() and first is None) or (high.strip() and last is None)
    if malformed or (first is None and last is None):
        raise BadIdentifier(f"a malformed range of {len(key)} characters")
    return Range(first, last)
