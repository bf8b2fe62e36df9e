"""The audit as a file: XML (PS3.15 A.5), JSON lines, CSV. No I/O: bytes before, for each row, and after."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from pacs_actors.audit import dicom_xml
from pacs_actors.audit.dicom_xml import Source
from protocols.messages.audit import AuditRow

FORMATS: Final = ("xml", "jsonl", "csv")
_COLUMNS: Final = AuditRow.__struct_fields__
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Format(Struct, frozen=True):
    """head, then row(…) for each row, then tail."""

    media_type: str
    head: bytes
    row: Callable[[AuditRow], bytes]
    tail: bytes


def format_of(name: str, source: Source) -> Format:
    """name: one of FORMATS; raises KeyError for another."""
    return {
        "xml": Format(
            "application/xml",
            b'<?xml version="1.0" encoding="UTF-8"?>\n<AuditMessages>\n',
            lambda row: dicom_xml.message(row, source) + b"\n",
            b"</AuditMessages>\n",
        ),
        "jsonl": Format("application/jsonl", b"", lambda row: msgspec.json.encode(row) + b"\n", b""),
        "csv": Format("text/csv; charset=utf-8; header=present", _csv_line(_COLUMNS), _csv_row, b""),
    }[name]


def _csv_row(row: AuditRow) -> bytes:
    facts = msgspec.structs.asdict(row) | {
        "at": row.at.isoformat(),
        "recorded_at": row.recorded_at.isoformat(),
        "uids": " ".join(row.uids),
        "details": msgspec.json.encode(row.details).decode(),
    }
    return _csv_line(tuple(_harmless(str(facts[name])) for name in _COLUMNS))


def _harmless(cell: str) -> str:
    """A spreadsheet takes what begins like this for a formula, and peers choose what some cells hold."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _csv_line(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)  # RFC 4180: lines end in CR LF
    return line.getvalue().encode("utf-8", "replace")
