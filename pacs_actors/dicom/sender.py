"""Sends stored objects as C-STORE requests: the hot way out, for C-GET, C-MOVE and forwarding.

The file is read into an arena with room left for the PDU headers between the pieces, and leaves with one ``send``: nothing is
decoded and nothing copied in user space. What is in the page cache is read at once, the rest by a native thread.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType

from msgspec import Struct

from pacs_actors.archive.objects.buffers import Buffer, BufferPool
from pacs_actors.dicom.link import DicomLink
from pacs_actors.threads import NativePool
from protocols.dimse.commands import DATA_SET, Command, CommandField, encode_command
from protocols.errors import PacsError
from protocols.ul.model import PduType
from protocols.ul.pdata import LAST, PDATA_HEADER

_HEADERS_BYTES = PDATA_HEADER.size
_FRAGMENTS_AT_ONCE = 512
_PARK_AFTER_S = 0.25


class ObjectDamaged(PacsError):
    """The file is shorter than the index says, or gone."""


class Outgoing(Struct, frozen=True):
    """What to send: the data set lies at ``offset`` in ``fd`` and is ``length`` bytes long. The receiver of it closes ``fd``."""

    fd: int
    offset: int
    length: int
    sop_class_uid: str
    sop_instance_uid: str


class _Prepared(Struct):
    """An object whose window from ``start`` to ``read`` is in the arena, where it takes ``filled`` bytes."""

    outgoing: Outgoing
    context_id: int
    start: int = 0
    read: int = 0
    filled: int = 0


class ObjectSender:
    """Holds an arena only while there is something in it to send, and not while the peer is slow to take it.

    Use as an async context manager; leaving it gives the arena back and closes what was prepared but not sent.
    """

    def __init__(self, link: DicomLink, pool: NativePool, buffers: BufferPool) -> None:
        self.link, self.pool, self.buffers = link, pool, buffers
        self._arena: Buffer | None = None
        self._prepared: _Prepared | None = None

    async def __aenter__(self) -> ObjectSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    async def prepare(self, outgoing: Outgoing, context_id: int) -> None:
        """Read the beginning of an object; ``send`` sends it. Raises ObjectDamaged."""
        assert self._prepared is None, "one object is prepared already"
        self._prepared = _Prepared(outgoing, context_id)
        await self._load(self._prepared)

    async def send(
        self, context_id: int, message_id: int, *, originator: tuple[str, int] | None = None
    ) -> None:
        """Send the prepared object. The caller receives the response.

        originator:  of a C-MOVE: the requester's AE title and message ID
        """
        prepared = self._prepared
        assert prepared is not None, "nothing is prepared"
        outgoing = prepared.outgoing
        command = encode_command(
            Command(
                command_field=CommandField.C_STORE_RQ,
                message_id=message_id,
                affected_sop_class_uid=outgoing.sop_class_uid,
                affected_sop_instance_uid=outgoing.sop_instance_uid,
                priority=0,
                data_set_type=DATA_SET,
                move_originator_ae=originator[0] if originator else None,
                move_originator_message_id=originator[1] if originator else None,
            )
        )
        self.link.wire.patience_s = self.link.message_timeout_s
        await self._pass_on(prepared, self.link.encoded(context_id, command, command=True))
        while prepared.read < outgoing.length:
            prepared.start = prepared.read
            await self._load(prepared)
            await self._pass_on(prepared, b"")
        self.drop()

    async def _pass_on(self, prepared: _Prepared, head: bytes) -> None:
        """Send ``head`` and the window. A peer that makes us wait long does so without our arena: it is filled again."""
        wire = self.link.wire
        sent, total = 0, len(head) + prepared.filled
        while sent < total:
            assert self._arena is not None, "the window is loaded"
            window = self._arena.view[: prepared.filled]
            rest: list[bytes | memoryview] = [window[max(0, sent - len(head)) :]]
            if sent < len(head):
                rest.insert(0, head[sent:])
            taken = wire.send_nowait(rest)
            sent += taken
            if taken:
                continue
            if not await wire.sendable_within(_PARK_AFTER_S):
                self._give_back_arena()
                await wire.until_sendable()
                await self._load(prepared)

    def drop(self) -> None:
        """Forget what is prepared."""
        self._give_back_arena()
        if self._prepared is not None:
            os.close(self._prepared.outgoing.fd)
            self._prepared = None

    def _give_back_arena(self) -> None:
        if self._arena is not None:
            self._arena.release()
            self._arena = None

    async def _load(self, prepared: _Prepared) -> None:
        """The window that begins at ``prepared.start`` into the arena, headers in between: the same bytes every time."""
        if self._arena is None:
            self._arena = await self.buffers.acquire()
        outgoing, view = prepared.outgoing, self._arena.view
        room = self.link.peer_max_pdu_bytes - 6
        at, read = 0, prepared.start
        pieces: list[memoryview] = []
        while len(pieces) < _FRAGMENTS_AT_ONCE:
            length = min(room, outgoing.length - read, len(view) - at - _HEADERS_BYTES)
            if length < room and read + length < outgoing.length and pieces:
                break  # leave a fragment whole for the next window
            last = LAST if read + length == outgoing.length else 0
            PDATA_HEADER.pack_into(view, at, PduType.DATA, length + 6, length + 2, prepared.context_id, last)
            pieces.append(view[at + _HEADERS_BYTES : at + _HEADERS_BYTES + length])
            at += _HEADERS_BYTES + length
            read += length
            if read == outgoing.length:
                break  # only now: an empty data set is a fragment, too, and the peer waits for it
        expected = read - prepared.start
        if expected and not _read_cached(outgoing.fd, pieces, outgoing.offset + prepared.start, expected):
            await self.pool.run(_read_all, outgoing.fd, pieces, outgoing.offset + prepared.start)
        prepared.filled, prepared.read = at, read


def _read_cached(fd: int, pieces: list[memoryview], offset: int, expected: int) -> bool:
    """Read without waiting for the disk; False when not all of it is in memory."""
    try:
        return os.preadv(fd, pieces, offset, os.RWF_NOWAIT) == expected
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return False
        raise


def _read_all(fd: int, pieces: list[memoryview], offset: int) -> None:
    for piece in pieces:
        done = 0
        while done < len(piece):
            got = os.preadv(fd, [piece[done:]], offset)
            if not got:
                raise ObjectDamaged("the object is shorter than the index says")
            done += got
            offset += got
