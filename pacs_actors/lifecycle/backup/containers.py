"""Writing and reading containers: frames behind each other, in files of a few hundred megabytes. Blocks: for native threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from secrets import token_bytes
from types import TracebackType
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from xxhash import xxh3_128

from pacs_actors.lifecycle.backup import frames
from pacs_actors.lifecycle.backup.frames import FRAME_BYTES, HEAD_BYTES, MAX_RAW_BYTES, Broken
from pacs_actors.lifecycle.backup.manifest import Part, Stream
from pacs_actors.lifecycle.backup.places import Place, Reader
from pacs_actors.lifecycle.backup.sealing import BackupKey
from protocols.errors import ConfigError

CONTAINER_BYTES: Final = 256 * 1024 * 1024
_AT_WORK: Final = 8  # frames being compressed: 8 MiB
_READ_AHEAD_BYTES: Final = 4 * 1024 * 1024


class Writing:
    """Of one backup: the place, the key, threads that compress and encrypt, and how large each container became."""

    def __init__(self, place: Place, backup: str, key: BackupKey | None, threads: int = 2) -> None:
        self.place, self.backup, self.key = place, backup, key
        self.pool = ThreadPoolExecutor(threads, "backup")
        self.sizes: dict[str, int] = {}

    def __enter__(self) -> Writing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.shutdown(cancel_futures=True)


class ContainerWriter:
    """Containers of one sort. One thread at a time.

    stem:   "index", "objects" or "catalog"
    limit:  a part begins a new container when this one has so many bytes; a stream goes on in one
    """

    def __init__(self, writing: Writing, stem: str, limit: int = CONTAINER_BYTES) -> None:
        self._writing, self._stem, self._limit = writing, stem, limit
        self._pending: deque[tuple[Future[bytes], Part | None]] = deque()
        self._file: BinaryIO | None = None
        self._name, self._number = "", 0
        self._cipher: AESGCM | None = None
        self._frame = self._written = 0

    def part(self, pieces: Iterable[bytes | memoryview]) -> Part:
        """Write what belongs together; where it lies is known once it is written, at the latest after ``close``.

        pieces: cut into frames as they come, if they are larger than one
        """
        if self._file is None or self._written >= self._limit:
            self._begin()
        part = Part(self._name, self._frame, -1, 0)
        first: Part | None = part
        for piece in pieces:
            view = memoryview(piece)
            for at in range(0, len(view), MAX_RAW_BYTES):
                raw = view[at : at + MAX_RAW_BYTES]
                self._submit(bytes(raw), first)
                part.size_bytes += len(raw)
                first = None
        if first is not None:  # nothing: it has a place all the same
            self._submit(b"", first)
        return part

    def stream(self) -> StreamWriter:
        """A stream that goes on in another container when one is full."""
        return StreamWriter(self)

    def goes_on(self) -> bool:
        """Whether what follows belongs into the same container."""
        return self._file is not None and self._written < self._limit

    def append(self, part: Part, raw: bytes) -> None:
        """A frame more of the part that was written last. raw: at most MAX_RAW_BYTES"""
        self._submit(raw, None)
        part.size_bytes += len(raw)

    def close(self) -> None:
        """Write what waits, and make it durable."""
        while self._pending:
            self._write_one()
        self._finish()

    def abandon(self) -> None:
        """After a failure: close the file as it is."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _submit(self, raw: bytes, starts: Part | None) -> None:
        while len(self._pending) >= _AT_WORK:
            self._write_one()
        future = self._writing.pool.submit(frames.make, self._frame, raw, self._cipher)
        self._pending.append((future, starts))
        self._frame += 1

    def _write_one(self) -> None:
        future, starts = self._pending.popleft()
        frame = future.result()
        if starts is not None:
            starts.offset = self._written
        self._put(frame)

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        view = memoryview(data)
        while view:
            done = self._file.write(view)
            view = view[done:]
        self._written += len(data)

    def _begin(self) -> None:
        self.close()
        self._number += 1
        self._name, self._frame, self._written = f"{self._stem}-{self._number:05d}", 0, 0
        key = self._writing.key
        salt = token_bytes(frames.SALT_BYTES) if key is not None else bytes(frames.SALT_BYTES)
        self._cipher = key.cipher(salt, self._writing.backup, self._name) if key is not None else None
        self._file = self._writing.place.create(self._writing.backup, self._name)
        self._put(frames.head(encrypted=key is not None, salt=salt))

    def _finish(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            self._writing.sizes[self._name] = self._written
            self._writing.place.finish(self._writing.backup, self._name, file)


class StreamWriter:
    """Bytes that belong together, however many; each piece of up to 1 MiB is a frame of its own."""

    def __init__(self, writer: ContainerWriter) -> None:
        self._writer = writer
        self._parts: list[Part] = []
        self._digest, self._size = xxh3_128(), 0

    def write(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece)
        for at in range(0, len(view), MAX_RAW_BYTES):
            raw = bytes(view[at : at + MAX_RAW_BYTES])
            self._digest.update(raw)
            self._size += len(raw)
            if self._parts and self._writer.goes_on():
                self._writer.append(self._parts[-1], raw)
            else:
                self._parts.append(self._writer.part((raw,)))

    def end(self) -> Stream:
        """Its parts are placed once the writer is closed."""
        if not self._parts:
            self._parts.append(self._writer.part(()))
        return Stream(tuple(self._parts), self._size, self._digest.hexdigest())


class ContainerReader:
    """A container, open for reading anywhere. One thread at a time.

    raises: Broken if it is not there, cut off, or not of this key
    """

    def __init__(
        self, place: Place, backup: str, name: str, size_bytes: int | None, key: BackupKey | None
    ) -> None:
        self.name = name
        self._reader: Reader = place.open(backup, name)
        try:
            if size_bytes is None or self._reader.size_bytes != size_bytes:
                raise Broken(f"container {name} has {self._reader.size_bytes} bytes, not {size_bytes}")
            encrypted, salt = frames.read_head(self._reader.read_at(0, HEAD_BYTES))
            if encrypted and key is None:
                raise ConfigError(f"backup.key_file: container {name} is encrypted; name the file of its key")
            if encrypted != (key is not None):
                raise Broken(f"container {name} is not encrypted, but its backup is")
        except BaseException:
            self._reader.close()
            raise
        self._cipher = key.cipher(salt, backup, name) if key is not None else None
        self._ahead, self._ahead_at = b"", 0

    def __enter__(self) -> ContainerReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def pieces(self, part: Part) -> Iterator[bytes]:
        """What a part holds, frame by frame. raises: Broken"""
        at, number, left = part.offset, part.frame, part.size_bytes
        if at < HEAD_BYTES or number < 0 or left < 0:
            raise Broken(f"container {self.name}: the catalog names an impossible place")
        while True:
            length = frames.payload_bytes(number, self._read(at, FRAME_BYTES))
            raw = frames.read(number, self._read(at, FRAME_BYTES + length), self._cipher)
            if len(raw) > left or (not raw and left):
                raise Broken(f"container {self.name}: a part ends inside a frame")
            yield raw
            at, number, left = at + FRAME_BYTES + length, number + 1, left - len(raw)
            if not left:
                return

    def _read(self, offset: int, length: int) -> bytes:
        """Through a window that is read at once: small objects lie side by side."""
        begin = offset - self._ahead_at
        if not 0 <= begin <= len(self._ahead) - length:
            self._ahead = self._reader.read_at(offset, max(length, _READ_AHEAD_BYTES))
            self._ahead_at, begin = offset, 0
        return self._ahead[begin : begin + length]


class Containers:
    """The containers of one backup, one of a sort open at a time. One thread at a time."""

    def __init__(self, place: Place, backup: str, sizes: dict[str, int], key: BackupKey | None) -> None:
        self._place, self._backup, self._sizes, self._key = place, backup, sizes, key
        self._open: dict[str, ContainerReader] = {}

    def __enter__(self) -> Containers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in self._open.values():
            reader.__exit__(None, None, None)
        self._open.clear()

    def pieces(self, part: Part) -> Iterator[bytes]:
        """raises: Broken"""
        stem = part.container.partition("-")[0]
        reader = self._open.get(stem)
        if reader is None or reader.name != part.container:
            if reader is not None:
                del self._open[stem]
                reader.__exit__(None, None, None)
            size = self._sizes.get(part.container)
            reader = ContainerReader(self._place, self._backup, part.container, size, self._key)
            self._open[stem] = reader
        yield from reader.pieces(part)

    def stream(self, stream: Stream) -> Iterator[bytes]:
        """All of a stream, compared with its digest at the end. raises: Broken"""
        digest, size = xxh3_128(), 0
        for part in stream.parts:
            for piece in self.pieces(part):
                digest.update(piece)
                size += len(piece)
                yield piece
        if size != stream.size_bytes or digest.hexdigest() != stream.digest:
            raise Broken("a stream's digest is wrong")
