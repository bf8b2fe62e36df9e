"""Showing a check as much of a large object as it needs, and no more."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Final, TypeVar

from pacs_actors.archive.objects.interface import Check
from protocols.dataset.elements import NeedMore
from protocols.errors import CannotUnderstand

T = TypeVar("T")

HEAD_BYTES: Final = 64 * 1024
"""Kept in memory of an object that is being spilled. Nearly every header ends before."""
LARGEST_HEAD_BYTES: Final = 32 * 1024 * 1024
"""An object whose header is not over by then is refused."""


def check_head(
    check: Check[T], head: memoryview, size_bytes: int, read: Callable[[int], bytes], turn: Lock
) -> T:
    """Call ``check`` with the beginning of a data set, and with more of it while it asks for more.

    head:        what is in memory of the data set
    size_bytes:  of the whole data set
    read:        gives that many bytes from its beginning
    turn:        held while more than ``head`` is in memory, so that one hostile header costs memory at a time
    raises:      what the check and ``read`` raise; CannotUnderstand if it asks for more than 32 MiB
    """
    try:
        return check(head, len(head) >= size_bytes)
    except NeedMore as needed:
        wanted, given = needed.offset, len(head)
    with turn:
        while given < size_bytes and wanted <= LARGEST_HEAD_BYTES:
            data = read(min(size_bytes, LARGEST_HEAD_BYTES, max(wanted, 4 * given)))
            if len(data) <= given:
                break
            given = len(data)
            try:
                return check(memoryview(data), given >= size_bytes)
            except NeedMore as needed:
                wanted = max(needed.offset, given + 1)
    raise CannotUnderstand("the header ends nowhere within our limits")
