"""Look-up tables as data sets carry them, palettes in segments included."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import _expand_segmented_lut

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.colour import Palette
from pacs_actors.rendering.lookup import Table, read_segmented_table, read_table
from pacs_actors.rendering.messages import CannotRender
from protocols.dataset.transfer_syntax import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, Encoding
from tests.pacs_actors.archive.transcoding_data import encode


def element(tag: int, vr: str, value: bytes, encoding: Encoding = EXPLICIT_LE) -> bytes:
    order = ">" if encoding.big_endian else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if encoding.implicit:
        return head + struct.pack("<I", len(value)) + value
    if vr == "OW":
        return head + b"OW\0\0" + struct.pack(f"{order}I", len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def lut(descriptor: bytes, data: bytes, *, vr: str = "US", encoding: Encoding = EXPLICIT_LE) -> DataSet:
    written = element(0x00283002, vr, descriptor, encoding) + element(0x00283006, "OW", data, encoding)
    return DataSet(memoryview(written), encoding)


def table(descriptor: tuple[int, int, int], data: bytes, *, signed: bool = False, **how: Any) -> Table:
    first = struct.pack("<h" if descriptor[1] < 0 else "<H", descriptor[1])
    raw = struct.pack("<H", descriptor[0]) + first + struct.pack("<H", descriptor[2])
    return read_table(lut(raw, data, **how), signed=signed)


def test_words() -> None:
    found = table((3, 10, 16), struct.pack("<3H", 1, 500, 65535))
    assert (found.first, found.bits, found.entries.tolist()) == (10, 16, [1, 500, 65535])


def test_no_entries_mean_65536() -> None:
    assert len(table((0, 0, 16), bytes(131072)).entries) == 65536


def test_octets_two_in_a_word_and_octets_one_in_a_word() -> None:
    assert table((4, 0, 8), bytes((1, 2, 3, 4))).entries.tolist() == [1, 2, 3, 4]
    assert table((3, 0, 8), bytes((1, 2, 3, 0))).entries.tolist() == [1, 2, 3]
    assert table((2, 0, 8), struct.pack("<2H", 1, 2)).entries.tolist() == [1, 2]


def test_big_endian_words_and_octets() -> None:
    raw = struct.pack(">3H", 2, 0, 16)
    assert read_table(lut(raw, b"\1\0\0\2", encoding=EXPLICIT_BE), signed=False).entries.tolist() == [256, 2]
    octets = struct.pack(">3H", 4, 0, 8)
    found = read_table(lut(octets, bytes((2, 1, 4, 3)), encoding=EXPLICIT_BE), signed=False)
    assert found.entries.tolist() == [1, 2, 3, 4]


def test_the_first_value_is_negative_where_the_vr_or_the_pixels_say_so() -> None:
    data = bytes(4)
    assert table((2, -5, 16), data, vr="SS").first == -5
    assert table((2, -5, 16), data, vr="US", signed=True).first == 65531
    assert table((2, -5, 16), data, signed=True, encoding=IMPLICIT_LE).first == -5
    assert table((2, -5, 16), data, encoding=IMPLICIT_LE).first == 65531


@pytest.mark.parametrize(
    ("descriptor", "data"),
    [((4, 0, 16), bytes(7)), ((4, 0, 8), bytes(3)), ((2, 0, 17), bytes(4)), ((2, 0, 0), bytes(4))],
)
def test_a_table_that_does_not_fit_is_refused(descriptor: tuple[int, int, int], data: bytes) -> None:
    with pytest.raises(CannotRender):
        table(descriptor, data)


def test_no_descriptor_is_refused() -> None:
    with pytest.raises(CannotRender):
        read_table(lut(b"\1\0", bytes(2)), signed=False)


def segmented(words: list[int], count: int, bits: int = 16) -> list[int]:
    data_set = Dataset()
    data_set.RedPaletteColorLookupTableDescriptor = [count, 0, bits]
    data_set.SegmentedRedPaletteColorLookupTableData = struct.pack(f"<{len(words)}H", *words)
    found = DataSet(memoryview(encode(data_set)), EXPLICIT_LE)
    return list(map(int, read_segmented_table(found, descriptor=0x00281101, data=0x00281221).entries))


def test_segments_discrete_linear_and_repeated() -> None:
    """PS3.3 C.7.9.2: 0 copies, 1 goes straight to a value, 2 repeats segments at an offset, from where the table is now."""
    assert segmented([0, 2, 10, 20, 1, 4, 60], 6) == [10, 20, 30, 40, 50, 60]
    # One segment, the linear one at word 4, once more: from 60 down to 60.
    assert segmented([0, 2, 10, 20, 1, 4, 60, 2, 1, 4, 0], 10) == [10, 20, 30, 40, 50, 60, 60, 60, 60, 60]


def test_segments_as_pydicom_expands_them() -> None:
    words = [0, 1, 0, 1, 100, 51200, 1, 27, 3, 0, 5, 9, 8, 7, 6, 5, 2, 2, 6, 0]
    expanded = _expand_segmented_lut(tuple(words), "<20H")
    assert segmented(words, len(expanded)) == pytest.approx(expanded, abs=1)


@pytest.mark.parametrize(
    "words",
    [
        [],
        [0],
        [0, 5, 1],
        [1, 4, 9],
        [3, 1, 1],
        [0, 0],
        [2, 1, 0, 0],
        [0, 1, 5, 2, 1, 999, 0],
        [0, 1, 5, 2, 9],
    ],
)
def test_damaged_segments_are_refused(words: list[int]) -> None:
    with pytest.raises(CannotRender):
        segmented(words, 300)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 65535) | st.integers(0, 4), max_size=60))
def test_any_segments_end_in_a_table_or_a_refusal(words: list[int]) -> None:
    try:
        assert len(segmented(words, 256)) == 256
    except CannotRender:
        pass


def palette(bits: int, entries: list[list[int]], first: int = 0) -> DataSet:
    data_set = Dataset()
    for colour, numbers in zip(("Red", "Green", "Blue"), entries, strict=True):
        setattr(data_set, f"{colour}PaletteColorLookupTableDescriptor", [len(numbers), first, bits])
        packed = struct.pack(f"<{len(numbers)}H", *numbers)
        setattr(data_set, f"{colour}PaletteColorLookupTableData", packed)
    return DataSet(memoryview(encode(data_set)), EXPLICIT_LE)


def test_a_palette_of_16_bits_gives_the_high_8() -> None:
    found = Palette(palette(16, [[0, 65535], [256, 512], [65535, 0]]), signed=False)
    assert found.look_up(np.array([[0, 1, 9]])).tolist() == [[[0, 1, 255], [255, 2, 0], [255, 2, 0]]]


def test_a_palette_that_says_16_bits_and_has_8() -> None:
    found = Palette(palette(16, [[0, 255], [0, 128], [7, 0]], first=5), signed=False)
    assert found.look_up(np.array([4, 5, 6])).tolist() == [[0, 0, 7], [0, 0, 7], [255, 128, 0]]


def test_a_palette_without_its_green_is_refused() -> None:
    with pytest.raises(CannotRender):
        Palette(DataSet(memoryview(b""), EXPLICIT_LE), signed=False)
    with pytest.raises(CannotRender, match="differ"):
        Palette(palette(16, [[0, 1], [0, 1, 2], [0, 1]]), signed=False)
