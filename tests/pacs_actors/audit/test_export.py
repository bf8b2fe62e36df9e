"""The audit as a file."""

from __future__ import annotations

import csv
import io
import json
from xml.etree.ElementTree import fromstring

import pytest

from pacs_actors.audit.dicom_xml import Source
from pacs_actors.audit.export import FORMATS, format_of
from protocols.messages.audit import AuditRow
from tests.pacs_actors.audit.audit_schema import problems
from tests.pacs_actors.audit.rows import row

SOURCE = Source("PACS-NORTH", "PACS", "archive")
ROWS = [
    row("store", details={"instances": 3}),
    row("login", id=8, who='Ann "A", \nthe\r\nsecond', uids=("1.2", "1.3")),
]


def written(name: str, rows: list[AuditRow]) -> bytes:
    made = format_of(name, SOURCE)
    return made.head + b"".join(map(made.row, rows)) + made.tail


@pytest.mark.parametrize("rows", [[], ROWS], ids=["none", "some"])
def test_xml_is_one_document_of_valid_messages(rows: list[AuditRow]) -> None:
    root = fromstring(written("xml", rows))
    assert [each.tag for each in root] == ["AuditMessage"] * len(rows)
    assert [problem for each in root for problem in problems(each)] == []


def test_json_lines_hold_every_field() -> None:
    lines = [json.loads(line) for line in written("jsonl", ROWS).splitlines()]
    assert [set(line) for line in lines] == [set(AuditRow.__struct_fields__)] * 2
    assert lines[1]["who"] == ROWS[1].who
    assert lines[0]["details"] == {"instances": 3}


def test_csv_is_read_back_as_it_was() -> None:
    first, second = csv.DictReader(io.StringIO(written("csv", ROWS).decode(), newline=""))
    assert json.loads(first["details"]) == {"instances": 3}
    assert (second["who"], second["uids"]) == (ROWS[1].who, "1.2 1.3")
    assert first["at"] == "2026-02-03T04:05:06.789000+00:00"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_csv_is_a_formula(cell: str) -> None:
    (read,) = csv.DictReader(io.StringIO(written("csv", [row(who=cell, address=cell)]).decode(), newline=""))
    assert read["who"] == read["address"] == f"'{cell}"


def test_other_formats_are_none() -> None:
    assert FORMATS == ("xml", "jsonl", "csv")
    with pytest.raises(KeyError):
        format_of("pdf", SOURCE)
