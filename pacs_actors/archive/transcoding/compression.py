"""Pixel Data made encapsulated, without loss: which attributes change, and the frames coded one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import imagecodecs
import numpy as np

from pacs_actors.archive.transcoding.codecs import Pixels
from pacs_actors.archive.transcoding.image import (
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    Image,
)
from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.pixels import OF_ENCAPSULATION, Change
from pacs_actors.archive.transcoding.sink import Sink
from pacs_actors.archive.transcoding.syntaxes import Codec
from pacs_actors.archive.transcoding.vr import PIXEL_DATA
from protocols.dataset.transfer_syntax import (
    ITEM,
    SEQUENCE_DELIMITATION_ITEM,
    UNDEFINED_LENGTH,
    Encoding,
)
from protocols.dataset.writing import element_header

_COLOUR_TRANSFORM: Final = (Codec.JPEG_2000, Codec.HTJ2K)
_MOST_SEGMENTS: Final = 15
_RLE_HEADER_BYTES: Final = 64
# An encoder writes more than it reads only where there is nothing to find, and then a little.
_SPARE_BYTES: Final = 65536

Cells = Callable[[int], Pixels]


class Compression:
    """What coding the frames of one data set anew takes.

    changes, replaced: as ``Decompression`` has them
    """

    def __init__(
        self, image: Image, cells: Cells, codec: Codec, *, photometric: str, changes: Mapping[int, Change]
    ) -> None:
        """cells:       gives a frame, from 0 on: unsigned, of Bits Allocated, pixel by pixel
        photometric: of these cells; changes: what decoding them has changed already
        raises:      CannotTranscode for what the codec does not hold
        """
        allocated = (8, 16, 32) if codec is Codec.RLE else (8, 16)
        if image.bits_allocated not in allocated:
            raise CannotTranscode(f"{image.bits_allocated} bits allocated in this transfer syntax")
        if photometric.endswith(("_422", "_420")):
            raise CannotTranscode(f"{photometric} in this transfer syntax")
        self._image, self._cells, self._codec = image, cells, codec
        self.changes = dict(changes)
        # The reversible transform finds what the three colours have in common (ISO/IEC 15444-1 annex G).
        self._transform = codec in _COLOUR_TRANSFORM and photometric == "RGB"
        final = "YBR_RCT" if self._transform else photometric
        self.changes.pop(PHOTOMETRIC_INTERPRETATION, None)
        if final != image.photometric:
            self.changes[PHOTOMETRIC_INTERPRETATION] = Change("CS", final)
        if image.samples > 1:
            self.changes[PLANAR_CONFIGURATION] = Change("US", int(codec is Codec.RLE))
        self.replaced = frozenset({*self.changes, *OF_ENCAPSULATION})

    def write(self, sink: Sink, encoding: Encoding) -> None:
        """Pixel Data with a fragment a frame and an empty Basic Offset Table (PS3.5 A.4). raises: CannotTranscode"""
        sink.write(element_header(PIXEL_DATA, "OB", UNDEFINED_LENGTH, encoding))
        sink.write(element_header(ITEM, "", 0, encoding))
        for number in range(self._image.frames):
            coded = self._coded(self._cells(number))
            sink.write(element_header(ITEM, "", len(coded) + len(coded) % 2, encoding))
            sink.write(coded)
            if len(coded) % 2:
                sink.write(b"\0")
        sink.write(element_header(SEQUENCE_DELIMITATION_ITEM, "", 0, encoding))

    def _coded(self, cells: Pixels) -> bytes:
        image = self._image
        if self._codec is Codec.RLE:
            return run_lengths(cells, image)
        shape = (
            (image.rows, image.columns) if image.samples == 1 else (image.rows, image.columns, image.samples)
        )
        samples = np.ascontiguousarray(cells).reshape(shape)
        try:
            match self._codec:
                case Codec.JPEG_LS:
                    return bytes(imagecodecs.jpegls_encode(samples, out=2 * samples.nbytes + _SPARE_BYTES))
                case Codec.JPEG_2000:
                    return bytes(
                        imagecodecs.jpeg2k_encode(
                            _signed(samples, image), level=0, codecformat="j2k", reversible=True,
                            mct=self._transform, numthreads=1,
                        )
                    )  # fmt: skip
                case _:
                    return bytes(
                        imagecodecs.htj2k_encode(
                            _signed(samples, image), reversible=True, rgb=self._transform
                        )
                    )
        except MemoryError:
            raise
        except Exception as failure:
            # The encoders' errors have no common base.
            raise CannotTranscode(f"a frame cannot be coded ({type(failure).__name__})") from failure


def _signed(samples: Pixels, image: Image) -> Pixels:
    """JPEG 2000 knows of signs."""
    return samples.view(f"<i{samples.dtype.itemsize}") if image.signed else samples


def run_lengths(cells: Pixels, image: Image) -> bytes:
    """One frame (PS3.5 annex G): a segment for each byte of each sample, the most significant first; rows apart.

    raises: CannotTranscode if that makes too many segments
    """
    octets = image.bits_allocated // 8
    if image.samples * octets > _MOST_SEGMENTS:
        raise CannotTranscode(f"more than {_MOST_SEGMENTS} segments of run-length encoding")
    by_pixel = (
        np.ascontiguousarray(cells).view(np.uint8).reshape(image.rows, image.columns, image.samples, octets)
    )
    segments = []
    for sample in range(image.samples):
        for octet in reversed(range(octets)):
            plane = np.ascontiguousarray(by_pixel[:, :, sample, octet])
            packed = b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in plane)
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets, at = [len(segments)], _RLE_HEADER_BYTES
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = np.zeros(_MOST_SEGMENTS + 1, "<u4")
    header[: len(offsets)] = offsets
    return b"".join((header.tobytes(), *segments))


def native_cells(
    data: memoryview, start: int, stop: int, image: Image, *, swapped: bool, words: bool
) -> Cells:
    """Frames of native Pixel Data between two offsets, as ``Compression`` wants them.

    swapped: the data are Big Endian; words: and are OW, so that octets are swapped, too
    raises:  CannotTranscode if there are fewer than promised
    """
    size = image.bits_allocated // 8
    samples = image.frame_samples
    if stop - start < image.frames * samples * size:
        raise CannotTranscode("there are fewer pixels than Rows, Columns and Number of Frames say")
    if swapped and (size > 2 or (words and size == 1)):
        # Writers disagree on what is swapped then.
        raise CannotTranscode(f"{image.bits_allocated} bits allocated in swapped words")

    def frame(number: int) -> Pixels:
        order = ">" if swapped else "<"
        found = np.frombuffer(data, f"{order}u{size}", samples, start + number * samples * size)
        cells = found.astype(f"<u{size}", copy=False)
        return (
            cells.reshape(image.samples, -1).T.reshape(-1) if image.samples > 1 and image.by_plane else cells
        )

    return frame
