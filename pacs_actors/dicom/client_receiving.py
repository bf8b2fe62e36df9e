"""Objects that a peer sends us on an association that we opened (C-GET): from the wire into files.

No text of the network becomes a path: names are made of checked UIDs, or of a hash.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

import trio

from pacs_actors.dicom.link import DicomLink, Incoming, Sink
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import PREAMBLE_BYTES, file_meta
from protocols.errors import OutOfResources, Refusal
from protocols.ul.negotiation import Negotiated

_WINDOW_BYTES: Final = 1024 * 1024
_is_uid: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+").fullmatch
MAX_UID_CHARACTERS: Final = 64
INVALID_SOP_INSTANCE: Final = 0x0117


class Arriving:
    """A C-STORE-RQ of a peer; its data set is still on the wire.

    sop_class_uid, sop_instance_uid:  as the command says; not checked
    transfer_syntax_uid:              of its presentation context
    """

    def __init__(self, link: DicomLink, incoming: Incoming, negotiated: Negotiated, limit_bytes: int) -> None:
        self._link, self._context = link, negotiated.contexts[incoming.context_id]
        self._limit_bytes = limit_bytes
        self._is_taken = False
        self.sop_class_uid = incoming.command.affected_sop_class_uid or ""
        self.sop_instance_uid = incoming.command.affected_sop_instance_uid or ""
        self.transfer_syntax_uid = self._context.transfer_syntax

    @property
    def fits_context(self) -> bool:
        return self.sop_class_uid == self._context.abstract_syntax

    async def take(self, sink: Sink) -> int:
        """Receive the data set; its length in bytes. Raises what ends associations, and what the sink raises."""
        length = await self._link.receive_data_set(
            self._context.context_id, sink, limit_bytes=self._limit_bytes
        )
        self._is_taken = True
        return length

    async def skip(self) -> None:
        """Read past what was not taken."""
        if not self._is_taken:
            self._is_taken = True
            await self._link.skip_data_set(self._context.context_id)


class Receiver(Protocol):
    """Who takes the objects of a C-GET. Returning means success; a Refusal is answered with its status."""

    async def receive(self, arriving: Arriving) -> None: ...


def file_name(sop_instance_uid: str) -> str:
    """A safe name: the UID if it is one (PS3.5 9.1), else a hash of whatever it is."""
    if len(sop_instance_uid) <= MAX_UID_CHARACTERS and _is_uid(sop_instance_uid):
        return f"{sop_instance_uid}.dcm"
    return f"{sha256(sop_instance_uid.encode('utf-8', 'replace')).hexdigest()}.dcm"


class FolderReceiver:
    """Writes each object as a Part 10 file into one folder. An object that comes again replaces its file.

    A file appears under its name only when it is whole. It is not forced to the disk: the peer keeps its own.

    count, size_bytes:  what has been written
    """

    def __init__(self, folder: Path, pool: NativePool) -> None:
        self.folder, self._pool = folder, pool
        self._buffer = memoryview(bytearray(_WINDOW_BYTES))
        self.count = self.size_bytes = 0

    async def receive(self, arriving: Arriving) -> None:
        """Raises OutOfResources if the folder cannot be written, Refusal for UIDs that no file can carry."""
        try:
            meta = file_meta(
                _checked(arriving.sop_class_uid),
                _checked(arriving.sop_instance_uid),
                arriving.transfer_syntax_uid,
            )
            draft = _Draft(self.folder, self._buffer, self._pool)
            draft.begin(bytes(PREAMBLE_BYTES) + meta)
            try:
                await arriving.take(draft)
                await draft.finish(self.folder / file_name(arriving.sop_instance_uid))
            finally:
                draft.drop()
        except OSError as error:
            raise OutOfResources(f"cannot write: {error.strerror}") from error
        self.count += 1
        self.size_bytes += draft.written


def _checked(uid: str) -> str:
    if not 0 < len(uid) <= MAX_UID_CHARACTERS or not uid.isascii() or not uid.isprintable():
        raise Refusal("not a UID", dimse_status=INVALID_SOP_INSTANCE, http_status=400)
    return uid


class _Draft:
    """A file on its way, under a name of our own: the sink of one data set."""

    def __init__(self, folder: Path, buffer: memoryview, pool: NativePool) -> None:
        self.view, self.position = buffer, 0
        self.written = 0
        self._pool = pool
        self._path = folder / f".{secrets.token_hex(12)}.part"
        self._fd = -1

    def begin(self, head: bytes) -> None:
        self.view[: len(head)] = head
        self.position = len(head)

    async def spill(self) -> None:
        """Make room: what is in the buffer goes to the file."""
        await self._pool.run(self._write)

    async def park(self) -> None:
        """Nothing: the buffer is the receiver's own, nobody waits for it."""

    async def resume(self) -> None:
        """Nothing, as ``park``."""

    async def finish(self, path: Path) -> None:
        await self._pool.run(self._write)
        await self._pool.run(os.replace, self._path, path)
        os.close(self._fd)
        self._fd = -1

    def drop(self) -> None:
        """Leave nothing of what was not finished."""
        if self._fd >= 0:
            os.close(self._fd)
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        view = self.view[: self.position]
        while view:
            done = os.write(self._fd, view)
            self.written += done
            view = view[done:]
        self.position = 0


async def make_folder(folder: Path) -> None:
    """Make the folder that objects are to be written to. Raises OutOfResources."""
    try:
        await trio.Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutOfResources(f"cannot make {folder}: {error.strerror}") from error
