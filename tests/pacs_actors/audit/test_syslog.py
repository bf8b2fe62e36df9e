"""Frames of RFC 5424 and 5425."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pacs_actors.audit.syslog import frame
from tests.pacs_actors.audit.receiver import HEADER

AT = datetime(2026, 2, 3, 4, 5, 6, 789123, tzinfo=UTC)


def made(message: bytes = b"<A/>", **facts: str) -> bytes:
    given = {"outcome": "success", "host": "archive", "process": "17", "message_id": "DICOM+RFC3881"}
    return frame(message, at=AT, **{**given, **facts})


def test_a_frame_is_what_the_standards_show() -> None:
    body = b"<85>1 2026-02-03T04:05:06.789Z archive pacs-actors 17 DICOM+RFC3881 - \xef\xbb\xbf<A/>"
    assert made() == b"%d %s" % (len(body), body)


@pytest.mark.parametrize(
    ("outcome", "priority"), [("success", 85), ("warning", 84), ("failure", 83), ("refused", 83)]
)
def test_the_outcome_is_the_severity(outcome: str, priority: int) -> None:
    assert made(outcome=outcome).split(b" ", 1)[1].startswith(b"<%d>1 " % priority)


def test_the_length_counts_bytes_not_characters() -> None:
    length, _, rest = made("é漢".encode()).partition(b" ")
    assert int(length) == len(rest)


@pytest.mark.parametrize("text", ["", " ", "a b", "x" * 1000, "é\n\0", "a\nb"])
def test_fields_of_the_header_are_printable_ascii_within_their_lengths(text: str) -> None:
    assert HEADER.fullmatch(made(host=text, process=text, message_id=text).split(b" ", 1)[1]) is not None


def test_the_time_is_that_of_greenwich() -> None:
    east = AT.astimezone(timezone(timedelta(hours=5)))
    assert b" 2026-02-03T04:05:06.789Z " in frame(
        b"", at=east, outcome="", host="h", process="p", message_id="m"
    )
