"""How copies are compressed at rest: gzip, zstd or lz4 around the whole Part 10 file. For native threads; nothing here waits."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import lz4.frame
import zstandard

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.copies import Form
from pacs_actors.lifecycle.stores.copy_keys import Compression
from protocols.errors import CannotUnderstand

SUFFIX: Final[dict[Form, Compression]] = {"gzip": "gz", "zstd": "zst", "lz4": "lz4"}
_PIECE_BYTES: Final = 1024 * 1024
_GZIP: Final = 31
_ZSTD_WINDOW_BYTES: Final = 32 * 1024 * 1024


# A block of zstd may make 128 KiB of four bytes, and its decompressor cannot be told to stop: so little at a time.
_STEP_BYTES: Final[dict[Form, int]] = {
    "plain": _PIECE_BYTES, "gzip": _PIECE_BYTES, "zstd": 512, "lz4": _PIECE_BYTES,
}  # fmt: skip


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self) -> None:
        self._compressor = lz4.frame.LZ4FrameCompressor(content_checksum=True)
        self._begun = False

    def compress(self, data: bytes, /) -> bytes:
        packed: bytes = self._begin() + self._compressor.compress(data)
        return packed

    def flush(self) -> bytes:
        packed: bytes = self._begin() + self._compressor.flush()
        return packed

    def _begin(self) -> bytes:
        begun, self._begun = self._begun, True
        head: bytes = b"" if begun else self._compressor.begin()
        return head


_PACKERS: Final[dict[Form, Callable[[], _Packer]]] = {
    "gzip": lambda: zlib.compressobj(6, wbits=_GZIP),
    "zstd": lambda: zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj(),
    "lz4": _Lz4,
}


def pack(file: ObjectFile, form: Form, to: int) -> int:
    """Write an object, compressed, to a file descriptor; how many bytes that is. raises: OSError"""
    packer = _PACKERS[form]()
    written = 0
    for piece in _pieces(file):
        written += _write(to, packer.compress(piece))
    return written + _write(to, packer.flush())


class Unpacker:
    """Undoes it, piece by piece.

    size_bytes: of what is to come out; a copy that holds more is not one of ours
    """

    def __init__(self, form: Form, size_bytes: int) -> None:
        self._form, self._left = form, size_bytes
        self._inner: Any = {
            "plain": lambda: None,
            "gzip": lambda: zlib.decompressobj(_GZIP),
            "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj(),
            "lz4": lz4.frame.LZ4FrameDecompressor,
        }[form]()

    @property
    def complete(self) -> bool:
        return not self._left

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of some more of it. raises: CannotUnderstand"""
        step = _STEP_BYTES[self._form]
        for start in range(0, len(data), step):
            try:
                made = self._step(data[start : start + step])
            except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
                raise CannotUnderstand(f"a copy that is no {self._form}: {error}") from None
            if len(made) > self._left:
                raise CannotUnderstand("a copy that is longer than its object")
            self._left -= len(made)
            if made:
                yield made

    def _step(self, data: bytes) -> bytes:
        if self._inner is None:
            return data
        if self._form == "zstd":
            made: bytes = self._inner.decompress(data)
        elif self._form == "gzip":
            made = self._inner.decompress(data, self._left + 1)
        else:
            made = self._inner.decompress(data, self._left + 1)
        return made


def _pieces(file: ObjectFile) -> Iterator[bytes]:
    at, end = file.start, file.start + file.size_bytes
    while at < end:
        piece = os.pread(file.fd, min(_PIECE_BYTES, end - at), at)
        if not piece:
            raise OSError("the object ends before it should")
        at += len(piece)
        yield piece


def _write(fd: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    return len(data)
