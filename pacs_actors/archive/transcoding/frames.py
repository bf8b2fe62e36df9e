"""Which fragments of encapsulated Pixel Data make which frame (PS3.5 A.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice, pairwise
from struct import unpack_from
from typing import Final

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.syntaxes import Codec
from protocols.dataset.elements import items
from protocols.dataset.transfer_syntax import EXPLICIT_LE

MAX_FRAGMENTS: Final = 500_000

_BEGINNINGS: Final[dict[Codec, tuple[bytes, ...]]] = {
    Codec.JPEG: (b"\xff\xd8\xff",),
    Codec.JPEG_LS: (b"\xff\xd8\xff",),
    Codec.JPEG_2000: (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
    Codec.HTJ2K: (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
    Codec.JPEG_XL: (b"\xff\x0a", b"\0\0\0\x0cJXL "),
}


class Frames:
    """The frames of an encapsulated value, joined only when they are asked for.

    _groups: of each frame, the fragments' first and last + 1
    """

    def __init__(
        self,
        data: memoryview,
        start: int,
        stop: int,
        *,
        frames: int,
        codec: Codec,
        extended_offsets: Sequence[int],
    ) -> None:
        """start, stop: the value, its delimiter not included; raises CannotTranscode, NeedMore, CannotUnderstand."""
        walked = list(islice(items(data, start, stop, EXPLICIT_LE, implicit=True), MAX_FRAGMENTS + 1))
        if len(walked) > MAX_FRAGMENTS:
            raise CannotTranscode(f"more than {MAX_FRAGMENTS} fragments")
        if len(walked) < 2:
            raise CannotTranscode("the Pixel Data are empty")
        (table, table_end), *self._fragments = walked
        if frames > len(self._fragments):
            raise CannotTranscode(f"{frames} frames in {len(self._fragments)} fragments")
        self._data = data
        self._groups = self._group(frames, codec, extended_offsets or _offsets(data[table:table_end]))

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> memoryview:
        first, behind = self._groups[number]
        pieces = [self._data[start:stop] for start, stop in self._fragments[first:behind]]
        return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))

    def _group(self, frames: int, codec: Codec, offsets: Sequence[int]) -> list[tuple[int, int]]:
        count = len(self._fragments)
        if frames == count:
            return [(number, number + 1) for number in range(count)]
        if frames == 1:
            return [(0, count)]
        firsts = self._firsts_by_offset(offsets) if len(offsets) == frames else self._firsts_by_look(codec)
        if len(firsts) != frames or firsts[0] or any(a >= b for a, b in pairwise(firsts)):
            raise CannotTranscode(f"where the {frames} frames begin in {count} fragments cannot be told")
        return list(zip(firsts, [*firsts[1:], count], strict=True))

    def _firsts_by_offset(self, offsets: Sequence[int]) -> list[int]:
        """Offsets count from the first fragment's item header on."""
        origin = self._fragments[0][0]
        starts = [start - origin for start, _ in self._fragments]
        firsts = [bisect_left(starts, offset) for offset in offsets]
        known = all(
            first < len(starts) and starts[first] == offset
            for first, offset in zip(firsts, offsets, strict=True)
        )
        return firsts if known else []

    def _firsts_by_look(self, codec: Codec) -> list[int]:
        beginnings = _BEGINNINGS.get(codec)
        if beginnings is None:
            return []
        return [
            number
            for number, (start, _) in enumerate(self._fragments)
            if bytes(self._data[start : start + 8]).startswith(beginnings)
        ]


def _offsets(table: memoryview) -> Sequence[int]:
    return unpack_from(f"<{len(table) // 4}I", table)


def extended_offsets(value: memoryview) -> Sequence[int]:
    """Extended Offset Table (7FE0,0001): 64-bit offsets."""
    return unpack_from(f"<{len(value) // 8}Q", value)
