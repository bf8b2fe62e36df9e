"""C-FIND queries as SQL (PS3.4 C.4.1): what may be asked at a level, what is matched, what comes back. Pure.

Not negotiated, a query is hierarchical: the unique keys above its level must be there with one value each.
Attributes of levels above the query's may be matched and returned all the same; those of levels below are
reported as unsupported, neither matched nor returned.

Fuzzy semantic matching of person names, when negotiated: the key is cut into words at spaces, carets,
hyphens, commas, periods and wildcards; a name matches if, within one component group, each word begins a word
of the name or shares at least 28 % of its trigrams with a stretch of whole words of it (John, Jon). What
matches without it matches with it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from pacs_actors.archive import key_values as values
from pacs_actors.archive.answer_columns import (
    ALIAS,
    ALL_ITEMS,
    ARRAYS,
    COUNTED,
    INSTANCE_AVAILABILITY,
    LEVELS,
    REQUEST_ATTRIBUTES,
    SEEN,
    SEVERAL_VALUES,
    custom_column,
    select_list,
    tables,
)
from pacs_actors.archive.columns import column, name_columns
from pacs_actors.archive.criteria import Conditions
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_clause
from protocols.dataset.attributes import BY_TAG, Attribute, Level
from protocols.dataset.identifier import Identifier
from protocols.dataset.transfer_syntax import dictionary_vr
from protocols.errors import BadIdentifier

UNIQUE_KEY: Final = {
    Level.PATIENT: 0x00100020, Level.STUDY: 0x0020000D, Level.SERIES: 0x0020000E, Level.IMAGE: 0x00080018,
}  # fmt: skip

# Not of the index: the level, the answer's character set, where it can be had, the time zone. And what is never matched.
_NOT_STORED: Final = frozenset({0x00080005, 0x00080052, 0x00080054, 0x00080201, 0x00081190})
NOT_MATCHED: Final = _NOT_STORED | {INSTANCE_AVAILABILITY}

_DATE_AND_TIME: Final = (
    (0x00080020, 0x00080030), (0x00080021, 0x00080031), (0x00080022, 0x00080032), (0x00080023, 0x00080033),
    (0x00100030, 0x00100032), (0x00400244, 0x00400245),
)  # fmt: skip


MAX_ITEM_KEYS: Final = 32


class Root(Enum):
    """Query/Retrieve information models (PS3.4 C.6)."""

    PATIENT = "patient"
    STUDY = "study"
    PATIENT_STUDY_ONLY = "patient/study only"

    @property
    def levels(self) -> tuple[Level, ...]:
        match self:
            case Root.PATIENT:
                return LEVELS
            case Root.STUDY:
                return LEVELS[1:]
            case Root.PATIENT_STUDY_ONLY:
                return LEVELS[:2]


class FindQuery(Struct, frozen=True):
    """One C-FIND or QIDO-RS request, or a page of it.

    keys:      tag -> text of the key, "" and * universal
    sequences: tag -> the keys of its one item
    returns:   tags asked for, in the order in which the answers shall have them
    limit:     rows of this page
    after:     the cursor that the page before ended with
    scope:     the studies that the asker may see
    newest_first: what came last comes first, else last
    offset:    rows to leave out before the page
    """

    root: Root
    level: Level
    keys: Mapping[int, str]
    returns: tuple[int, ...]
    sequences: Mapping[int, Mapping[int, str]] = {}
    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False
    limit: int = 500
    after: tuple[int, ...] | None = None
    scope: StudyScope = EVERYTHING
    newest_first: bool = False
    offset: int = 0


class FindPlan(Struct, frozen=True):
    """The statement of a query.

    returns:      the tags of a row's first values; the cursor's numbers come behind them
    cursor_width: how many
    unsupported:  tags asked for that are not answered: the status is then FF01H
    matching:     ``FROM`` and ``WHERE`` of all that match, whatever the page; takes the first ``matching_parameters``
    """

    sql: str
    parameters: list[object]
    returns: tuple[int, ...]
    cursor_width: int
    unsupported: tuple[int, ...]
    matching: str
    matching_parameters: int


def level_of(text: str, root: Root) -> Level:
    """raises: BadIdentifier (A900H) if the level is not one of the information model"""
    for level in root.levels:
        if level.value == text.strip(" \0"):
            return level
    raise BadIdentifier("a Query/Retrieve Level that the information model does not have")


def find_query(
    identifier: Identifier,
    root: Root,
    *,
    relational: bool = False,
    combined_datetime: bool = False,
    fuzzy: bool = False,
    limit: int = 500,
    scope: StudyScope = EVERYTHING,
) -> FindQuery:
    """The query of a C-FIND identifier. raises: BadIdentifier for a level that the root does not have"""
    return FindQuery(
        root=root,
        level=level_of(identifier.level, root),
        keys=identifier.keys,
        returns=(*identifier.keys, *identifier.sequences, *identifier.unsupported),
        sequences=identifier.sequences,
        relational=relational,
        combined_datetime=combined_datetime,
        fuzzy=fuzzy,
        limit=limit,
        scope=scope,
    )


def plan(query: FindQuery, custom: Mapping[int, str] | None = None) -> FindPlan:
    """Make the statement of a query.

    custom: tag -> VR of the attributes that are indexed besides the built-in ones
    raises: BadIdentifier (A900H) for a missing unique key or a malformed range
    """
    return _Planner(query, custom or {}).plan()


class _Planner:
    def __init__(self, query: FindQuery, custom: Mapping[int, str]) -> None:
        self.query, self.custom = query, custom
        self.conditions = Conditions()
        self.clauses: list[str] = []
        self.used = {query.level}
        self.unsupported: dict[int, None] = {}
        self.items: str | None = None
        self.seen = scope_clause(query.scope, self.conditions.parameter)

    def plan(self) -> FindPlan:
        query = self.query
        if query.level not in query.root.levels:
            raise BadIdentifier("a Query/Retrieve Level that the information model does not have")
        if not query.relational:
            _check_unique_keys(query)
        combined = self._combined() if query.combined_datetime else frozenset()
        for tag, key in query.keys.items():
            if not key or tag in combined or tag in NOT_MATCHED or values.is_universal(key):
                continue
            clause = self._clause(tag, key)
            if clause is None:
                self.unsupported[tag] = None
            elif clause:
                self.clauses.append(clause)
        for tag, keys in query.sequences.items():
            self._sequence(tag, keys)
        self._limit_to_scope()
        return self._statement()

    def _limit_to_scope(self) -> None:
        """A patient is seen through a study that may be seen."""
        if self.seen is None:
            return
        if self.query.level is Level.PATIENT:
            self.clauses.append(f"EXISTS (SELECT FROM studies s WHERE s.patient = p.id AND {self.seen})")
        else:
            self.used.add(Level.STUDY)
            self.clauses.append(self.seen)

    def _within_scope(self, counted: str) -> str:
        """A patient's studies are counted as far as they may be seen."""
        return counted.replace(SEEN, f" AND {self.seen}" if self.seen is not None else "")

    def _statement(self) -> FindPlan:
        query = self.query
        known = tuple(dict.fromkeys(tag for tag in query.returns if tag not in _NOT_STORED))
        select, returns, levels, beyond = select_list(query.level, known, tuple(self.custom.items()))
        self.unsupported.update(dict.fromkeys(beyond))
        select = self._within_scope(select if self.items is None else select.replace(ALL_ITEMS, self.items))
        matching = f"FROM {tables(query.level, frozenset(self.used))}{_where(self.clauses)}"
        matching_parameters = len(self.conditions.parameters)
        cursor = ("i.series", "i.id") if query.level is Level.IMAGE else (f"{ALIAS[query.level]}.id",)
        way, further = (" DESC", "<") if query.newest_first else ("", ">")
        order = f"ORDER BY {', '.join(f'{each}{way}' for each in cursor)}"
        clauses = self.clauses
        if query.after is not None:
            after = ", ".join(self.conditions.parameter(number, "bigint") for number in query.after)
            clauses = [*clauses, f"({', '.join(cursor)}) {further} ({after})"]
        # Names, operators and parameter numbers only; LIMIT as a literal, so that plans know how little is
        # wanted.
        page = f"{order} LIMIT {int(query.limit)}"
        if query.offset:
            page += f" OFFSET {self.conditions.parameter(query.offset, 'bigint')}"
        joined = tables(query.level, frozenset(self.used | levels))
        columns = f"SELECT {select}{', '.join(cursor)} FROM"
        if query.newest_first and levels - self.used:
            # The page first, and only of it what the keys do not ask about.
            found = tables(query.level, frozenset(self.used))
            page = " ".join(("SELECT", ", ".join(cursor), "FROM", f"{found}{_where(clauses)}", page))
            sql = f"{columns} {joined} WHERE ({', '.join(cursor)}) IN ({page}) {order}"
        else:
            sql = f"{columns} {joined}{_where(clauses)} {page}"
        return FindPlan(
            sql, self.conditions.parameters, returns, len(cursor), tuple(self.unsupported),
            matching, matching_parameters,
        )  # fmt: skip

    def _clause(self, tag: int, key: str) -> str | None:
        """None if the key is not supported at this level; "" if it turns out to be universal."""
        if tag in self.custom:
            found = custom_column(tag, self.query.level)
            if found is None:
                return None
            level, expression = found
            self.used.add(level)
            return self._custom_clause(expression, self.custom[tag], key)
        attribute = BY_TAG.get(tag)
        if attribute is None or not self._reaches(attribute) or attribute.vr == "SQ":
            return None
        self.used.add(attribute.level)
        alias = ALIAS[attribute.level]
        several = tag in SEVERAL_VALUES
        if attribute.vr == "PN":
            columns = [f"{alias}.{name}" for name in name_columns(attribute)]
            return self.conditions.name(columns, key, fuzzy=self.query.fuzzy, several=several) or ""
        if tag in COUNTED:
            return self.conditions.scalar(self._within_scope(f"{COUNTED[tag]}::text"), attribute.vr, key)
        name = f"{alias}.{column(attribute)}"
        if tag in ARRAYS:
            return self.conditions.array(name, attribute.vr, key)
        if attribute.derived:
            return self.conditions.scalar(f"{name}::text", attribute.vr, key)
        if several:
            return self.conditions.within_list(name, attribute.vr, key)
        return self.conditions.scalar(name, attribute.vr, key)

    def _custom_clause(self, expression: str, vr: str, key: str) -> str | None:
        """Custom attributes have no folded columns: of names, case is ignored, accents are not."""
        if vr == "SQ":
            return None
        if vr != "PN":
            return self.conditions.within_list(expression, vr, key)
        columns = [f"lower(split_part({expression}, '=', {number}))" for number in (1, 2, 3)]
        return self.conditions.name(columns, key, fuzzy=False, several=False) or ""

    def _reaches(self, attribute: Attribute) -> bool:
        return LEVELS.index(attribute.level) <= LEVELS.index(self.query.level)

    def _combined(self) -> frozenset[int]:
        """Match dates and times of the same form of range together; returns their tags."""
        done: set[int] = set()
        for day, hour in _DATE_AND_TIME:
            if day not in self.query.keys or hour not in self.query.keys or not self._reaches(BY_TAG[day]):
                continue
            dates = values.date_range(self.query.keys[day])
            times = values.time_range(self.query.keys[hour])
            if dates is None or times is None or _form(dates) != _form(times):
                continue
            attribute = BY_TAG[day]
            self.used.add(attribute.level)
            alias = ALIAS[attribute.level]
            names = (f"{alias}.{column(attribute)}", f"{alias}.{column(BY_TAG[hour])}")
            self.clauses.append(self.conditions.date_and_time(*names, dates, times))
            done |= {day, hour}
        return frozenset(done)

    def _sequence(self, tag: int, keys: Mapping[int, str]) -> None:
        """One stored item must match all keys of the item (PS3.4 C.2.2.2.6); the matching items come back."""
        if tag != REQUEST_ATTRIBUTES or not self._reaches(BY_TAG[tag]):
            self.unsupported[tag] = None
            return
        asked = {inner: key for inner, key in keys.items() if not values.is_universal(key)}
        if len(asked) > MAX_ITEM_KEYS:
            raise BadIdentifier(f"more than {MAX_ITEM_KEYS} keys in a sequence")
        parts = []
        for inner, key in asked.items():
            vr = dictionary_vr(inner)
            if vr == "SQ":
                self.unsupported[tag] = None
                continue
            path = f"item #> '{{{inner:08X},Value}}'"
            if vr == "PN":
                test = self.conditions.name(
                    ("lower(v ->> 'Alphabetic')",) * 3, key, fuzzy=False, several=False
                )
            else:
                test = self.conditions.scalar("(v #>> '{}')", vr, key)
            of_item = f"CASE jsonb_typeof({path}) WHEN 'array' THEN {path} ELSE '[]' END"
            parts.append(f"EXISTS (SELECT FROM jsonb_array_elements({of_item}) v WHERE {test})")
        if parts:
            self.used.add(Level.SERIES)
            of_series = "FROM jsonb_array_elements(e.request_attributes) item WHERE " + " AND ".join(parts)
            self.clauses.append(f"EXISTS (SELECT {of_series})")
            self.items = f"coalesce((SELECT jsonb_agg(item) {of_series})::text, '')"


def _where(clauses: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(f'({clause})' for clause in clauses)}" if clauses else ""


def _form(asked: values.Range) -> tuple[bool, bool]:
    return asked.low is None, asked.high is None


def _check_unique_keys(query: FindQuery) -> None:
    """PS3.4 C.4.1.2.1: hierarchical search needs one value of the unique key of each level above."""
    for level in query.root.levels:
        if level is query.level:
            return
        key = query.keys.get(UNIQUE_KEY[level], "")
        if values.is_universal(key) or "\\" in key or (level is Level.PATIENT and values.has_wildcard(key)):
            raise BadIdentifier(
                f"without a single {BY_TAG[UNIQUE_KEY[level]].keyword}, above the level asked for"
            )
