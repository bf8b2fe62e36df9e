"""Images coded without loss in JPEG-LS, JPEG 2000, HTJ2K and RLE: the same pixels come out again, by other decoders as well."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.syntaxes import CODECS, COMPRESSED_TARGETS, TARGETS, compressible

from .test_transcoding_pixels import COMPRESSED, pixels
from .transcoding_data import (
    BIG_ENDIAN,
    BUNDLED,
    EXPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS,
    RLE,
    Stored,
    encapsulated,
    encode,
    gradient,
    image,
    part10,
    stored,
)

HTJ2K = "1.2.840.10008.1.2.4.201"
CODED = (JPEG_LS, JPEG_2000, HTJ2K, RLE)
NATIVE = [path for path in part10(BUNDLED) if stored(path).syntax in TARGETS][::3]


def native(values: np.ndarray, **attributes: object) -> Stored:
    data_set = image(values)
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    data_set.PixelData = values.tobytes()
    data_set["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    return Stored(encode(data_set), EXPLICIT)


@pytest.mark.parametrize("target", CODED)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("samples", [1, 3])
def test_every_kind_of_sample_comes_out_as_it_went_in(target: str, dtype: str, samples: int) -> None:
    values = gradient(9, 21, dtype, samples=samples)
    source = native(values)
    made = source.to(target)
    assert made.syntax == target
    back = made.to(EXPLICIT)
    assert pixels(back.read()).tobytes() == values.tobytes()
    first, last = source.read(), back.read()
    assert first.PhotometricInterpretation == last.PhotometricInterpretation
    assert "LossyImageCompression" not in last


@pytest.mark.parametrize("target", CODED)
def test_noise_that_cannot_be_compressed_still_fits(target: str) -> None:
    values = np.random.default_rng(5).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    assert pixels(native(values).to(target).to(EXPLICIT).read()).tobytes() == values.tobytes()


@pytest.mark.parametrize("target", CODED)
@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_every_uncompressed_file_comes_back(path: Path, target: str) -> None:
    try:
        plain = stored(path).to(EXPLICIT)
        coded = stored(path).to(target)
    except CannotTranscode as refusal:
        why = str(refusal)
        assert any(
            part in why
            for part in (
                "no pixels",
                "bits allocated",
                "_422",
                "fewer",
                "swapped",
                "missing",
                "Frames",
                "ends inside",
            )
        )
        return
    assert pixels(coded.to(EXPLICIT).read()).tobytes() == pixels(plain.read()).tobytes()


@pytest.mark.parametrize("path", COMPRESSED[::3], ids=lambda path: path.name)
@pytest.mark.parametrize("target", [JPEG_LS, RLE])
def test_what_was_compressed_is_coded_anew(path: Path, target: str) -> None:
    source = stored(path)
    try:
        coded = source.to(target)
    except CannotTranscode:
        return
    assert pixels(coded.to(EXPLICIT).read()).tobytes() == pixels(source.to(EXPLICIT).read()).tobytes()


def test_other_decoders_agree_on_run_lengths_and_wavelets() -> None:
    values = gradient(12, 18, "u2")
    for target in (RLE, JPEG_2000):
        assert np.array_equal(pixels(native(values).to(target).read(), raw=False), values)
    colours = gradient(12, 18, samples=3)
    found = native(colours).to(JPEG_2000).read()
    assert found.PhotometricInterpretation == "YBR_RCT" and found.PlanarConfiguration == 0
    assert np.array_equal(pixels(found, raw=False), colours)


def test_planes_become_pixels() -> None:
    values = gradient(6, 8, samples=3)
    by_plane = native(np.ascontiguousarray(np.moveaxis(values, -1, 0)))
    data_set = by_plane.read()
    data_set.Rows, data_set.Columns, data_set.SamplesPerPixel, data_set.PlanarConfiguration = 6, 8, 3, 1
    data_set.PhotometricInterpretation = "RGB"
    source = Stored(encode(data_set), EXPLICIT)
    for target in CODED:
        assert pixels(source.to(target).to(EXPLICIT).read()).tobytes() == values.tobytes()


def test_big_endian_words() -> None:
    values = gradient(dtype="u2")
    swapped = native(values).to(BIG_ENDIAN)
    assert pixels(swapped.to(JPEG_LS).to(EXPLICIT).read()).tobytes() == values.tobytes()


def test_a_lossy_image_says_so_in_its_lossless_form() -> None:
    values = gradient()
    lossy = encapsulated(image(values), [imagecodecs.jpeg8_encode(values)], JPEG_BASELINE)
    found = lossy.to(JPEG_LS).read()
    assert (found.LossyImageCompression, found.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


@pytest.mark.parametrize("target", CODED)
def test_what_cannot_be_coded_is_refused(target: str) -> None:
    values = gradient()
    bits = native(values, BitsAllocated=1, BitsStored=1, HighBit=0)
    short = native(values, Rows=17)
    empty = image(values)
    for source in (bits, short, Stored(encode(empty), EXPLICIT)):
        with pytest.raises(CannotTranscode):
            source.to(target)


def test_which_pairs_there_are() -> None:
    assert set(COMPRESSED_TARGETS) == set(CODED)
    assert all(compressible(source, target) for source in (*TARGETS, *CODECS) for target in CODED)
    assert not compressible("1.2.840.10008.1.2.4.102", JPEG_LS) and not compressible(EXPLICIT, JPEG_BASELINE)
