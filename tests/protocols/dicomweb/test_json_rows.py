"""Rows of text as DICOM JSON: each VR, several values, names, numbers, order."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dicomweb.json_rows import RowEncoder
from protocols.dicomweb.json_values import number, person_name, real_number, whole_number


def encoded(vr: str, value: str) -> Any:
    encoder = RowEncoder((0x00100010,), {0x00100010: vr}, constants={}, made={})
    return json.loads(encoder.encode([(value,)]))["00100010"]


@pytest.mark.parametrize(
    ("vr", "text", "values"),
    [
        ("LO", "plain", ["plain"]), ("LO", 'a "quoted" text\n', ['a "quoted" text\n']), ("CS", "CT\\MR", ["CT", "MR"]),
        ("CS", "A\\\\B", ["A", None, "B"]), ("LT", "a\\b", ["a\\b"]), ("UT", "x", ["x"]), ("SH", "王", ["王"]),
        ("IS", "12\\3", [12, 3]), ("US", "512", [512]), ("DS", "1.50", [1.5]), ("DA", "20240101", ["20240101"]),
        ("PN", "Doe^John\\Roe^Jane", [{"Alphabetic": "Doe^John"}, {"Alphabetic": "Roe^Jane"}]),
        ("UI", "1.2\\1.3", ["1.2", "1.3"]), ("SQ", '[{"00080050":{"vr":"SH"}}]', [{"00080050": {"vr": "SH"}}]),
    ],
)  # fmt: skip
def test_a_value_is_encoded_by_its_vr(vr: str, text: str, values: list[Any]) -> None:
    assert encoded(vr, text) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", ["LO", "PN", "DS", "SQ", "UT", "US"])
def test_without_a_value_there_is_the_vr_alone(vr: str) -> None:
    assert encoded(vr, "") == {"vr": vr}


def test_attributes_come_in_the_order_of_their_tags_wherever_they_come_from() -> None:
    encoder = RowEncoder(
        (0x0020000D, 0x00100010),
        {0x0020000D: "UI", 0x00100010: "PN"},
        constants={0x00080005: '{"vr":"CS"}', 0x00280000: '{"vr":"UL"}', 0x00100020: '{"vr":"LO"}'},
        made={0x00081190: lambda columns: [f'"{uid}"' for uid in columns[0]]},
    )
    rows = json.loads(f"[{encoder.encode([('1.2', 'A'), ('1.3', '')])}]")
    order = ["00080005", "00081190", "00100010", "00100020", "0020000D", "00280000"]
    assert [list(row) for row in rows] == [order, order]
    assert [row["00081190"] for row in rows] == ["1.2", "1.3"]
    assert encoder.encode([]) == ""


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("5", "5"), ("-5", "-5"), ("+5", "5"), ("007", "7"), ("0", "0"), ("-0", "0"), ("1.0", "1.0"), (".5", "0.5"),
        ("5.", "5.0"), ("0.500000", "0.5"), ("1.5E3", "1500.0"), ("1e-7", "1e-07"), ("", "null"),
        ("9007199254740992", "9007199254740992"), ("9007199254740993", '"9007199254740993"'),
        ("0.1234567890123456789", '"0.1234567890123456789"'), ("1e999", '"1e999"'), ("1e-400", '"1e-400"'),
        ("NaN", '"NaN"'), ("abc", '"abc"'), ("1 2", '"1 2"'), ("٣", '"٣"'), ("9" * 100, f'"{"9" * 100}"'),
    ],
)  # fmt: skip
def test_a_number_is_a_number_unless_that_would_change_it(text: str, made: str) -> None:
    assert number(text) == made
    json.loads(made)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=6).map(str)
    | st.floats(allow_nan=False).map(repr)
)
def test_no_number_loses_a_digit(text: str) -> None:
    made = json.loads(number(text), parse_float=Decimal, parse_int=Decimal)
    assert made == text if isinstance(made, str) else made == Decimal(text)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Doe^John", {"Alphabetic": "Doe^John"}), ("=王^小東", {"Ideographic": "王^小東"}), ("==ワン", {"Phonetic": "ワン"}),
        ("a=b=c", {"Alphabetic": "a", "Ideographic": "b", "Phonetic": "c"}),
        ("a=b=c=d", {"Alphabetic": "a", "Ideographic": "b", "Phonetic": "c"}), ("==", None), ("", None),
    ],
)  # fmt: skip
def test_a_name_has_its_component_groups(name: str, groups: dict[str, str] | None) -> None:
    assert json.loads(person_name(name)) == groups


def test_binary_numbers_stay_json() -> None:
    assert (real_number(float("nan")), real_number(float("-inf")), real_number(0.1)) == (
        "null",
        "null",
        "0.1",
    )
    assert (whole_number(2**53), whole_number(-(2**60))) == ("9007199254740992", '"-1152921504606846976"')
