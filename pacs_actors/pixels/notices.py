"""What is said about a pixel process on its own link, beside jobs and answers. Plain data; imports nothing that is large.

A link is a SEQPACKET socket pair: a datagram is a message. Jobs and answers are JSON objects, so none begins as a notice does.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Final

MAX_MESSAGE_BYTES: Final = 16384
"""Of a job, an answer or a notice."""

_MARK: Final = 0
_NOTICE: Final = Layout("<Bi")


def notice(number: int) -> bytes:
    """The first on a link is the process's number; the other, after its end, its exit code: negative for a signal."""
    return _NOTICE.pack(_MARK, number)


def read_notice(message: bytes) -> int | None:
    """None for what is no notice."""
    if len(message) != _NOTICE.size or message[0] != _MARK:
        return None
    return int(_NOTICE.unpack(message)[1])
