"""Encapsulated Pixel Data made native: which attributes change, and the frames written one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from msgspec import Struct

from pacs_actors.archive.transcoding.codecs import Decoder, Pixels, decoder_for
from pacs_actors.archive.transcoding.frames import Frames
from pacs_actors.archive.transcoding.image import (
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    Image,
)
from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.sink import Sink
from pacs_actors.archive.transcoding.syntaxes import CODECS, LOSSY_METHODS
from pacs_actors.archive.transcoding.vr import PIXEL_DATA
from protocols.dataset.transfer_syntax import Encoding
from protocols.dataset.writing import element_header

EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
OF_ENCAPSULATION: Final = (EXTENDED_OFFSET_TABLE, 0x7FE00002, 0x7FE00003)
_LOSSY_IMAGE_COMPRESSION: Final = 0x00282110
_LOSSY_IMAGE_COMPRESSION_METHOD: Final = 0x00282114


class Change(Struct, frozen=True):
    """A value that the data set gets: text, or a number for US."""

    vr: str
    value: str | int


class Decompression:
    """What making one data set's Pixel Data native takes.

    changes:  tag -> new value of the attributes that do not stay as they are
    replaced: tags of elements that are not taken over
    """

    def __init__(
        self, image: Image, frames: Frames, source: str, text: Callable[[int], str], *, icon: bool
    ) -> None:
        """text: looks a value of the data set up; raises CannotTranscode"""
        self.image, self.frames = image, frames
        self.decoder: Decoder = decoder_for(CODECS[source], image, frames[0])
        self.changes: dict[int, Change] = {}
        if self.decoder.photometric != image.photometric:
            self.changes[PHOTOMETRIC_INTERPRETATION] = Change("CS", self.decoder.photometric)
        if image.samples > 1:
            self.changes[PLANAR_CONFIGURATION] = Change("US", 0)
        method = LOSSY_METHODS.get(source)
        if method is not None and not icon and not text(_LOSSY_IMAGE_COMPRESSION):
            # The transfer syntax was the only sign that something may be lost (PS3.3 C.7.6.1.1.5).
            self.changes[_LOSSY_IMAGE_COMPRESSION] = Change("CS", "01")
            if not text(_LOSSY_IMAGE_COMPRESSION_METHOD):
                self.changes[_LOSSY_IMAGE_COMPRESSION_METHOD] = Change("CS", method)
        self.replaced = frozenset({*self.changes, *OF_ENCAPSULATION})

    def write(self, sink: Sink, encoding: Encoding) -> None:
        """Pixel Data as one native element, frame by frame; raises CannotTranscode."""
        image = self.image
        size = image.native_bytes
        if size > sink.max_bytes:
            raise CannotTranscode(f"it would be larger than {sink.max_bytes} bytes")
        words = image.bits_allocated > 8
        sink.write(element_header(PIXEL_DATA, "OW" if words else "OB", size + size % 2, encoding))
        bits = _Bits(sink)
        for number in range(image.frames):
            cells = self.decoder.decode(self.frames[number])
            if image.bits_allocated == 1:
                bits.write(cells)
            elif words and encoding.big_endian:
                sink.write_swapped(cells.tobytes(), 2)
            else:
                sink.write(np.ascontiguousarray(cells).view(np.uint8).data)
        bits.finish()
        if size % 2:
            sink.write(b"\0")


class _Bits:
    """Packs cells of one bit; the frames follow each other within a byte (PS3.5 8.1.1)."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._rest = sink, np.zeros(0, np.uint8)

    def write(self, cells: Pixels) -> None:
        together = np.concatenate((self._rest, cells))
        whole = len(together) // 8 * 8
        self._sink.write(np.packbits(together[:whole], bitorder="little").tobytes())
        self._rest = together[whole:]

    def finish(self) -> None:
        self._sink.write(np.packbits(self._rest, bitorder="little").tobytes())
