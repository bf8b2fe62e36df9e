"""Stored values out of every way in which pixels are laid out (PS3.5 8, PS3.3 C.7.6.3)."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.messages import CannotRender
from pacs_actors.rendering.source import PixelSource, stored_values
from protocols.dataset.transfer_syntax import encoding_of
from tests.pacs_actors.archive.transcoding_data import (
    BIG_ENDIAN,
    EXPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS,
    Stored,
    encapsulated,
    encode,
    gradient,
    image,
)
from tests.pacs_actors.rendering.rendering_data import native


def frame(stored: Stored, number: int = 0) -> Any:
    data = memoryview(stored.data)
    source = PixelSource(DataSet(data, encoding_of(stored.syntax, data[:6])), stored.syntax)
    return source.frame(number)[0]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_native_cells_of_every_size_and_sign(dtype: str) -> None:
    values = gradient(dtype=dtype)
    assert np.array_equal(frame(native(image(values), values)), values)


@pytest.mark.parametrize(("bits", "high"), [(8, 7), (10, 9), (12, 11), (12, 15), (12, 13), (16, 15)])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_stored_wherever_they_lie_with_something_else_around_them(
    bits: int, high: int, signed: bool
) -> None:
    low = -(1 << bits - 1) if signed else 0
    values = np.linspace(low, low + (1 << bits) - 1, 320).astype(np.int32).reshape(16, 20)
    cells = (values & (1 << bits) - 1).astype(np.uint16) << (high + 1 - bits)
    around = np.uint16(0xFFFF ^ ((1 << bits) - 1) << (high + 1 - bits))
    found = stored_values(cells | around, bits_stored=bits, high_bit=high, signed=signed)
    assert np.array_equal(found, values)


def test_a_high_bit_that_cannot_be_is_not_believed() -> None:
    cells = np.array([5], np.uint16)
    assert stored_values(cells, bits_stored=12, high_bit=40, signed=False).tolist() == [5]


def test_single_bits_of_frames_that_begin_within_a_byte() -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 5, 3)).astype(np.uint8)
    data_set = image(bits[0], frames=3)
    data_set.BitsAllocated = data_set.BitsStored = 1
    data_set.HighBit = 0
    stored = native(data_set, np.packbits(bits.reshape(-1), bitorder="little"))
    for number in range(3):
        assert np.array_equal(frame(stored, number), bits[number])


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_by_pixel_and_by_plane(planar: int) -> None:
    values = gradient(samples=3)
    data_set = image(values)
    data_set.PlanarConfiguration = planar
    laid = values if planar == 0 else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    assert np.array_equal(frame(native(data_set, laid)), values)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
@pytest.mark.parametrize("number", [0, 1])
def test_big_endian_words_hold_octets_swapped_and_frames_may_begin_within_one(
    dtype: str, number: int
) -> None:
    values = np.stack([gradient(3, 5, dtype, seed=seed) for seed in (0, 1)])
    data_set = image(values[0], frames=2)
    data = values.tobytes()
    size = max(2, values.dtype.itemsize)
    data_set.PixelData = np.frombuffer(data, f"<u{size}").astype(f">u{size}").tobytes()
    data_set["PixelData"].VR = "OW"
    assert np.array_equal(frame(Stored(encode(data_set, little=False), BIG_ENDIAN), number), values[number])


@pytest.mark.parametrize(
    ("syntax", "coded"),
    [
        (JPEG_LS, imagecodecs.jpegls_encode),
        (JPEG_2000, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
    ],
)
def test_lossless_frames(syntax: str, coded: Any) -> None:
    frames = [gradient(dtype="u2", seed=seed) for seed in (0, 1)]
    stored = encapsulated(image(frames[0], frames=2), [coded(values) for values in frames], syntax)
    assert np.array_equal(frame(stored, 1), frames[1])


def test_floats() -> None:
    values = gradient().astype(np.float32) / 7
    data_set = image(gradient())
    data_set.BitsAllocated, data_set.FloatPixelData = 32, values.tobytes()
    del data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation
    assert np.array_equal(frame(Stored(encode(data_set), EXPLICIT)), values)


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": 65535, "Columns": 65535, "SamplesPerPixel": 3}, {"Rows": 0}, {"BitsAllocated": 12}, {"BitsStored": 9},
        {"SamplesPerPixel": 4}, {"Rows": 17},
    ],
)  # fmt: skip
def test_attributes_that_lie_are_refused(change: dict[str, int]) -> None:
    data_set = image(gradient())
    for keyword, value in change.items():
        setattr(data_set, keyword, value)
    with pytest.raises((CannotRender, CannotTranscode)):
        frame(native(data_set, gradient()))


@pytest.mark.parametrize("frames", [b"x", b"-1", b"9" * 12, b"1e3", b"0"])
def test_a_number_of_frames_that_lies_is_refused(frames: bytes) -> None:
    plain = native(image(gradient(), frames=111111111111), gradient())
    stored = Stored(plain.data.replace(b"111111111111", frames.ljust(12)), plain.syntax)
    with pytest.raises((CannotRender, CannotTranscode)):
        frame(stored, 10**11)


def test_a_frame_header_that_contradicts_the_data_set_is_refused_before_it_is_decoded() -> None:
    values = gradient()
    coded = bytearray(imagecodecs.jpeg8_encode(values))
    at = coded.index(b"\xff\xc0") + 5
    coded[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(CannotTranscode, match="65535 x 65535"):
        frame(encapsulated(image(values), [coded], JPEG_BASELINE))
