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
from pacs_actors.dicom.link import DicomLink, pack_data_headers
from pacs_actors.threads import NativePool
from protocols.dimse.commands import DATA_SET, Command, CommandField, encode_command
from protocols.errors import PacsError

_HEADERS_BYTES = 12
_FRAGMENTS_AT_ONCE = 512


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
    """An object whose next window is in the arena: ``filled`` bytes of it; ``read`` bytes of the object so far."""

    outgoing: Outgoing
    filled: int
    read: int


class ObjectSender:
    """One arena: what was sent is in the kernel's hands, so the next object is read while the peer stores the last.

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
        if self._arena is not None:
            self._arena.release()
            self._arena = None

    async def prepare(self, outgoing: Outgoing, context_id: int) -> None:
        """Read the beginning of an object; ``send`` sends it. Raises ObjectDamaged."""
        assert self._prepared is None, "one object is prepared already"
        self._prepared = prepared = _Prepared(outgoing, 0, 0)
        if self._arena is None:
            self._arena = await self.buffers.acquire()
        await self._fill(prepared, self._arena.view, context_id)

    async def send(
        self, context_id: int, message_id: int, *, originator: tuple[str, int] | None = None
    ) -> None:
        """Send the prepared object. The caller receives the response.

        originator:  of a C-MOVE: the requester's AE title and message ID
        """
        prepared, arena = self._prepared, self._arena
        assert prepared is not None and arena is not None, "nothing is prepared"
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
        head = self.link.fragments(context_id, command, command=True)
        await self.link.wire.send([*head, arena.view[: prepared.filled]])
        while prepared.read < outgoing.length:
            prepared.filled = 0
            await self._fill(prepared, arena.view, context_id)
            await self.link.wire.send([arena.view[: prepared.filled]])
        self.drop()

    def drop(self) -> None:
        """Forget what is prepared."""
        if self._prepared is not None:
            os.close(self._prepared.outgoing.fd)
            self._prepared = None

    async def _fill(self, prepared: _Prepared, view: memoryview, context_id: int) -> None:
        """The next window of the object into its arena, headers in between."""
        outgoing = prepared.outgoing
        room = self.link.peer_max_pdu_bytes - 6
        at, read = 0, prepared.read
        pieces: list[memoryview] = []
        while len(pieces) < _FRAGMENTS_AT_ONCE:
            length = min(room, outgoing.length - read, len(view) - at - _HEADERS_BYTES)
            if length < room and read + length < outgoing.length and pieces:
                break  # leave a fragment whole for the next window
            pack_data_headers(view, at, length, context_id, last=read + length == outgoing.length)
            pieces.append(view[at + _HEADERS_BYTES : at + _HEADERS_BYTES + length])
            at += _HEADERS_BYTES + length
            read += length
            if read == outgoing.length:
                break  # only now: an empty data set is a fragment, too, and the peer waits for it
        expected = read - prepared.read
        if expected and not _read_cached(outgoing.fd, pieces, outgoing.offset + prepared.read, expected):
            await self.pool.run(_read_all, outgoing.fd, pieces, outgoing.offset + prepared.read)
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
