"""A data set's attributes as rows."""

from __future__ import annotations

from typing import Any

from protocols.dicomweb.tag_rows import MOST_ROWS, SHOWN_CHARACTERS, tag_rows


def test_sequences_come_with_what_is_in_them_right_behind() -> None:
    rows, total = tag_rows(
        {
            "00081110": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}, {}]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
        }
    )
    assert [(row.path, row.depth, row.value) for row in rows] == [
        ("00081110", 0, "2 items"),
        ("00081110[0].00081155", 1, "1.2"),
        ("00100010", 0, "A^B==C"),
    ]
    assert total == 3
    assert rows[1].keyword == "ReferencedSOPInstanceUID"


def test_long_values_are_cut_and_binary_ones_are_hexadecimal() -> None:
    rows, _ = tag_rows(
        {
            "00104000": {"vr": "LT", "Value": ["x" * 5000]},
            "00280010": {"vr": "US", "Value": [1, 2]},
            "00091001": {"vr": "OB", "InlineBinary": "AP8="},
            "7FE00010": {"vr": "OW", "BulkDataURI": "x"},
        }
    )
    assert [(len(row.value), row.length) for row in rows][:1] == [(SHOWN_CHARACTERS, 5000)]
    assert [row.value for row in rows[1:]] == ["1\\2", "00ff", ""]
    assert [row.bulk for row in rows] == [False, False, False, True]


def test_rows_are_found_by_number_keyword_name_and_value() -> None:
    data_set: dict[str, Any] = {
        "00100020": {"vr": "LO", "Value": ["ABC"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]},
    }
    for wanted in ("(0010,0020)", "patientid", "Patient ID", "abc"):
        assert [row.tag for row in tag_rows(data_set, wanted)[0]] == ["00100020"]
    assert tag_rows(data_set, "nothing") == ([], 0)


def test_more_than_can_be_shown_are_counted() -> None:
    items = [{"00080050": {"vr": "SH", "Value": ["1"]}}] * (MOST_ROWS + 5)
    rows, total = tag_rows({"00081110": {"vr": "SQ", "Value": items}})
    assert (len(rows), total) == (MOST_ROWS, MOST_ROWS + 6)


def test_nesting_ends_somewhere() -> None:
    inner: dict[str, Any] = {"00080050": {"vr": "SH", "Value": ["deep"]}}
    for _ in range(200):
        inner = {"00081110": {"vr": "SQ", "Value": [inner]}}
    assert max(row.depth for row in tag_rows(inner)[0]) == 64
