from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.archive import key_values as values
from pacs_actors.archive.answer_columns import SEVERAL_VALUES
from pacs_actors.archive.key_values import Range
from protocols.dataset.attributes import INDEXED
from protocols.errors import BadIdentifier

SOME_TEXT = st.text(alphabet="ab*?%_\\.^é王", max_size=8)


def like(pattern: str, text: str) -> bool:
    """PostgreSQL's LIKE, spelled out again."""
    tokens = re.findall(r"\\.|.", pattern, re.DOTALL)
    regex = "".join({"%": ".*", "_": "."}.get(token) or re.escape(token[-1]) for token in tokens)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def dicom_wildcard(pattern: str, text: str) -> bool:
    """PS3.4 C.2.2.2.4, straight from its words."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(dicom_wildcard(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and dicom_wildcard(pattern[1:], text[1:])


@given(SOME_TEXT, SOME_TEXT)
def test_like_patterns_mean_what_dicom_wildcards_mean(pattern: str, text: str) -> None:
    assert like(values.like_pattern(pattern), text) == dicom_wildcard(pattern, text)


@given(st.text(min_size=1, max_size=4), st.text(max_size=6))
def test_a_prefix_is_a_range_of_code_points(prefix: str, text: str) -> None:
    after = values.after_prefix(prefix)
    assert (prefix <= text and (after is None or text < after)) == text.startswith(prefix)


def test_the_last_code_point_carries_over() -> None:
    assert values.after_prefix("a\U0010ffff") == "b"
    assert values.after_prefix("\U0010ffff") is None
    assert values.after_prefix("\ud7ff") == "\ue000"


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("20240102", None),
        ("20240102-20240105", Range("20240102", "20240105")),
        ("-20240105", Range(None, "20240105")),
        ("20240102-", Range("20240102", None)),
        ("2024.01.02-20240105", Range("20240102", "20240105")),
        ("20240102 - 20240105", Range("20240102", "20240105")),
    ],
)
def test_date_ranges(key: str, found: Range | None) -> None:
    assert values.date_range(key) == found


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("1030", None),
        ("1000-1030", Range("100000.000000", "103059.999999")),
        ("10-", Range("100000.000000", None)),
        ("-103015.5", Range(None, "103015.599999")),
        ("10:00:00-10:30:00", Range("100000.000000", "103000.999999")),
    ],
)
def test_time_ranges(key: str, found: Range | None) -> None:
    assert values.time_range(key) == found


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("20240102", None),
        ("20240102101530-0500", None),
        ("2023-2024", Range("20230101000000.000000", "20241231235959.999999")),
        ("20230101-20240202", Range("20230101000000.000000", "20240202235959.999999")),
        ("20230101101530-0500-20240202-0500", Range("20230101101530.000000", "20240202235959.999999")),
        ("-20240202", Range(None, "20240202235959.999999")),
        ("20240202-", Range("20240202000000.000000", None)),
    ],
)
def test_date_time_ranges(key: str, found: Range | None) -> None:
    assert values.date_time_range(key) == found


@pytest.mark.parametrize("key", ["-", "2024-2025", "20240101-x", "x-20240101", "20240101-20240102-20240103"])
def test_malformed_date_ranges_are_refused(key: str) -> None:
    with pytest.raises(BadIdentifier):
        values.date_range(key)


@given(st.text(alphabet="0123456789-:.+ x", max_size=24))
def test_any_text_is_a_range_a_value_or_refused(key: str) -> None:
    for parse in (values.date_range, values.time_range, values.date_time_range):
        try:
            found = parse(key)
        except BadIdentifier:
            continue
        assert (found is None) or found.low is not None or found.high is not None


def test_numbers_compare_by_value() -> None:
    assert values.number("1") == values.number("01") == values.number(" +1.0 ") == values.number("1e0")
    assert values.number("1x") is None
    assert values.number("1e999") is None
    assert values.number("9" * 65) is None


def test_the_number_of_alternatives_is_limited() -> None:
    assert len(values.split_values("\\".join(["1.2"] * values.MAX_VALUES), "UI")) == values.MAX_VALUES
    with pytest.raises(BadIdentifier):
        values.split_values("\\".join(["1.2"] * (values.MAX_VALUES + 1)), "UI")


def test_attributes_of_several_values_are_those_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_VM

    several = {
        each.tag
        for each in INDEXED
        if not each.derived and each.vr != "SQ" and dictionary_VM(each.tag) != "1"
    }
    assert several == SEVERAL_VALUES
