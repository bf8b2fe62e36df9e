"""Look-up tables as data sets carry them: descriptor and data (PS3.3 C.11.1.1.1), palettes (C.7.6.3.1.5, C.7.9). Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.messages import CannotRender

MAX_ENTRIES: Final = 65536
LUT_DESCRIPTOR: Final = 0x00283002
LUT_DATA: Final = 0x00283006
_DISCRETE, _LINEAR, _INDIRECT = range(3)


class Table(Struct, frozen=True):
    """first: the value that the first entry stands for; bits: of an entry; entries: (1 to 65536,) unsigned"""

    first: int
    bits: int
    entries: NDArray[Any]

    @property
    def white(self) -> int:
        """The largest value that an entry can have."""
        return (1 << self.bits) - 1

    def look_up(self, values: NDArray[Any]) -> NDArray[Any]:
        """The entries for values; below the first and behind the last those (PS3.3 C.11.1.1.1)."""
        places = np.clip(values.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[places]

    def share(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The entries for values, as a share of the largest possible one."""
        return self.look_up(np.floor(values + 0.5)).astype(np.float64) / self.white

    def over_range(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """The table laid over 0 to 1, as a Presentation LUT is (PS3.3 C.11.4)."""
        places = np.floor(levels * (len(self.entries) - 1) + 0.5).astype(np.int64)
        return self.entries[places].astype(np.float64) / self.white


def read_table(
    item: DataSet, *, signed: bool, descriptor: int = LUT_DESCRIPTOR, data: int = LUT_DATA
) -> Table:
    """The table of an item of a LUT sequence, or a colour of a palette.

    signed: what the table is applied to may be negative
    raises: CannotRender if descriptor and data do not fit
    """
    count, first, bits = _descriptor(item, descriptor, signed=signed)
    return Table(first, bits, _entries(item, data, count, bits))


def read_segmented_table(item: DataSet, *, descriptor: int, data: int) -> Table:
    """A table in segments (PS3.3 C.7.9.2). raises: CannotRender"""
    count, first, bits = _descriptor(item, descriptor, signed=False)
    raw = item.raw(data)[: 8 * MAX_ENTRIES]
    if bits <= 8 and not _looks_wide(raw):
        words = np.frombuffer(bytes(raw), np.uint8).astype(np.int64)
    else:
        words = _words(raw, big_endian=item.encoding.big_endian).astype(np.int64)
    return Table(first, bits, _expanded(words, count))


def _descriptor(item: DataSet, tag: int, *, signed: bool) -> tuple[int, int, int]:
    """Entries, first value, bits. The second of the three numbers may be negative (C.11.1.1)."""
    element = item.element(tag)
    raw = bytes(item.raw(tag))
    if element is None or len(raw) < 6:
        raise CannotRender("a look-up table has no descriptor")
    unsigned = item.encoding.u16
    count, first, bits = (unsigned.unpack_from(raw, at)[0] for at in (0, 2, 4))
    written = "" if item.implicit else element.vr
    if first >= 0x8000 and (written == "SS" or (written != "US" and signed)):
        first -= 0x10000
    if not 8 <= bits <= 16:
        raise CannotRender(f"a look-up table has entries of {bits} bits")
    return count or MAX_ENTRIES, first, bits


def _entries(item: DataSet, tag: int, count: int, bits: int) -> NDArray[Any]:
    raw = item.raw(tag)[: 2 * MAX_ENTRIES]
    if len(raw) >= 2 * count:
        words = _words(raw[: 2 * count], big_endian=item.encoding.big_endian)
        return words & np.uint16((1 << bits) - 1)
    if len(raw) >= count and bits == 8:
        # Two entries in each word, the first in the low byte.
        octets = bytes(raw[: count + count % 2])
        if item.encoding.big_endian and len(octets) % 2 == 0:
            return np.frombuffer(octets, ">u2").astype("<u2").view(np.uint8)[:count]
        return np.frombuffer(octets, np.uint8)[:count]
    raise CannotRender(f"a look-up table has {len(raw)} bytes for {count} entries")


def _words(raw: memoryview, *, big_endian: bool) -> NDArray[np.uint16]:
    return np.frombuffer(bytes(raw[: len(raw) // 2 * 2]), ">u2" if big_endian else "<u2").astype(np.uint16)


def _looks_wide(raw: memoryview) -> bool:
    """8-bit segments written as words: the opcode, 0 to 2, has its own zero byte."""
    return len(raw) >= 4 and raw[1] == 0 and raw[0] <= _INDIRECT and raw[3] == 0


def _expanded(words: NDArray[np.int64], count: int) -> NDArray[np.uint16]:
    """Undo segmentation; no more than ``count`` entries are made. raises: CannotRender"""
    out = np.zeros(count, np.int64)
    made = at = 0
    while made < count:
        if at + 2 > len(words):
            raise CannotRender("a segmented look-up table ends too early")
        if words[at] != _INDIRECT:
            at, made = _segment(words, at, out, made)
            continue
        if at + 4 > len(words):
            raise CannotRender("a segmented look-up table ends too early")
        place = int(words[at + 2]) | int(words[at + 3]) << 16
        for _ in range(int(words[at + 1])):
            if made < count:
                place, made = _segment(words, place, out, made)
        at += 4
    return out.astype(np.uint16)


def _segment(words: NDArray[np.int64], at: int, out: NDArray[np.int64], made: int) -> tuple[int, int]:
    """One discrete or linear segment; where the next begins, and how many entries there are."""
    if at + 2 > len(words):
        raise CannotRender("a segmented look-up table ends too early")
    opcode, length = int(words[at]), int(words[at + 1])
    at += 2
    taken = min(length, len(out) - made)
    if not length:
        raise CannotRender("a segment of a look-up table is empty")
    if opcode == _DISCRETE and at + length <= len(words):
        out[made : made + taken] = words[at : at + taken]
        return at + length, made + taken
    if opcode == _LINEAR and at < len(words) and made:
        start, end = int(out[made - 1]), int(words[at])
        steps = np.arange(1, length + 1, dtype=np.float64) / length
        out[made : made + taken] = np.floor(start + (end - start) * steps + 0.5)[:taken]
        return at + 1, made + taken
    raise CannotRender("a segmented look-up table is damaged")
