"""Where the frames of an image lie in its object (PS3.5 8.2, annex A.4), so that one of them costs one read.

Pure but for what ``index_object`` reads through; what is found is small and is kept. Attributes are believed only
as far as the bytes are there.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from struct import unpack_from
from typing import Final

from msgspec import Struct

from protocols.dataset.elements import NeedMore, SequenceWalk, items_are_implicit, read_header
from protocols.dataset.transfer_syntax import (
    EXPLICIT_LE,
    ITEM,
    SEQUENCE_DELIMITATION_ITEM,
    UNDEFINED_LENGTH,
    dictionary_vr,
    encoding_of,
)
from protocols.dataset.windows import Readable, Windows
from protocols.errors import CannotUnderstand, Refusal

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
PIXEL_DATA: Final = 0x7FE00010
_WANTED: Final = frozenset(
    {SAMPLES_PER_PIXEL, PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES, ROWS, COLUMNS, BITS_ALLOCATED}
)
_PIXELS: Final = frozenset({FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA, PIXEL_DATA})
# Two samples for two pixels of one line share their chrominance (PS3.3 C.7.6.3.1.2).
_SUBSAMPLED: Final = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
# With several frames in several fragments and no offsets, a frame is taken to begin where a codestream does.
_BEGINNINGS: Final = (
    b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b"\xff\x0a", b"\0\0\0\x0cJXL "
)  # fmt: skip

_VIDEO: Final = "1.2.840.10008.1.2.4."
# One stream holds all frames: it is given as one (PS3.5 A.4.5 to A.4.9).
VIDEO: Final = frozenset(
    f"{_VIDEO}{number}{part}" for number in range(100, 109) for part in ("", ".1")
)  # fmt: skip

MAX_ELEMENTS: Final = 20_000
MAX_FRAGMENTS: Final = 500_000
# Each is a piece of an answer; a file of 1 GiB in fragments of 16 KiB has as many.
MAX_FRAGMENTS_A_FRAME: Final = 65_536
MAX_FRAMES: Final = 10_000_000
# A frame that begins within a byte is moved in memory.
MAX_UNALIGNED_BYTES: Final = 16 * 1024 * 1024
_MAX_TEXT: Final = 64


class NoFrames(Refusal):
    """404: there are no frames, or not this one."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0x0112, http_status=404)


class BrokenFrames(Refusal):
    """409: where the frames are cannot be told from the object."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0xC000, http_status=409)


class Span(Struct, frozen=True, gc=False):
    """Bytes of the object: offset, length."""

    offset: int
    length: int


class FrameIndex(Struct, frozen=True):
    """Where the frames of one object are.

    frames:      how many
    frame_bits:  of a native frame; 0: the frames are encapsulated
    start:       of native frames: where the first begins in the file
    firsts:      of encapsulated frames: number of each one's first fragment, and the number of all fragments
    fragments:   beginning and end of each in the file, in turn
    """

    frames: int
    frame_bits: int = 0
    start: int = 0
    firsts: Sequence[int] = ()
    fragments: Sequence[int] = ()

    @property
    def encapsulated(self) -> bool:
        return self.frame_bits == 0

    @property
    def cost(self) -> int:
        """About how many numbers it holds."""
        return 16 + len(self.firsts) + len(self.fragments)

    @property
    def unaligned(self) -> bool:
        """Frames of bits that do not all begin with a byte."""
        return self.frame_bits % 8 != 0

    def spans(self, frame: int) -> list[Span]:
        """The bytes of a frame, counted from 1, in order. Those of a bit-packed one are whole bytes around it.

        raises: NoFrames
        """
        if not 1 <= frame <= self.frames:
            raise NoFrames(f"There are {self.frames} frames.")
        if self.frame_bits:
            first = (frame - 1) * self.frame_bits
            begins, ends = first // 8, (first + self.frame_bits + 7) // 8
            return [Span(self.start + begins, ends - begins)]
        numbers = range(self.firsts[frame - 1], self.firsts[frame])
        bounds = ((self.fragments[2 * number], self.fragments[2 * number + 1]) for number in numbers)
        return [Span(begins, ends - begins) for begins, ends in bounds]

    def pieces(self, numbers: Sequence[int]) -> int:
        """How many spans these frames have; all of them are there."""
        if self.frame_bits:
            return len(numbers)
        return sum(self.firsts[number] - self.firsts[number - 1] for number in numbers)

    def shift(self, frame: int) -> int:
        """How many bits before the frame's first lie in its first byte; 0 but for bit-packed frames (PS3.5 8.1.1)."""
        return (frame - 1) * self.frame_bits % 8


def unpacked(data: bytes, shift: int, bits: int) -> bytes:
    """A bit-packed frame moved to the beginning of its first byte; the bits behind it are zero."""
    whole = int.from_bytes(data, "little") >> shift & (1 << bits) - 1
    return whole.to_bytes((bits + 7) // 8, "little")


def index_object(fd: int, *, offset: int, length: int, transfer_syntax_uid: str) -> FrameIndex:
    """Find the frames of a data set that is not deflated. Reads no pixels. Blocks: for native threads.

    offset, length: of the data set in the file
    raises: NoFrames, BrokenFrames, CannotUnderstand, OSError
    """
    if length <= 0 or offset + length > os.fstat(fd).st_size:
        raise BrokenFrames("The object is shorter than it should be.")
    try:
        return find_frames(Windows(partial(os.pread, fd), offset + length), offset, transfer_syntax_uid)
    except NeedMore:
        raise BrokenFrames("The data set ends inside an element.") from None


def find_frames(data: Readable, at: int, transfer_syntax_uid: str) -> FrameIndex:
    """As ``index_object``, in memory; the data set goes from ``at`` to the end. raises: NeedMore as well"""
    stop = len(data)
    encoding = encoding_of(transfer_syntax_uid, data[at : at + 6])
    walk = SequenceWalk(data, stop, encoding)
    attributes: dict[int, bytes] = {}
    offsets: Sequence[int] = ()
    for _ in range(MAX_ELEMENTS):
        if at >= stop:
            raise NoFrames("This object has no pixels.")
        tag, vr, value, length = read_header(data, at, stop, encoding, implicit=encoding.implicit)
        if tag in _PIXELS:
            if transfer_syntax_uid in VIDEO:
                attributes[NUMBER_OF_FRAMES] = b"1"
            return _frames(data, value, stop, length, tag, attributes, offsets, big=encoding.big_endian)
        if length == UNDEFINED_LENGTH:
            kind = vr or dictionary_vr(tag)
            implicit = items_are_implicit(data, value, stop) if kind == "UN" else encoding.implicit or not vr
            at = walk.behind_sequence(value, implicit=implicit, opaque=kind not in ("SQ", "UN"))
            continue
        at = value + length
        if at > stop:
            raise NeedMore(at)
        if tag in _WANTED:
            attributes[tag] = bytes(data[value : min(at, value + _MAX_TEXT)])
        elif tag == EXTENDED_OFFSET_TABLE:
            offsets = _extended_offsets(data, value, at)
    raise CannotUnderstand(f"more than {MAX_ELEMENTS} elements before the pixels")


def _extended_offsets(data: Readable, at: int, stop: int) -> Sequence[int]:
    if stop - at > 8 * MAX_FRAGMENTS:
        raise CannotUnderstand(f"an Extended Offset Table of more than {MAX_FRAGMENTS} frames")
    return unpack_from(f"<{(stop - at) // 8}Q", data[at:stop])


def _frames(
    data: Readable,
    value: int,
    stop: int,
    length: int,
    tag: int,
    attributes: dict[int, bytes],
    offsets: Sequence[int],
    *,
    big: bool,
) -> FrameIndex:
    text = attributes.get(NUMBER_OF_FRAMES, b"1").strip(b" \0") or b"1"
    if not (text.isdigit() and len(text) <= 12 and 0 < int(text) <= MAX_FRAMES):
        raise BrokenFrames("Number of Frames is no number of frames.")
    frames = int(text)
    if length == UNDEFINED_LENGTH:
        return _encapsulated(data, value, stop, frames, offsets)
    if value + length > stop:
        raise NeedMore(value + length)

    def number(wanted: int) -> int:
        raw = attributes.get(wanted, b"")[:2]
        return int.from_bytes(raw, "big" if big else "little") if len(raw) == 2 else 0

    bits = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}.get(tag) or number(BITS_ALLOCATED)
    samples = number(SAMPLES_PER_PIXEL) or 1
    photometric = attributes.get(PHOTOMETRIC_INTERPRETATION, b"").strip(b" \0").decode("latin-1")
    if samples == 3 and photometric in _SUBSAMPLED:
        samples = 2
    frame_bits = number(ROWS) * number(COLUMNS) * samples * bits
    if not frame_bits:
        raise BrokenFrames("Rows, Columns or Bits Allocated are missing.")
    if frame_bits % 8 and frame_bits > 8 * MAX_UNALIGNED_BYTES:
        raise CannotUnderstand("frames of bits beyond our limits")
    if frames * frame_bits > length * 8:
        raise BrokenFrames(f"{frames} frames of {frame_bits} bits do not fit into {length} bytes.")
    return FrameIndex(frames, frame_bits, value)


def _encapsulated(data: Readable, at: int, stop: int, frames: int, extended: Sequence[int]) -> FrameIndex:
    bounds, table = _fragments(data, at, stop)
    count = len(bounds) // 2
    if not count:
        raise NoFrames("The Pixel Data are empty.")
    offsets = extended or _basic_offsets(data, *table)
    firsts = _firsts(data, bounds, frames, offsets)
    if len(firsts) != frames or firsts[0] or any(a >= b for a, b in pairwise(firsts)):
        raise BrokenFrames(f"Where the {frames} frames begin in {count} fragments cannot be told.")
    if any(b - a > MAX_FRAGMENTS_A_FRAME for a, b in pairwise((*firsts, count))):
        raise CannotUnderstand(f"a frame in more than {MAX_FRAGMENTS_A_FRAME} fragments")
    return FrameIndex(frames, firsts=array("I", [*firsts, count]), fragments=bounds)


def _basic_offsets(data: Readable, at: int, stop: int) -> Sequence[int]:
    """None of what is too long: so many fragments are refused anyway."""
    entries = (stop - at) // 4
    return unpack_from(f"<{entries}I", data[at:stop]) if entries <= MAX_FRAGMENTS else ()


def _fragments(data: Readable, at: int, stop: int) -> tuple[array[int], tuple[int, int]]:
    """Beginning and end of each fragment, and of the Basic Offset Table. An object that was cut short has those that are whole."""
    bounds = array("Q")
    table: tuple[int, int] | None = None
    unpack = EXPLICIT_LE.implicit_header.unpack_from
    while at + 8 <= stop:
        group, element, length = unpack(data[at : at + 8])
        tag = group << 16 | element
        if tag == SEQUENCE_DELIMITATION_ITEM:
            break
        if tag != ITEM or length == UNDEFINED_LENGTH:
            raise BrokenFrames("Something else stands among the fragments of the Pixel Data.")
        begins, at = at + 8, at + 8 + length
        if at > stop:
            break
        if table is None:
            table = begins, at
            continue
        bounds.append(begins)
        bounds.append(at)
        if len(bounds) > 2 * MAX_FRAGMENTS:
            raise CannotUnderstand(f"more than {MAX_FRAGMENTS} fragments")
    return bounds, table or (0, 0)


def _firsts(data: Readable, bounds: array[int], frames: int, offsets: Sequence[int]) -> Sequence[int]:
    """Number of each frame's first fragment; too few or too many if it cannot be told."""
    count = len(bounds) // 2
    if frames == count:
        return range(count)
    if frames == 1:
        return (0,)
    starts = bounds[::2]
    if len(offsets) == frames:
        # They count from the first fragment's item header on.
        wanted = [starts[0] + each for each in offsets]
        firsts = [bisect_left(starts, each) for each in wanted]
        known = zip(firsts, wanted, strict=True)
        if all(first < count and starts[first] == each for first, each in known):
            return firsts
    return [
        number
        for number, start in enumerate(starts)
        if bytes(data[start : start + 8]).startswith(_BEGINNINGS)
    ]
