"""An incoming object of the local store: a buffer, and a temporary file once the buffer is not enough."""

from __future__ import annotations

from threading import Lock
from time import time_ns
from types import TracebackType
from typing import Final, Generic, TypeVar

from xxhash import xxh3_128, xxh3_128_digest

from pacs_actors.archive.objects.buffers import BLOCK_BYTES, Buffer, BufferPool
from pacs_actors.archive.objects.filesystem import closed
from pacs_actors.archive.objects.heads import HEAD_BYTES, check_head
from pacs_actors.archive.objects.interface import Check, Committed
from pacs_actors.archive.objects.keys import Names
from pacs_actors.archive.objects.writing import DurableWriter
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import PREAMBLE_BYTES, ObjectRecord, preamble
from protocols.dataset.record import StoredObject
from protocols.errors import Misuse

T = TypeVar("T")

_NOTHING: Final = memoryview(b"")


class Prepared(Generic[T]):
    """An object in its receive buffer that is checked and hashed, and may be written."""

    __slots__ = ("_view", "checked", "record", "size_bytes")

    def __init__(self, view: memoryview, record: ObjectRecord, checked: T) -> None:
        self._view, self.record, self.checked = view, record, checked
        self.size_bytes = record.size_bytes

    def sealed(self, block: int) -> memoryview:
        """Its whole blocks, with the record for that place in a segment."""
        view, size_bytes = self._view, self.size_bytes
        padding = -size_bytes % BLOCK_BYTES
        if padding:
            view[size_bytes : size_bytes + padding] = bytes(padding)
        view[:PREAMBLE_BYTES] = preamble(self.record, block)
        return view[: size_bytes + padding]

    def committed(self, key: str) -> Committed[T]:
        """What is told of it once it is durable under that key."""
        record = self.record
        return Committed(
            StoredObject(
                key,
                record.size_bytes,
                record.data_offset,
                record.digest,
                record.received_ns,
                record.source,
            ),
            self.checked,
        )


class Tools:
    """What the stagings of one store share.

    large_heads:  held by the one that looks at an unusually long header
    """

    def __init__(self, writer: DurableWriter, threads: NativePool, buffers: BufferPool, names: Names) -> None:
        self.writer, self.threads, self.buffers, self.names = writer, threads, buffers, names
        self.large_heads = Lock()


class LocalStaging:
    """See ``interface.Staging``. Methods that begin with an underscore run on native threads, as does
    ``finish``.
    """

    def __init__(self, tools: Tools, buffer: Buffer, sop_instance_uid: str, meta: bytes, source: str) -> None:
        """meta: file meta information, which goes behind the preamble."""
        self._tools = tools
        self._buffer: Buffer | None = buffer
        self._sop_instance_uid, self._source = sop_instance_uid, source
        self._name = ""
        self._data_offset = PREAMBLE_BYTES + len(meta)
        self._fd = -1
        self._written_bytes = 0
        self._head = b""
        self._tail = b""
        self._hash = xxh3_128()
        self._ended = self._committing = False
        self.view = buffer.view
        self.view[: self._data_offset] = bytes(PREAMBLE_BYTES) + meta
        self.position = self._data_offset

    @property
    def size_bytes(self) -> int:
        return self._written_bytes + self.position

    async def spill(self) -> None:
        self._check_usable()
        if self.position >= BLOCK_BYTES:
            await self._tools.threads.run(self._spill)

    async def park(self) -> None:
        if self._buffer is None:
            return
        await self.spill()
        self._tail = bytes(self.view[: self.position])
        self._give_back_buffer()

    async def resume(self) -> None:
        if self._ended:
            raise Misuse("the object was committed or discarded")
        if self._buffer is None:
            buffer = await self._tools.buffers.acquire()
            self._buffer, self.view = buffer, buffer.view
            self.view[: self.position] = self._tail
            self._tail = b""

    async def write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            if self.position == len(self.view):
                await self.spill()
            taken = min(len(rest), len(self.view) - self.position)
            self.view[self.position : self.position + taken] = rest[:taken]
            self.position += taken
            rest = rest[taken:]

    def begin_commit(self) -> None:
        """Who staged the object may give up from now on, but a thread still reads the buffer, until ``end_commit``."""
        self._committing = True

    def end_commit(self) -> None:
        self._committing = False
        self.discard()

    def discard(self) -> None:
        if self._ended or self._committing:
            return
        self._ended = True
        if self._buffer is not None:
            self._give_back_buffer()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._tools.threads.submit(self._tools.writer.drop, fd, self._name)

    def __enter__(self) -> LocalStaging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def has_buffer(self) -> bool:
        """It is not parked, and has not ended."""
        return self._buffer is not None

    @property
    def fits_buffer(self) -> bool:
        """Nothing of it is in a file yet."""
        return self._fd < 0

    def prepare(self, check: Check[T]) -> Prepared[T]:
        """Check and hash an object that is in its buffer. raises: what the check raises"""
        self._check_usable()
        received_ns, size_bytes, data_offset = time_ns(), self.size_bytes, self._data_offset
        with self.view[data_offset : self.position] as data_set:
            checked = check(data_set, True)
        digest = xxh3_128_digest(self.view[PREAMBLE_BYTES : self.position])
        record = ObjectRecord(digest, received_ns, self._source, size_bytes, data_offset)
        return Prepared(self.view, record, checked)

    def finish(self, check: Check[T]) -> Committed[T]:
        """Check, hash, write, make durable as a file: the whole commit, on one native thread.

        raises: what the check raises, OutOfResources; the caller then discards
        """
        self._check_usable()
        writer = self._tools.writer
        with writer.refusing("commit"):
            made = self._write_whole(check) if self._fd < 0 else self._write_rest(check)
            key = writer.publish(self._fd, self._name)
        fd, self._fd = self._fd, -1
        closed(writer.system, fd)  # what it fails with changes nothing: the object is durable
        return made.committed(key)

    def _write_whole(self, check: Check[T]) -> Prepared[T]:
        """The file of an object that never left its buffer."""
        prepared = self.prepare(check)
        self.view[:PREAMBLE_BYTES] = preamble(prepared.record)
        self._create()
        self._write_end(prepared.size_bytes)
        return prepared

    def _write_rest(self, check: Check[T]) -> Prepared[T]:
        """What is in the buffer of an object that was spilled."""
        received_ns, size_bytes = time_ns(), self.size_bytes
        self._hash.update(self.view[: self.position])
        self._write_end(size_bytes)
        checked = self._check_spilled(check, size_bytes)
        # The first block was written before digest and size were known; the buffer is free to hold it again.
        record = ObjectRecord(self._hash.digest(), received_ns, self._source, size_bytes, self._data_offset)
        self.view[:BLOCK_BYTES] = self._head[:BLOCK_BYTES]
        self.view[:PREAMBLE_BYTES] = preamble(record)
        self._tools.writer.write(self._fd, self.view, BLOCK_BYTES, 0)
        return Prepared(self.view, record, checked)

    def _create(self) -> None:
        self._name = self._tools.names.next(self._sop_instance_uid) + ".dcm"
        self._fd = self._tools.writer.create(self._name)

    def _write_end(self, size_bytes: int) -> None:
        if self.position and self._tools.writer.write(
            self._fd, self.view, self.position, self._written_bytes
        ):
            self._tools.writer.truncate(self._fd, size_bytes)

    def _check_spilled(self, check: Check[T], size_bytes: int) -> T:
        def read(length: int) -> bytes:
            return self._tools.writer.read_back(self._name, length, self._data_offset)

        with memoryview(self._head)[self._data_offset :] as head:
            return check_head(check, head, size_bytes - self._data_offset, read, self._tools.large_heads)

    def _spill(self) -> None:
        """Write the full blocks, and move what is left of the last one to the beginning of the buffer."""
        writer, view = self._tools.writer, self.view
        full = self.position - self.position % BLOCK_BYTES
        with writer.refusing("spill"):
            if self._fd < 0:
                self._create()
            writer.write(self._fd, view, full, self._written_bytes)
        self._hash.update(view[0 if self._written_bytes else PREAMBLE_BYTES : full])
        if len(self._head) < HEAD_BYTES:
            self._head += bytes(view[: min(full, HEAD_BYTES - len(self._head))])
        self._written_bytes += full
        left = self.position - full
        view[:left] = view[full : self.position]
        self.position = left

    def _check_usable(self) -> None:
        if self._ended or self._buffer is None:
            raise Misuse("the object is parked, committed or discarded")

    def _give_back_buffer(self) -> None:
        buffer, self._buffer = self._buffer, None
        self.view = _NOTHING
        if buffer is not None:
            buffer.release()
