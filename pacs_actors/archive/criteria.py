"""Matching keys as SQL conditions (PS3.4 C.2.2.2). Every value is a parameter; the text depends on the form
alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from pacs_actors.archive import key_values as values
from pacs_actors.archive.key_values import Range
from protocols.dataset.names import fold, groups
from protocols.errors import BadIdentifier

_NUMERIC: Final = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "SV", "UV"})
# Each of them makes conditions of its own; a statement takes 32,767 parameters.
MAX_FUZZY_WORDS: Final = 8
MAX_NAMES: Final = 16


class Conditions:
    """Conditions of one statement and its parameters, numbered as they come."""

    def __init__(self) -> None:
        self.parameters: list[object] = []
        self._numbers: dict[object, str] = {}

    def parameter(self, value: object, kind: str = "text") -> str:
        """A reference to a parameter; the same value is sent once."""
        if isinstance(value, str):
            value = values.storable(value)
        elif kind == "text[]" and isinstance(value, list):
            value = [values.storable(each) for each in value]
        hashed = (kind, tuple(value) if isinstance(value, list) else value)
        known = self._numbers.get(hashed)
        if known is None:
            self.parameters.append(value)
            known = self._numbers[hashed] = f"${len(self.parameters)}::{kind}"
        return known

    def scalar(self, column: str, vr: str, key: str) -> str:
        """The condition under which a column that holds one value matches a key that is not universal."""
        match vr:
            case "DA":
                return self._dated(column, "dicom_date", key, values.date_range(key), values.date)
            case "TM":
                return self._dated(column, "dicom_time", key, values.time_range(key), values.time)
            case "DT":
                return self._dated(
                    column, "dicom_datetime", key, values.date_time_range(key), values.date_time
                )
            case _ if vr in _NUMERIC:
                return self._number(column, values.split_values(key, vr))
            case _:
                return self.text(column, vr, values.split_values(key, vr))

    def text(self, column: str, vr: str, alternatives: Sequence[str]) -> str:
        """One of the alternatives, each with wildcards if the VR has them; case-sensitive."""
        if len(alternatives) == 1:
            return self._pattern(column, alternatives[0], wild=vr in values.WILDCARD_VRS)
        if vr in values.WILDCARD_VRS and any(map(values.has_wildcard, alternatives)):
            patterns = [values.like_pattern(each) for each in alternatives]
            return f"{column} LIKE ANY ({self.parameter(patterns, 'text[]')})"
        return f"{column} = ANY ({self.parameter(list(alternatives), 'text[]')})"

    def within_list(self, column: str, vr: str, key: str) -> str:
        """As ``scalar``, for a column of several values with backslashes between: one of them has to
        match.
        """
        return f"EXISTS (SELECT FROM unnest(string_to_array({column}, '\\')) v WHERE {self.scalar('v', vr, key)})"

    def array(self, column: str, vr: str, key: str) -> str:
        """As ``scalar``, for an array column."""
        alternatives = values.split_values(key, vr)
        if vr in values.WILDCARD_VRS and any(map(values.has_wildcard, alternatives)):
            return f"EXISTS (SELECT FROM unnest({column}) v WHERE {self.text('v', vr, alternatives)})"
        return f"{column} && {self.parameter(alternatives, 'text[]')}"

    def date_and_time(self, date: str, time: str, dates: Range, times: Range) -> str:
        """A date and a time as one moment (PS3.4 C.2.2.2.5, combined datetime matching)."""
        moment = f"(dicom_date({date}), dicom_time({time}))"
        # The dates once more by themselves: the planner can tell how few rows a range of a column leaves, not
        # of a pair.
        parts = [
            f"dicom_date({date}) {sign} {self.parameter(day)} AND {moment} {sign} "
            f"({self.parameter(day)}, {self.parameter(hour)})"
            for sign, day, hour in ((">=", dates.low, times.low), ("<=", dates.high, times.high))
            if day is not None
        ]
        return " AND ".join(parts)

    def name(self, columns: Sequence[str], key: str, *, fuzzy: bool, several: bool) -> str | None:
        """A PN key against the folded columns of the component groups; None if it is universal.

        A key of one group matches any group, one with ``=`` each group that it gives (PS3.5 6.2.1.2).
        fuzzy:   every word of the key, too, may begin a word of the group or be alike to one
        several: the columns hold several names with backslashes between
        raises:  BadIdentifier for more than MAX_NAMES alternatives
        """
        parts = []
        alternatives = values.split_values(key, "PN")
        if len(alternatives) > MAX_NAMES:
            raise BadIdentifier(f"a key of more than {MAX_NAMES} names")
        for alternative in alternatives:
            asked = [fold(group) for group in groups(alternative)]
            if not any(not values.is_universal(group) for group in asked):
                return None
            test = self._fuzzy if fuzzy else self._folded
            if "=" in alternative:
                given = [(c, g) for c, g in zip(columns, asked, strict=True) if not values.is_universal(g)]
                parts.append(" AND ".join(self._of_group(c, g, test, several) for c, g in given))
            else:
                either = (self._of_group(column, asked[0], test, several) for column in columns)
                parts.append(" OR ".join(either))
        return " OR ".join(f"({part})" for part in parts)

    def _of_group(self, column: str, group: str, test: Callable[[str, str], str], several: bool) -> str:
        if several:
            return f"EXISTS (SELECT FROM unnest(string_to_array({column}, '\\')) v WHERE {test('v', group)})"
        # An absent group matches no text; said aloud for the indexes that leave absent ones out.
        return f"({column} <> '' AND {test(column, group)})"

    def _folded(self, column: str, group: str) -> str:
        return self._pattern(column, group, wild=True)

    def _fuzzy(self, column: str, group: str) -> str:
        words = [word for word in re.split(r"[\s^*?,.\-]+", group) if word][:MAX_FUZZY_WORDS]
        if not words:
            return self._folded(column, group)
        alike = []
        for word in words:
            begins = self.parameter(values.like_pattern(f"{word}*"))
            anywhere = [self.parameter(values.like_pattern(f"*{edge}{word}*")) for edge in (" ", "^", "-")]
            tests = [f"{column} LIKE {each}" for each in (begins, *anywhere)]
            tests.append(f"{self.parameter(word)} <<% {column}")
            alike.append(f"({' OR '.join(tests)})")
        return f"({self._folded(column, group)} OR ({' AND '.join(alike)}))"

    def _pattern(self, column: str, value: str, *, wild: bool) -> str:
        if not wild or not values.has_wildcard(value):
            return f"{column} = {self.parameter(value)}"
        prefix = values.prefix_of(value)
        if prefix is not None:
            # Spelled as a range, it can use a plain index whatever the value is.
            after = values.after_prefix(prefix)
            upper = f" AND {column} < {self.parameter(after)}" if after is not None else ""
            return f"({column} >= {self.parameter(prefix)}{upper})"
        pattern = self.parameter(values.like_pattern(value))
        # Without three letters in a row the trigram index would be read whole: keep the planner away from it.
        searched = column if values.is_selective(value) else f"({column} || '')"
        return f"{searched} LIKE {pattern}"

    def _number(self, column: str, alternatives: Sequence[str]) -> str:
        numbers = [values.number(each) for each in alternatives]
        if any(each is None for each in numbers):
            return self.text(column, "IS", alternatives)
        return f"dicom_number({column}) = ANY ({self.parameter(numbers, 'numeric[]')})"

    def _dated(
        self, column: str, function: str, key: str, asked: Range | None, parse: Callable[[str], str | None]
    ) -> str:
        if asked is None:
            parsed = parse(key.strip(" "))
            if parsed is None:  # a malformed value finds its like
                return f"{column} = {self.parameter(key.strip(' '))}"
            return f"{function}({column}) = {self.parameter(parsed)}"
        ends = ((">=", asked.low), ("<=", asked.high))
        parts = [
            f"{function}({column}) {sign} {self.parameter(end)}" for sign, end in ends if end is not None
        ]
        return " AND ".join(parts)
