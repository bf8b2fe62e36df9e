"""The columns of C-FIND answers: for each attribute an expression that makes its text, and the tables it
needs. Pure.

Patients are ``p``, studies ``s``, series ``e``, instances ``i`` in every statement.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pacs_actors.archive.columns import TABLE, column
from protocols.dataset.attributes import BY_TAG, Attribute, Level

LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)

# The stored values have several values (VM 1-n) of which one has to match.
SEVERAL_VALUES: Final = frozenset({0x00080008, 0x00081050, 0x00081060, 0x00081070, 0x00081080})
ARRAYS: Final = frozenset({0x00080061, 0x00080062})
REQUEST_ATTRIBUTES: Final = 0x00400275
INSTANCE_AVAILABILITY: Final = 0x00080056

ALIAS: Final = {Level.PATIENT: "p", Level.STUDY: "s", Level.SERIES: "e", Level.IMAGE: "i"}
_JOIN: Final = {
    Level.PATIENT: "JOIN patients p ON p.id = s.patient",
    Level.STUDY: "JOIN studies s ON s.id = e.study",
    Level.SERIES: "JOIN series e ON e.id = i.series",
}
# Stands for the condition under which the asker sees a study ``s``; the planner puts it in.
SEEN: Final = "@seen@"
COUNTED: Final = {
    0x00201200: "(SELECT count(*) FROM studies s WHERE s.patient = p.id@seen@)",
    0x00201202: "(SELECT coalesce(sum(s.number_of_series), 0) FROM studies s WHERE s.patient = p.id@seen@)",
    0x00201204: "(SELECT coalesce(sum(s.number_of_instances), 0) FROM studies s WHERE s.patient = p.id@seen@)",
}

ALL_ITEMS: Final = "coalesce(e.request_attributes::text, '')"


@lru_cache(maxsize=256)
def select_list(
    level: Level, asked: tuple[int, ...], custom: tuple[tuple[int, str], ...]
) -> tuple[str, tuple[int, ...], frozenset[Level], tuple[int, ...]]:
    """(select list with a comma behind each expression, its tags, levels that it needs, tags not
    supported).
    """
    vrs = dict(custom)
    expressions, tags, beyond = [], [], []
    levels = set()
    for tag in asked:
        attribute = BY_TAG.get(tag)
        if tag in vrs and (found := custom_column(tag, level)) is not None:
            of_level, expression = found
        elif tag == INSTANCE_AVAILABILITY and level is not Level.PATIENT:
            of_level, expression = level, f"{ALIAS[level]}.availability"
        elif attribute is not None and LEVELS.index(attribute.level) <= LEVELS.index(level):
            of_level, expression = attribute.level, _expression(attribute)
        else:
            beyond.append(tag)
            continue
        expressions.append(f"{expression}, ")
        tags.append(tag)
        levels.add(of_level)
    return "".join(expressions), tuple(tags), frozenset(levels), tuple(beyond)


def _expression(attribute: Attribute) -> str:
    if attribute.tag in COUNTED:
        return f"{COUNTED[attribute.tag]}::text"
    if attribute.tag == REQUEST_ATTRIBUTES:
        return ALL_ITEMS
    name = f"{ALIAS[attribute.level]}.{column(attribute)}"
    if attribute.tag in ARRAYS:
        return f"array_to_string({name}, '\\')"
    return f"{name}::text" if attribute.derived else name


def custom_column(tag: int, level: Level) -> tuple[Level, str] | None:
    """Custom attributes of group 0010 are the patient's; others answer at any level below, from that level's
    row.
    """
    of_level = Level.PATIENT if tag >> 16 == 0x0010 else level
    if of_level is Level.PATIENT and tag >> 16 != 0x0010:
        return None
    return of_level, f"coalesce({ALIAS[of_level]}.custom ->> '{tag:08X}', '')"


@lru_cache(maxsize=64)
def tables(level: Level, used: frozenset[Level]) -> str:
    highest = min(LEVELS.index(each) for each in used)
    lowest = LEVELS.index(level)
    joins = [_JOIN[LEVELS[place]] for place in range(lowest - 1, highest - 1, -1)]
    return " ".join((f"{TABLE[level]} {ALIAS[level]}", *joins))
