"""Windows on a file: the same bytes as in memory, few of them read, errors where a mapping would end the process."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dataset.elements import NeedMore, SequenceWalk, elements
from protocols.dataset.finding import find_element
from protocols.dataset.transfer_syntax import EXPLICIT_LE
from protocols.dataset.windows import MAX_SLICE_BYTES, MOST_BYTES, Windows
from protocols.errors import CannotUnderstand, PacsError

EXPLICIT = "1.2.840.10008.1.2.1"


class File:
    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, list[tuple[int, int]]()

    def read(self, size: int, offset: int) -> bytes:
        self.reads.append((size, offset))
        return self.data[offset : offset + size]


def windows(data: bytes) -> Windows:
    return Windows(File(data).read, len(data))


@settings(max_examples=100)
@given(
    st.integers(0, 40_000), st.lists(st.tuples(st.integers(0, 41_000), st.integers(0, 9_000)), max_size=30)
)
def test_pieces_are_those_of_the_bytes(size: int, wanted: list[tuple[int, int]]) -> None:
    data = bytes(number % 251 for number in range(size))
    seen = windows(data)
    assert len(seen) == size
    for start, length in wanted:
        assert bytes(seen[start : start + length]) == data[start : start + length]


def test_who_jumps_reads_little_and_who_goes_on_reads_ahead() -> None:
    file = File(bytes(4_000_000))
    seen = Windows(file.read, len(file.data))
    for at in range(0, 4_000_000, 100_000):
        seen[at : at + 8]
    assert max(size for size, _ in file.reads) <= 4096 and len(file.reads) == 40
    file.reads.clear()
    for at in range(0, 2_000_000, 8):
        seen[at : at + 8]
    assert max(size for size, _ in file.reads) == MOST_BYTES and len(file.reads) < 50


def test_a_file_that_ends_too_early_is_told() -> None:
    file = File(bytes(10_000))
    seen = Windows(file.read, 20_000)
    assert len(seen[9_000:10_000]) == 1000
    with pytest.raises(NeedMore) as short:
        seen[9_999:10_001]
    assert short.value.offset == 10_001


def test_a_piece_has_a_limit() -> None:
    file = File(b"")
    with pytest.raises(CannotUnderstand):
        Windows(file.read, 1 << 40)[0 : MAX_SLICE_BYTES + 1]
    assert not file.reads


def test_an_error_of_the_disk_comes_out_of_a_walk() -> None:
    def read(size: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(elements(Windows(read, 100), 0, 100, EXPLICIT_LE))


def sequence(count: int, value: bytes) -> bytes:
    """An undefined-length sequence of items, a long value before and behind it."""
    element = struct.pack("<HH2sH", 8, 0x1150, b"UI", len(value)) + value
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(element)) + element
    private = struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 100_000) + bytes(100_000)
    begins = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    ends = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    last = struct.pack("<HH2sH", 0x10, 0x20, b"LO", 2) + b"ID"
    return begins + item * count + ends + private + last


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2000),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3),
)
def test_walks_find_the_same_as_in_memory(count: int, half: int, damage: list[tuple[int, int]]) -> None:
    data = bytearray(sequence(count, b"1" * 2 * half))
    for at, value in damage:
        data[at % len(data)] = value

    def found(source: Windows | memoryview) -> object:
        made: list[object] = []
        for look in (
            lambda: list(elements(source, 0, len(data), EXPLICIT_LE)),
            lambda: find_element(source, 0, EXPLICIT, (0x00081140, count // 2, 0x00081150)),
            lambda: SequenceWalk(source, len(data), EXPLICIT_LE).behind_sequence(12, implicit=False),
        ):
            try:
                made.append(look())
            except PacsError as failure:
                made.append((type(failure), str(failure)))
        return made

    assert found(windows(bytes(data))) == found(memoryview(bytes(data)))
