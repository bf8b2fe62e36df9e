"""One conversion, from a mapped file to a descriptor. Runs in a process of its own."""

from __future__ import annotations

import mmap
import os
import zlib
from typing import Final, Protocol

from pacs_actors.archive.transcoding.messages import CannotTranscode, Job
from pacs_actors.archive.transcoding.reencode import Reencoder
from pacs_actors.archive.transcoding.sink import DeflatingSink, Sink
from pacs_actors.archive.transcoding.syntaxes import COMPRESSED_TARGETS, TARGETS, compressible, convertible
from protocols.dataset.elements import NeedMore
from protocols.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_LE,
    encoding_of,
)
from protocols.errors import CannotUnderstand

# As ingest has it: up to the free amount any ratio is taken.
MAX_INFLATED_RATIO: Final = 200
RATIO_FREE_BYTES: Final = 1024 * 1024
_RAW_DEFLATE: Final = -15
_CHUNK_BYTES: Final = 256 * 1024


class Piece(Protocol):
    """What kinds of jobs have in common: ``length`` bytes at ``offset`` of a file, in a transfer syntax."""

    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def max_bytes(self) -> int: ...


def convert(job: Job, source_fd: int, target_fd: int, scratch_fd: int = -1) -> int:
    """Do one job; the length of what was written.

    scratch_fd: an empty file to inflate a deflated data set into, so that no memory grows with it
    raises: CannotTranscode, OSError, MemoryError
    """
    if not (convertible(job.source, job.target) or compressible(job.source, job.target)):
        raise CannotTranscode(f"{job.source} cannot be given as {job.target}")
    return _reencode(mapped_data_set(job, source_fd, scratch_fd), job, target_fd)


def mapped_data_set(job: Piece, source_fd: int, scratch_fd: int = -1) -> memoryview:
    """The data set that a job is about, inflated if need be.

    scratch_fd: as ``convert`` has it
    raises:     CannotTranscode, OSError
    """
    if job.offset < 0 or job.length <= 0 or job.offset + job.length > os.fstat(source_fd).st_size:
        raise CannotTranscode("the object is shorter than it should be")
    skipped = job.offset % mmap.ALLOCATIONGRANULARITY
    # Mappings end with their last reference: closing them fails while an error still refers to a piece.
    mapped = mmap.mmap(source_fd, job.length + skipped, access=mmap.ACCESS_READ, offset=job.offset - skipped)
    data = memoryview(mapped)[skipped:]
    if job.source != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return data
    sink = Sink(scratch_fd, max_bytes=job.max_bytes)
    inflate(data, sink)
    length = sink.finish()
    if not length:
        raise CannotTranscode("the deflated data set is empty")
    return memoryview(mmap.mmap(scratch_fd, length, access=mmap.ACCESS_READ))


def inflate(data: memoryview, sink: Sink) -> None:
    """Inflate a data set (PS3.5 A.5) chunk by chunk.

    raises: CannotTranscode if it is damaged, cut short, or becomes too large or too many times larger
    """
    stream = zlib.decompressobj(_RAW_DEFLATE)
    taken = made = 0
    try:
        while not stream.eof:
            given = stream.unconsumed_tail or bytes(data[taken : taken + _CHUNK_BYTES])
            if not stream.unconsumed_tail:
                taken += len(given)
            piece = stream.decompress(given, _CHUNK_BYTES)
            if not piece and not given:
                raise CannotTranscode("the deflated data set ends too early")
            made += len(piece)
            if made > max(RATIO_FREE_BYTES, taken * MAX_INFLATED_RATIO):
                raise CannotTranscode("the deflated data set inflates beyond our limits")
            sink.write(piece)
    except zlib.error:
        raise CannotTranscode("the deflated data set is damaged") from None


def _reencode(data: memoryview, job: Job, target_fd: int) -> int:
    deflated = job.target == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    sink = (DeflatingSink if deflated else Sink)(target_fd, max_bytes=job.max_bytes)
    try:
        codec = COMPRESSED_TARGETS.get(job.target)
        target = EXPLICIT_LE if codec is not None else TARGETS[job.target]
        Reencoder(data, job.source, sink, codec=codec).write(encoding_of(job.source, data[:6]), target)
    except NeedMore:
        raise CannotTranscode("the data set ends inside an element, or a length is wrong") from None
    except CannotUnderstand as failure:
        raise CannotTranscode(str(failure)) from None
    return sink.finish()
