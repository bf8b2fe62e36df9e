"""Audit messages as syslog sends them: header of RFC 5424, octet counting of RFC 5425 (PS3.15 A.6). No I/O."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_AUTHPRIV: Final = 10
_SEVERITIES: Final = {"success": 5, "warning": 4}  # notice, warning; all else is an error
_ERROR: Final = 3
_NOT_PRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_BOM: Final = b"\xef\xbb\xbf"  # says that the text is UTF-8


def frame(
    message: bytes, *, at: datetime, outcome: str, host: str, process: str, message_id: str
) -> bytes:  # fmt: skip
    """One message with its length before it."""
    priority = _AUTHPRIV * 8 + _SEVERITIES.get(outcome, _ERROR)
    when = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = (when, _field(host, 255), "pacs-actors", _field(process, 128), _field(message_id, 32), "-")
    line = f"<{priority}>1 {' '.join(fields)} ".encode() + _BOM + message
    return f"{len(line)} ".encode() + line


def _field(text: str, most: int) -> str:
    return _NOT_PRINTABLE.sub("", text)[:most] or "-"
