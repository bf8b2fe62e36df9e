from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.syntaxes import CODECS

from .transcoding_data import (
    BIG_ENDIAN,
    BUNDLED,
    DEFLATED_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    JPEG_XL,
    RLE,
    SEQUENCE_END,
    SHARED,
    TARGETS,
    Stored,
    encapsulated,
    encode,
    gradient,
    image,
    item,
    part10,
    stored,
    tags,
)

Array = np.ndarray[Any, Any]

# A codestream whose SIZ was written over, a fragment cut short, an object cut short.
DAMAGED = {
    "JPEG2000-embedded-sequence-delimiter.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "bad.dcm",
}  # fmt: skip
FILES = part10(BUNDLED, SHARED)
COMPRESSED = [path for path in FILES if path.name not in DAMAGED and stored(path).syntax in CODECS]
TWINS = {
    "MR_small_RLE.dcm": "MR_small.dcm",
    "MR_small_jp2klossless.dcm": "MR_small.dcm",
    "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm",
    "rtdose_rle.dcm": "rtdose.dcm",
    "rtdose_rle_1frame.dcm": "rtdose_1frame.dcm",
    "emri_small_RLE.dcm": "emri_small.dcm",
    "emri_small_jpeg_2k_lossless.dcm": "emri_small.dcm",
    "emri_small_jpeg_ls_lossless.dcm": "emri_small.dcm",
    "liver_rle.dcm": "liver.dcm",
    "liver_j2k.dcm": "liver.dcm",
    "liver_deflate.dcm": "liver.dcm",
    "liver_nonbyte_aligned_rle.dcm": "liver_nonbyte_aligned.dcm",
    "liver_nonbyte_aligned_j2k.dcm": "liver_nonbyte_aligned.dcm",
    "liver_nonbyte_aligned_deflate.dcm": "liver_nonbyte_aligned.dcm",
    "OBXXXX1A_rle.dcm": "OBXXXX1A.dcm",
    "OBXXXX1A_rle_2frame.dcm": "OBXXXX1A_2frame.dcm",
    "sm_image_jpegls.dcm": "sm_image_jpegls_nobot.dcm",
}
BY_NAME = {path.name: path for path in FILES}


def pixels(data_set: Dataset, *, raw: bool = True) -> Array:
    return pixel_array(data_set, raw=raw)


@pytest.mark.parametrize("path", COMPRESSED, ids=lambda path: path.name)
def test_every_compressed_file_comes_out_the_same_in_every_form(path: Path) -> None:
    source = stored(path)
    first = source.to(EXPLICIT).read()
    if "PixelData" not in first:
        return
    expected = pixels(first)
    for target in TARGETS[1:]:
        found = source.to(target).read()
        if target == BIG_ENDIAN and first.BitsAllocated > 16:
            # The words of OW are swapped (PS3.5 7.3), not the whole pixels, as pydicom has it.
            assert np.array_equal(
                np.frombuffer(found.PixelData, ">u2"), np.frombuffer(first.PixelData, "<u2")
            )
        else:
            assert np.array_equal(pixels(found), expected)
    data_set = source.read()
    assert ("OW" if first.BitsAllocated > 8 else "OB") == first["PixelData"].VR
    assert not first["PixelData"].is_undefined_length and len(first.PixelData) % 2 == 0
    changed = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}
    changed |= {"LossyImageCompression", "LossyImageCompressionMethod"}
    for element in data_set:
        if element.keyword not in changed and element.tag.element:
            assert first[element.tag] == element


@pytest.mark.parametrize("path", COMPRESSED, ids=lambda path: path.name)
def test_pydicom_decodes_the_same(path: Path) -> None:
    """With the decoders it has here: its own for RLE, Pillow's for JPEG and JPEG 2000 if Pillow is there."""
    source = stored(path)
    try:
        expected = pixels(source.read(), raw=False)
    except (NotImplementedError, RuntimeError, AttributeError) as failure:
        pytest.skip(f"pydicom cannot: {type(failure).__name__}")
    found = pixels(source.to(EXPLICIT).read(), raw=False)
    assert found.shape == expected.shape
    # Colour is turned from YCbCr in numbers of other precision.
    tolerance = 2 if source.syntax == JPEG_BASELINE else 1 if CODECS[source.syntax].name == "HTJ2K" else 0
    assert np.abs(found.astype(np.int64) - expected).max() <= tolerance


def test_pydicoms_own_decoder_was_asked() -> None:
    assert sum(stored(path).syntax == RLE for path in COMPRESSED) >= 8


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_lossless_file_equals_its_uncompressed_twin(name: str) -> None:
    twin = BY_NAME.get(TWINS[name])
    if name not in BY_NAME or twin is None:
        pytest.skip("not among the files here")
    made, expected = (stored(path).to(EXPLICIT).read() for path in (BY_NAME[name], twin))
    assert made.PixelData.rstrip(b"\0") == expected.PixelData.rstrip(b"\0") or np.array_equal(
        pixels(made), pixels(expected)
    )


LOSSLESS: dict[str, tuple[str, Callable[[Array], bytes | bytearray]]] = {
    "JPEG lossless": (JPEG_LOSSLESS, lambda frame: imagecodecs.jpeg_encode(frame, lossless=True)),
    "JPEG-LS": (JPEG_LS, imagecodecs.jpegls_encode),
    "JPEG 2000": (
        JPEG_2000,
        lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True),
    ),
    "JPEG 2000 in boxes": (
        JPEG_2000,
        lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="jp2", reversible=True),
    ),
    "HTJ2K": ("1.2.840.10008.1.2.4.201", lambda frame: imagecodecs.htj2k_encode(frame, reversible=True)),
    "JPEG XL": (JPEG_XL, lambda frame: imagecodecs.jpegxl_encode(frame, lossless=True)),
    "uncompressed": (ENCAPSULATED_UNCOMPRESSED, lambda frame: frame.tobytes() + b"\0" * (frame.nbytes % 2)),
    "deflated": (DEFLATED_FRAME, lambda frame: deflated(frame.tobytes())),
}


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("codec", sorted(LOSSLESS))
@pytest.mark.parametrize(("dtype", "samples"), [("u1", 1), ("u2", 1), ("u1", 3)])
@pytest.mark.parametrize("shape", [(16, 20), (7, 5)])
def test_lossless_frames_come_back(codec: str, dtype: str, samples: int, shape: tuple[int, int]) -> None:
    syntax, compress = LOSSLESS[codec]
    frames = [gradient(*shape, dtype, samples=samples, seed=seed) for seed in range(3)]
    source = encapsulated(image(frames[0], frames=3), [compress(frame) for frame in frames], syntax)
    for target in TARGETS:
        assert np.array_equal(pixels(source.to(target).read()), np.stack(frames))


@pytest.mark.parametrize("codec", ["JPEG 2000", "uncompressed", "deflated"])
def test_signed_samples_come_back(codec: str) -> None:
    syntax, compress = LOSSLESS[codec]
    frame = gradient(dtype="i2")
    made = encapsulated(image(frame), [compress(frame)], syntax).to(IMPLICIT).read()
    assert np.array_equal(pixels(made), frame)


@pytest.mark.parametrize("codec", ["JPEG lossless", "JPEG-LS", "JPEG 2000"])
def test_the_sign_of_fewer_bits_is_spread_over_the_cell(codec: str) -> None:
    """-1 in 12 bits is 0FFFH in the codestream and FFFFH in a cell of 16."""
    frame = (np.arange(-160, 160).reshape(16, 20) * 12).astype("i2")
    pattern = (frame & 0x0FFF).astype("u2")
    compress: dict[str, Callable[[], bytes | bytearray]] = {
        "JPEG lossless": lambda: imagecodecs.jpeg_encode(pattern, lossless=True, bitspersample=12),
        "JPEG-LS": lambda: imagecodecs.jpegls_encode(pattern),
        "JPEG 2000": lambda: imagecodecs.jpeg2k_encode(
            pattern, codecformat="j2k", reversible=True, bitspersample=12
        ),
    }
    data_set = image(frame, bits=12)
    made = encapsulated(data_set, [compress[codec]()], LOSSLESS[codec][0]).to(EXPLICIT).read()
    assert np.array_equal(pixels(made) & 0x0FFF, pattern)
    if codec != "JPEG-LS":  # its encoder here always says 16 bits
        assert np.array_equal(pixels(made), frame)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_ycbcr_of_jpeg_becomes_rgb(photometric: str) -> None:
    frame = gradient(16, 16, samples=3)
    coded = imagecodecs.jpeg8_encode(frame, level=100, colorspace="RGB", outcolorspace="YCBCR")
    made = encapsulated(image(frame, photometric=photometric), [coded], JPEG_BASELINE).to(EXPLICIT).read()
    assert made.PhotometricInterpretation == "RGB"
    assert np.abs(pixels(made).astype(int) - frame).max() < 12
    assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_rgb_of_jpeg_is_not_transformed() -> None:
    frame = gradient(16, 16, samples=3)
    coded = imagecodecs.jpeg8_encode(frame, level=100, colorspace="RGB", outcolorspace="RGB")
    made = encapsulated(image(frame), [coded], JPEG_BASELINE).to(EXPLICIT).read()
    assert np.abs(pixels(made).astype(int) - frame).max() < 12


def test_lossy_image_compression_that_is_there_stays() -> None:
    frame = gradient(16, 16)
    data_set = image(frame)
    data_set.LossyImageCompression, data_set.LossyImageCompressionMethod = "01", "ISO_14495_1"
    made = encapsulated(data_set, [imagecodecs.jpeg8_encode(frame)], JPEG_BASELINE).to(EXPLICIT).read()
    assert made.LossyImageCompressionMethod == "ISO_14495_1"


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT"])
def test_the_transforms_of_jpeg_2000_end_with_it(photometric: str) -> None:
    frame = gradient(16, 16, samples=3)
    coded = imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, mct=True)
    made = encapsulated(image(frame, photometric=photometric), [coded], JPEG_2000).to(EXPLICIT).read()
    assert made.PhotometricInterpretation == "RGB" and np.array_equal(pixels(made), frame)


def test_values_that_lossy_coding_pushes_over_the_edge_are_clipped() -> None:
    frame = np.where(np.random.default_rng(3).integers(0, 2, (64, 64)), 255, 0).astype("u1")
    coded = imagecodecs.htj2k_encode(frame, level=0.2)
    made = encapsulated(image(frame), [coded], "1.2.840.10008.1.2.4.203").to(EXPLICIT).read()
    assert np.abs(pixels(made).astype(int) - frame).max() < 200


@pytest.mark.parametrize("table", ["basic", "none", "extended"])
@pytest.mark.parametrize("codec", ["JPEG lossless", "JPEG-LS", "JPEG 2000"])
def test_frames_in_several_fragments_are_found(table: str, codec: str) -> None:
    syntax, compress = LOSSLESS[codec]
    frames = [gradient(seed=seed) for seed in range(3)]
    coded = [bytes(compress(frame)) for frame in frames]
    data_set = image(frames[0], frames=3)
    if table == "extended":
        value, offsets, lengths = encapsulate_extended([one + b"\0" * (len(one) % 2) for one in coded])
        data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
    else:
        value = encapsulate(coded, fragments_per_frame=2, has_bot=table == "basic")
    assert isinstance(value, bytes)
    head, tail = Dataset(), Dataset()
    for tag in tags(data_set):
        (head if tag < 0x7FE00000 else tail).add(data_set[tag])
    pixel_data = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + value + SEQUENCE_END
    made = Stored(encode(head) + encode(tail) + pixel_data, syntax).to(EXPLICIT).read()
    assert np.array_equal(pixels(made), np.stack(frames))
    assert "ExtendedOffsetTable" not in made and "ExtendedOffsetTableLengths" not in made


def test_frames_that_cannot_be_told_apart_are_refused() -> None:
    frame = gradient()
    value = item(b"") + item(b"\1\2") * 5
    with pytest.raises(CannotTranscode, match="cannot be told"):
        encapsulated(image(frame, frames=2), [], RLE, value=value).to(EXPLICIT)


def icon(syntax: str) -> Stored:
    """An encapsulated image with an encapsulated icon."""
    frame, small = gradient(), gradient(4, 4)
    inner = encapsulated(image(small), [LOSSLESS["JPEG-LS"][1](small)], syntax).data
    sequence = struct.pack("<HH2sHI", 0x0009, 0x1010, b"SQ", 0, len(item(inner))) + item(inner)
    outer = encapsulated(image(frame), [LOSSLESS["JPEG-LS"][1](frame)], syntax).data
    return Stored(sequence + outer, syntax)


def test_an_encapsulated_icon_is_decoded_too() -> None:
    made = icon(JPEG_LS).to(EXPLICIT).read()
    (small,) = made[0x00091010].value
    assert small.PixelData == gradient(4, 4).tobytes()
    assert "LossyImageCompression" not in small


def test_a_native_icon_beside_an_encapsulated_image_stays() -> None:
    frame = gradient()
    data_set = image(frame)
    small = image(gradient(4, 4))
    small.PixelData = gradient(4, 4).tobytes()
    small["PixelData"].VR = "OB"
    data_set.IconImageSequence = [small]
    made = encapsulated(data_set, [LOSSLESS["JPEG-LS"][1](frame)], JPEG_LS).to(BIG_ENDIAN).read()
    assert made.IconImageSequence[0].PixelData == gradient(4, 4).tobytes()


FULL_SIZE = Dataset()
FULL_SIZE.Rows = FULL_SIZE.Columns = 65535
LIES: dict[str, Callable[[Dataset], None]] = {
    "no rows": lambda lying: lying.__delattr__("Rows"),
    "more rows": lambda lying: setattr(lying, "Rows", 17),
    "most rows and columns": lambda lying: lying.update(FULL_SIZE),
    "more frames": lambda lying: setattr(lying, "NumberOfFrames", 2),
    "most frames": lambda lying: setattr(lying, "NumberOfFrames", 2147483647),
    "three samples": lambda lying: setattr(lying, "SamplesPerPixel", 3),
    "many samples": lambda lying: setattr(lying, "SamplesPerPixel", 65535),
    "12 bits allocated": lambda lying: setattr(lying, "BitsAllocated", 12),
    "16 bits allocated": lambda lying: setattr(lying, "BitsAllocated", 16),
    "64 bits allocated": lambda lying: setattr(lying, "BitsAllocated", 64),
}


@pytest.mark.parametrize(
    "codec", ["JPEG-LS", "JPEG 2000", "JPEG lossless", "JPEG XL", "deflated", "uncompressed"]
)
@pytest.mark.parametrize("lie", sorted(LIES))
def test_sizes_that_lie_are_refused(lie: str, codec: str) -> None:
    if lie in ("16 bits allocated", "64 bits allocated") and codec not in ("deflated", "uncompressed"):
        return  # fewer bits than allocated are allowed
    syntax, compress = LOSSLESS[codec]
    frame = gradient()
    data_set = image(frame)
    LIES[lie](data_set)
    with pytest.raises(CannotTranscode):
        encapsulated(data_set, [compress(frame)], syntax).to(EXPLICIT)


@pytest.mark.parametrize("codec", ["JPEG lossless", "JPEG-LS", "JPEG 2000"])
def test_a_codestream_that_claims_a_huge_image_never_reaches_its_decoder(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    syntax, compress = LOSSLESS[codec]
    frame = gradient()
    coded = bytearray(compress(frame))
    at = coded.find(
        struct.pack(
            ">II" if codec == "JPEG 2000" else ">HH", *((20, 16) if codec == "JPEG 2000" else (16, 20))
        )
    )
    assert at > 0
    coded[at : at + 4] = b"\x7f\xff\xff\xff" if codec == "JPEG 2000" else b"\xff\xff\xff\xff"
    for name in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(imagecodecs, name, lambda *_, **__: pytest.fail("a decoder was called"))
    with pytest.raises(CannotTranscode, match="instead of"):
        encapsulated(image(frame), [bytes(coded)], syntax).to(EXPLICIT)


def test_a_frame_that_inflates_too_far_is_not_inflated_further() -> None:
    frame = gradient()
    with pytest.raises(CannotTranscode, match="bytes instead of"):
        encapsulated(image(frame), [deflated(bytes(50_000_000))], DEFLATED_FRAME).to(EXPLICIT)


def test_a_run_length_bomb_is_refused() -> None:
    bomb = struct.pack("<16I", 1, 64, *([0] * 14)) + b"\x81\x00" * 100_000
    with pytest.raises(CannotTranscode, match="run-length"):
        encapsulated(image(gradient()), [bomb], RLE).to(EXPLICIT)


def test_native_pixels_in_an_encapsulating_syntax_are_taken_only_if_they_are_complete() -> None:
    frame = gradient()
    data_set = image(frame)
    for value, good in ((frame.tobytes(), True), (frame.tobytes()[:-2], False)):
        data_set.PixelData = value
        data_set["PixelData"].VR = "OB"
        source = Stored(encode(data_set), JPEG_LS)
        if good:
            assert source.to(EXPLICIT).data == source.data
        else:
            with pytest.raises(CannotTranscode):
                source.to(EXPLICIT)


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damaged_files_are_refused(name: str) -> None:
    for path in (path for path in FILES if path.name == name):
        with pytest.raises(CannotTranscode):
            stored(path).to(EXPLICIT)


@given(st.sampled_from(["deflated", "run-length"]), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_frames_are_refused_or_decoded_but_nothing_else(codec: str, draw: st.DataObject) -> None:
    """Our own code only; the libraries' are damaged where they belong, in processes."""
    frame = gradient()
    if codec == "deflated":
        syntax, coded = DEFLATED_FRAME, bytearray(deflated(frame.tobytes()))
    else:
        segment = imagecodecs.packbits_encode(frame.tobytes())
        syntax, coded = RLE, bytearray(struct.pack("<16I", 1, 64, *([0] * 14)) + segment)
    for _ in range(draw.draw(st.integers(1, 6))):
        coded[draw.draw(st.integers(0, len(coded) - 1))] = draw.draw(st.integers(0, 255))
    del coded[draw.draw(st.integers(1, len(coded))) :]
    try:
        made = encapsulated(image(frame), [bytes(coded)], syntax).to(EXPLICIT)
    except CannotTranscode:
        return
    assert len(made.read().PixelData) == frame.nbytes


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_encapsulated_value(value: bytes) -> None:
    for syntax in (RLE, JPEG_BASELINE, JPEG_2000):
        try:
            encapsulated(image(gradient(), frames=2), [], syntax, value=value).to(EXPLICIT)
        except CannotTranscode:
            continue


def test_tables_name_real_syntaxes() -> None:
    assert all(UID(syntax).is_valid for syntax in CODECS)
