"""Decodes one frame. What a frame says of itself is held against the data set before a decoder sees it."""

from __future__ import annotations

import zlib
from typing import Any, Final

import imagecodecs
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pacs_actors.archive.transcoding.codestream import Codestream, read_jpeg, read_jpeg_2000
from pacs_actors.archive.transcoding.image import Image
from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.syntaxes import Codec

Pixels = NDArray[Any]

_LOSSLESS: Final = 3
_LONGEST_RUN: Final = 128
_RAW_DEFLATE: Final = -15
_YBR: Final = ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")


class Decoder(Struct, frozen=True):
    """Decodes the frames of one image, all in the same way.

    photometric: Photometric Interpretation of what comes out
    transform:   JPEG: YCbCr is turned into RGB
    """

    codec: Codec
    image: Image
    photometric: str
    transform: bool

    def decode(self, frame: bytes | memoryview) -> Pixels:
        """One frame as cells of Bits Allocated, pixel by pixel; for one bit allocated: bytes of 0 and 1.

        returns: (rows * columns * samples,) unsigned, Little Endian
        raises:  CannotTranscode, MemoryError
        """
        if self.codec in (Codec.NATIVE, Codec.DEFLATED, Codec.RLE):
            return self._cells_from_bytes(frame)
        try:
            return self._cells_from_samples(frame)
        except (CannotTranscode, MemoryError):
            raise
        except Exception as failure:
            # The decoders' errors have no common base, and their texts may quote what they read.
            raise CannotTranscode(f"a frame cannot be decoded ({type(failure).__name__})") from failure

    def _cells_from_bytes(self, frame: bytes | memoryview) -> Pixels:
        image = self.image
        frame_bytes = (image.frame_bits + 7) // 8
        data: bytes | memoryview
        match self.codec:
            case Codec.RLE:
                data = _run_lengths(frame, image, frame_bytes)
            case Codec.DEFLATED:
                data = _inflated(frame, frame_bytes)
            case _:
                data = frame
        if not 0 <= len(data) - frame_bytes <= 1:
            raise CannotTranscode(f"a frame has {len(data)} bytes instead of {frame_bytes}")
        octets = np.frombuffer(data, np.uint8, frame_bytes)
        if image.bits_allocated == 1:
            return np.unpackbits(octets, count=image.frame_bits, bitorder="little")
        cells = octets.view(f"<u{image.bits_allocated // 8}")
        # RLE keeps the bytes of a sample apart, and with them the planes (PS3.5 G.2).
        if image.samples > 1 and (image.by_plane or self.codec is Codec.RLE):
            cells = cells.reshape(image.samples, -1).T.reshape(-1)
        return cells

    def _cells_from_samples(self, frame: bytes | memoryview) -> Pixels:
        image = self.image
        data = bytes(frame)
        match self.codec:
            case Codec.JPEG:
                stream = _agreeing(read_jpeg(data), image)
                if image.samples > 1 and stream.process != _LOSSLESS:
                    space = "YCBCR" if self.transform else "RGB"
                    samples = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB")
                else:
                    samples = imagecodecs.jpeg8_decode(data)
            case Codec.JPEG_LS:
                stream = _agreeing(read_jpeg(data), image)
                samples = imagecodecs.jpegls_decode(data)
            case Codec.JPEG_2000 | Codec.HTJ2K:
                stream = _agreeing(read_jpeg_2000(data), image)
                # OpenJPEG knows both. OpenJPH, as imagecodecs has it, lets values that lossy coding pushed over the
                # edge wrap around: white becomes black.
                samples = imagecodecs.jpeg2k_decode(data, planar=False, numthreads=1)
            case _:
                samples = imagecodecs.jpegxl_decode(data, numthreads=1, keeporientation=True)
                stream = Codestream(0, 0, 0, min(image.bits_stored, samples.dtype.itemsize * 8))
        return _cells(samples, stream, image)


def decoder_for(codec: Codec, image: Image, first_frame: bytes | memoryview) -> Decoder:
    """Decide how the frames of an image are decoded, and what colour comes out.

    The data set's Photometric Interpretation counts (PS3.5 8.2.1), not what JPEG's application segments guess, unless it
    says RGB of a frame that cannot be.

    raises: CannotTranscode
    """
    photometric, transform = image.photometric, False
    if image.samples == 1:
        return Decoder(codec, image, photometric, transform)
    if codec is Codec.JPEG:
        stream = read_jpeg(first_frame)
        if stream.process != _LOSSLESS:
            transform = photometric in _YBR or stream.colour_transform == 1 or stream.subsampled
            photometric = "RGB"
    elif codec is Codec.JPEG_XL or (
        codec in (Codec.JPEG_2000, Codec.HTJ2K) and photometric in ("YBR_ICT", "YBR_RCT")
    ):
        photometric = "RGB"
    if codec in (Codec.JPEG, Codec.JPEG_LS, Codec.JPEG_2000, Codec.HTJ2K):
        # What comes out has as much chroma as luma.
        photometric = "YBR_FULL" if photometric == "YBR_FULL_422" else photometric
    if photometric.endswith(("_422", "_420")):
        raise CannotTranscode(f"{photometric} in this transfer syntax")
    return Decoder(codec, image, photometric, transform)


def _agreeing(stream: Codestream, image: Image) -> Codestream:
    if (stream.rows, stream.columns, stream.components) != (image.rows, image.columns, image.samples):
        raise CannotTranscode(
            f"a frame is {stream.rows} x {stream.columns} x {stream.components} instead of "
            f"{image.rows} x {image.columns} x {image.samples}"
        )
    if not 0 < stream.precision <= max(image.bits_allocated, 8 if image.bits_allocated == 1 else 0):
        raise CannotTranscode(f"samples of {stream.precision} bits in {image.bits_allocated}")
    return stream


def _cells(samples: Pixels, stream: Codestream, image: Image) -> Pixels:
    """Samples as a decoder gives them, as cells of Bits Allocated."""
    shape = (image.rows, image.columns) if image.samples == 1 else (image.rows, image.columns, image.samples)
    if samples.shape not in {shape, (*shape, 1)}:
        raise CannotTranscode(f"a frame came out as {samples.shape} instead of {shape}")
    if samples.dtype.kind not in "iu" or samples.dtype.itemsize * 8 > max(image.bits_allocated, 8):
        raise CannotTranscode(f"a frame came out as {samples.dtype} for {image.bits_allocated} bits")
    flat = np.ascontiguousarray(samples).reshape(-1)
    if image.bits_allocated == 1:
        ones: Pixels = (flat != 0).astype(np.uint8)
        return ones
    signed = np.dtype(f"<i{image.bits_allocated // 8}")
    cells = flat.astype(signed)
    if stream.precision < image.bits_allocated:
        if image.signed and not stream.signed:
            # Two's complement in fewer bits than the cell has: spread the sign over the rest.
            spare = image.bits_allocated - stream.precision
            cells = (cells << spare) >> spare
        elif stream.signed and not image.signed:
            cells &= signed.type((1 << stream.precision) - 1)
    unsigned: Pixels = cells.view(f"<u{image.bits_allocated // 8}")
    return unsigned


def _run_lengths(frame: bytes | memoryview, image: Image, frame_bytes: int) -> memoryview:
    """Undo run-length encoding; no more than ``frame_bytes`` are written, whatever the segments say."""
    out = np.zeros(frame_bytes, np.uint8)
    segments = 1 if image.bits_allocated == 1 else image.samples * image.bits_allocated // 8
    offsets = [int.from_bytes(frame[at : at + 4], "little") for at in range(0, 4 * segments + 4, 4)]
    if offsets[0] != segments or len(frame) < 64:
        raise CannotTranscode(f"a run-length encoded frame has {offsets[0]} segments instead of {segments}")
    ends = [*offsets[2:], len(frame)]
    size = frame_bytes // segments
    octets = image.bits_allocated // 8 or 1
    for number, (start, end) in enumerate(zip(offsets[1:], ends, strict=True)):
        if not 64 <= start <= end <= len(frame):
            raise CannotTranscode("the segments of a run-length encoded frame are not in order")
        plane = _unpacked(bytes(frame[start:end]), size)
        # The segments of a sample begin with the most significant byte; the cells with the least.
        sample, octet = divmod(number, octets)
        out[sample * size * octets : (sample + 1) * size * octets][octets - 1 - octet :: octets] = plane
    return out.data


def _unpacked(segment: bytes, size: int) -> NDArray[np.uint8]:
    """PackBits. Encoders end a segment with a zero, or with a run that goes on behind the last pixel."""
    out = bytearray(size + _LONGEST_RUN)
    try:
        made = imagecodecs.packbits_decode(segment, out=out)
    except Exception as failure:
        raise CannotTranscode("a run-length encoded segment is damaged") from failure
    if len(made) < size:
        raise CannotTranscode(f"a run-length encoded segment has {len(made)} bytes instead of {size}")
    return np.frombuffer(out, np.uint8, size)


def _inflated(frame: bytes | memoryview, frame_bytes: int) -> bytes:
    stream = zlib.decompressobj(_RAW_DEFLATE)
    try:
        data = stream.decompress(frame, frame_bytes + 2)
    except zlib.error:
        raise CannotTranscode("a deflated frame is damaged") from None
    if not stream.eof and len(data) < frame_bytes:
        raise CannotTranscode("a deflated frame ends too early")
    return data
