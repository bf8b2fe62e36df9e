"""The frames of a data set as arrays of stored values, from whatever encoding they have (PS3.5 8, annex A)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pacs_actors.archive.transcoding.codecs import Decoder, decoder_for
from pacs_actors.archive.transcoding.frames import Frames, extended_offsets
from pacs_actors.archive.transcoding.image import read_image
from pacs_actors.archive.transcoding.syntaxes import CODECS, Codec
from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.colour import spread_422
from pacs_actors.rendering.messages import CannotRender, Why

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_PIXEL_DATA: Final = 0x7FE00009
_EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
_HIGH_BIT: Final = 0x00280102
_HALF_CHROMA: Final = ("YBR_FULL_422", "YBR_PARTIAL_422")


class PixelSource:
    """image: what the attributes promise, checked

    photometric: Photometric Interpretation of what ``frame`` gives
    """

    def __init__(self, data_set: DataSet, syntax: str) -> None:
        """raises: CannotRender, CannotTranscode, NeedMore, CannotUnderstand"""
        self._data_set = data_set
        self._tag = next(
            (tag for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA) if tag in data_set), 0
        )
        element = data_set.element(self._tag)
        if element is None or element.stop <= element.start:
            raise CannotRender("this object has no pixels", Why.NO_PIXELS)
        self.image = read_image(data_set.integer, data_set.text, whole=False)
        self.photometric = self.image.photometric
        self._start, self._stop, self._vr = element.start, element.stop, element.vr
        high = data_set.integer(_HIGH_BIT)
        self._high_bit = self.image.bits_stored - 1 if high is None else high
        self._decoder: Decoder | None = None
        if element.end != element.stop:
            if syntax not in CODECS:
                raise CannotRender("nothing here decodes this transfer syntax")
            self._encapsulated(syntax)
        elif self._halved_chroma and self.image.columns % 2:
            raise CannotRender("chroma for every second column of an odd number")

    @property
    def floating(self) -> bool:
        """The values are no whole numbers (PS3.3 C.7.6.24, C.7.6.25)."""
        return self._tag != PIXEL_DATA

    @property
    def _halved_chroma(self) -> bool:
        return self._decoder is None and self.image.samples == 3 and self.image.photometric in _HALF_CHROMA

    def _encapsulated(self, syntax: str) -> None:
        table = self._data_set.raw(_EXTENDED_OFFSET_TABLE)
        self._frames = Frames(
            self._data_set.data, self._start, self._stop, frames=self.image.frames, codec=CODECS[syntax],
            extended_offsets=extended_offsets(table) if table else (),
        )  # fmt: skip
        self._decoder = decoder_for(CODECS[syntax], self.image, self._frames[0])
        self.photometric = self._decoder.photometric

    def frame(self, number: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """One frame, from 0 on.

        returns: stored values, (rows, columns) or (rows, columns, 3), signed where they are, floats where they are;
                 and the cells they lie in, where these may hold more: (rows, columns), unsigned
        """
        image = self.image
        if self._tag != PIXEL_DATA:
            return self._floats(number), None
        if self._halved_chroma:
            raw = self._slice(number * image.rows * image.columns * 16, image.rows * image.columns * 16)
            return spread_422(raw, image.rows, image.columns), None
        cells = self._cells(number)
        shape = (
            (image.rows, image.columns) if image.samples == 1 else (image.rows, image.columns, image.samples)
        )
        cells = cells.reshape(shape)
        in_place = self._decoder is None or self._decoder.codec in (Codec.RLE, Codec.NATIVE, Codec.DEFLATED)
        values = stored_values(
            cells,
            bits_stored=image.bits_stored,
            high_bit=self._high_bit if in_place else image.bits_stored - 1,
            signed=image.signed,
            cut=in_place,
        )
        spare = in_place and image.samples == 1 and image.bits_stored < image.bits_allocated
        return values, cells if spare else None

    def _cells(self, number: int) -> NDArray[Any]:
        """Unsigned cells of Bits Allocated, pixel by pixel; bits as bytes of 0 and 1."""
        image = self.image
        if self._decoder is not None:
            return self._decoder.decode(self._frames[number])
        octets = self._slice(number * image.frame_bits, image.frame_bits)
        if image.bits_allocated == 1:
            skipped = number * image.frame_bits % 8
            return np.unpackbits(octets, bitorder="little")[skipped : skipped + image.frame_bits]
        cells = octets.view(f"<u{image.bits_allocated // 8}")
        if image.samples > 1 and image.by_plane:
            return cells.reshape(image.samples, -1).T
        return cells

    def _slice(self, first_bit: int, bits: int) -> NDArray[np.uint8]:
        """Bytes of native pixels, Little Endian, from the one that holds the first bit on."""
        start = self._start + first_bit // 8
        stop = self._start + (first_bit + bits + 7) // 8
        if stop > self._stop:
            raise CannotRender("there are fewer pixels than Rows, Columns and Number of Frames say")
        data = self._data_set.data
        if not self._data_set.encoding.big_endian or (self._vr == "OB" and self.image.bits_allocated <= 8):
            return np.frombuffer(data, np.uint8, stop - start, start)
        # OW is swapped in words, whatever they hold (PS3.5 7.3); larger cells as a whole.
        size = max(2, self.image.bits_allocated // 8)
        first = start - (start - self._start) % size
        last = min(stop + (first - stop) % size, self._stop)
        whole = np.frombuffer(data, np.uint8, (last - first) // size * size, first)
        swapped = whole.view(f">u{size}").astype(f"<u{size}").view(np.uint8)
        return swapped[start - first : stop - first]

    def _floats(self, number: int) -> NDArray[Any]:
        size = 4 if self._tag == FLOAT_PIXEL_DATA else 8
        image = self.image
        count = image.rows * image.columns
        start = self._start + number * count * size
        if image.samples != 1 or start + count * size > self._stop:
            raise CannotRender("there are fewer pixels than Rows, Columns and Number of Frames say")
        order = ">" if self._data_set.encoding.big_endian else "<"
        values = np.frombuffer(self._data_set.data, f"{order}f{size}", count, start)
        return values.astype(np.float64).reshape(image.rows, image.columns)


def stored_values(
    cells: NDArray[Any], *, bits_stored: int, high_bit: int, signed: bool, cut: bool = True
) -> NDArray[Any]:
    """The Bits Stored up to High Bit of each cell, with their sign (PS3.5 8.1.1).

    cells: unsigned; cut: bits outside of the stored ones are something else
    """
    allocated = cells.dtype.itemsize * 8
    shift = high_bit + 1 - bits_stored
    if not 0 <= shift <= allocated - bits_stored:
        shift = 0
    if not cut or bits_stored == allocated:
        return cells.view(f"i{allocated // 8}") if signed else cells
    if signed:
        spare = allocated - bits_stored
        numbers = (cells << (spare - shift)).view(f"i{allocated // 8}")
        extended: NDArray[Any] = numbers >> spare
        return extended
    unsigned: NDArray[Any] = (cells >> shift if shift else cells) & cells.dtype.type((1 << bits_stored) - 1)
    return unsigned
