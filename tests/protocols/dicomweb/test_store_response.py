"""The answer of a Store transaction, by the table of PS3.18 10.5.3 and I.1-1."""

from __future__ import annotations

import json

import pytest

from protocols.dicomweb.store_response import Item, NotStored, StoredInstance, report, status_of

GOOD = StoredInstance("1.1", "1.2", "1.3", "1.4")
WARNED = StoredInstance("1.1", "1.5", "1.3", "1.4", warning=0x0111)
BAD = NotStored("1.1", "1.6", 0xA900)
NAMELESS = NotStored("", "", 0xC000)


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([GOOD], 200), ([GOOD, GOOD], 200), ([GOOD, BAD], 202), ([WARNED], 202), ([GOOD, WARNED], 202), ([BAD], 409),
        ([BAD, NAMELESS], 409), ([WARNED, BAD], 202),
    ],
)  # fmt: skip
def test_the_status_tells_whether_all_some_or_nothing_is_stored(items: list[Item], status: int) -> None:
    assert status_of(items) == status


def test_the_report_has_sequences_only_for_what_there_is() -> None:
    assert set(json.loads(report([GOOD], "http://x"))) == {"00081190", "00081199"}
    assert set(json.loads(report([BAD], "http://x"))) == {"00081198"}
    assert set(json.loads(report([BAD], "http://x", "1.4"))) == {"00081190", "00081198"}
    assert set(json.loads(report([NAMELESS], "http://x"))) == {"00081198", "0008119A"}


def test_items_carry_url_warning_and_reason_in_the_order_of_tags() -> None:
    found = json.loads(report([WARNED, BAD], "http://x/dicom-web"))
    (item,) = found["00081199"]["Value"]
    assert list(item) == ["00081150", "00081155", "00081190", "00081196"]
    assert item["00081190"]["Value"] == ["http://x/dicom-web/studies/1.4/series/1.3/instances/1.5"]
    assert item["00081196"] == {"vr": "US", "Value": [0x0111]}
    assert found["00081198"]["Value"] == [
        {
            "00081150": {"vr": "UI", "Value": ["1.1"]},
            "00081155": {"vr": "UI", "Value": ["1.6"]},
            "00081197": {"vr": "US", "Value": [0xA900]},
        }
    ]


def test_two_studies_have_no_url_in_common() -> None:
    other = StoredInstance("1.1", "1.7", "1.8", "1.9")
    assert "00081190" not in json.loads(report([GOOD, other], "http://x"))
