"""Which columns a level's attributes have, and how wide a text they may hold. Pure rules, made from
``INDEXED``.
"""

from __future__ import annotations

from typing import Final

from protocols.dataset.attributes import INDEXED, Attribute, Level

GROUPS: Final = ("alphabetic", "ideographic", "phonetic")

TABLE: Final = {
    Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances",
}  # fmt: skip

# A btree entry takes at most 2704 bytes, a character at most four: two of these, or one name, always fit. The
# standard's own limit is 64 characters a value or component group.
LIMIT_TEXT: Final = 256
LIMIT_NAME: Final = 512
_LONG: Final = frozenset({"LT", "ST", "UT", "UC", "UR"})


def stored(level: Level) -> tuple[Attribute, ...]:
    """The attributes of a level that are read from data sets into columns."""
    return tuple(each for each in INDEXED if each.level is level and each.column and not each.derived)


def column(attribute: Attribute) -> str:
    if attribute.column is None:
        raise KeyError(attribute.keyword)
    return attribute.column


def name_columns(attribute: Attribute) -> tuple[str, ...]:
    """The folded search columns of a PN attribute, one for each component group (PS3.5 6.2.1.2)."""
    return tuple(f"{column(attribute)}_{group}" for group in GROUPS)


def limit(vr: str) -> int | None:
    """Characters kept of a value; None: as the scanner limits it."""
    return None if vr in _LONG or vr == "SQ" else LIMIT_NAME if vr == "PN" else LIMIT_TEXT


def columns_of(level: Level) -> tuple[str, ...]:
    """Every text column that ingest fills for a level, search columns included."""
    names: list[str] = []
    for attribute in stored(level):
        names.append(column(attribute))
        if attribute.vr == "PN":
            names.extend(name_columns(attribute))
    return tuple(names)
