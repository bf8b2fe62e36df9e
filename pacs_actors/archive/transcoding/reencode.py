"""Writes a data set in another transfer syntax, element by element, the bytes of each value as they are.

No value is decoded into text or numbers and back: character sets, trailing spaces and odd numbers stay as they came. What
changes are headers, byte order, delimiters, padding to even length, and encapsulated Pixel Data. Sequences that have to be
written anew become those of undefined length, so that nothing is held in memory. Group lengths are left out (PS3.5 7.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from pacs_actors.archive.transcoding.compression import Compression, native_cells
from pacs_actors.archive.transcoding.frames import Frames, extended_offsets
from pacs_actors.archive.transcoding.image import (
    BITS_ALLOCATED,
    PIXEL_REPRESENTATION,
    read_image,
)
from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.pixels import EXTENDED_OFFSET_TABLE, Decompression
from pacs_actors.archive.transcoding.sink import Sink
from pacs_actors.archive.transcoding.syntaxes import CODECS, Codec
from pacs_actors.archive.transcoding.vr import PIXEL_DATA, UNITS, Facts, resolve
from protocols.dataset.elements import MAX_NESTING, Element, NeedMore, elements, items
from protocols.dataset.text import TEXT_VRS
from protocols.dataset.transfer_syntax import (
    IMPLICIT_LE,
    ITEM,
    ITEM_DELIMITATION_ITEM,
    LONG_VRS,
    SEQUENCE_DELIMITATION_ITEM,
    UNDEFINED_LENGTH,
    VRS,
    Encoding,
)
from protocols.dataset.writing import element_header, text_element

MAX_ELEMENTS: Final = 1_000_000
_MAX_SHORT: Final = 0xFFFE
_HEADER_BYTES: Final = 8
_WAVEFORM_BITS_ALLOCATED: Final = 0x54001004
_LUT_DESCRIPTOR: Final = 0x00283002
_GRAY_LUT_DESCRIPTOR: Final = 0x00281100
_PIXEL_DATA_TAG: Final = b"\xe0\x7f\x10\x00"


class _Layout(Struct, frozen=True):
    """How elements are encoded and will be.

    encoding: their byte order; implicit: apart from it, since what UN holds differs from what is around it
    target:   how they are written
    """

    encoding: Encoding
    implicit: bool
    target: Encoding

    @property
    def swapped(self) -> bool:
        return self.encoding.big_endian is not self.target.big_endian

    @property
    def same(self) -> bool:
        return self.implicit is self.target.implicit and not self.swapped


class _DataSet:
    """The elements of one data set or item, in order, and what it says of itself."""

    def __init__(self, data: memoryview, start: int, stop: int, layout: _Layout, outer: Facts | None) -> None:
        self._data, self._layout = data, layout
        self.elements: list[Element] = []
        try:
            for element in elements(data, start, stop, layout.encoding, implicit=layout.implicit):
                self.elements.append(element)
                if len(self.elements) > MAX_ELEMENTS:
                    raise CannotTranscode(f"more than {MAX_ELEMENTS} elements")
        except NeedMore:
            end = self.elements[-1].end if self.elements else start
            # Some writers pad the whole to an even length, as PS3.5 A.5 has it for what is deflated.
            if stop - end >= _HEADER_BYTES or any(data[end:stop]):
                raise
        self.by_tag = {element.tag: element for element in self.elements}
        own = self.number(PIXEL_REPRESENTATION)
        lut = self.number(_LUT_DESCRIPTOR)
        self.facts = Facts(
            pixel_representation=own if own is not None or outer is None else outer.pixel_representation,
            bits_allocated=self.number(BITS_ALLOCATED) or 0,
            waveform_bits_allocated=self.number(_WAVEFORM_BITS_ALLOCATED) or 0,
            lut_entries=self.number(_GRAY_LUT_DESCRIPTOR) if lut is None else lut,
            creators=self._creators(),
        )

    def number(self, tag: int) -> int | None:
        """The first value of a US."""
        element = self.by_tag.get(tag)
        if element is None or element.stop - element.start < 2:
            return None
        return int(self._layout.encoding.u16.unpack_from(self._data, element.start)[0])

    def text(self, tag: int) -> str:
        """A short value in the default character repertoire, "" if there is none."""
        element = self.by_tag.get(tag)
        if element is None:
            return ""
        return (
            bytes(self._data[element.start : min(element.stop, element.start + 64)])
            .decode("latin-1")
            .strip(" \0")
        )

    def _creators(self) -> Mapping[tuple[int, int], str]:
        return {
            (tag >> 16, tag & 0xFF): self.text(tag)
            for tag in self.by_tag
            if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
        }


class Reencoder:
    """Writes one data set into a sink.

    source: its transfer syntax UID; codec: its images are coded so; None: they are written uncompressed
    """

    def __init__(self, data: memoryview, source: str, sink: Sink, *, codec: Codec | None = None) -> None:
        self._data, self._source, self._sink, self._codec = data, source, sink, codec
        self._encapsulated = source in CODECS

    def write(self, encoding: Encoding, target: Encoding) -> None:
        """Write all of it.

        encoding: of the data; target: of what is written
        raises:   CannotTranscode, NeedMore, CannotUnderstand
        """
        self._data_set(0, len(self._data), _Layout(encoding, encoding.implicit, target), outer=None, depth=0)

    def _data_set(self, start: int, stop: int, layout: _Layout, *, outer: Facts | None, depth: int) -> None:
        if depth > MAX_NESTING:
            raise CannotTranscode(f"sequences nest deeper than {MAX_NESTING}")
        found = _DataSet(self._data, start, stop, layout, outer)
        decompression = self._decompression(found, icon=depth > 0)
        pixels: Decompression | Compression | None = decompression
        if self._codec is not None and depth == 0:
            pixels = self._compression(found, self._codec, decompression, layout)
        changes = dict(sorted(pixels.changes.items())) if pixels else {}
        at = start
        for element in found.elements:
            header, at = at, element.end
            while changes and (tag := next(iter(changes))) <= element.tag:
                change = changes.pop(tag)
                self._sink.write(text_element(tag, change.vr, str(change.value), layout.target))
            if element.tag & 0xFFFF == 0:
                continue
            if pixels is None:
                self._element(element, header, layout, found.facts, depth)
            elif element.tag == PIXEL_DATA:
                pixels.write(self._sink, layout.target)
            elif element.tag not in pixels.replaced:
                self._element(element, header, layout, found.facts, depth)

    def _decompression(self, found: _DataSet, *, icon: bool) -> Decompression | None:
        """How the data set's Pixel Data become native; None if they are, or there are none."""
        pixels = found.by_tag.get(PIXEL_DATA)
        if pixels is None or not self._encapsulated:
            return None
        image = read_image(found.number, found.text)
        if pixels.end == pixels.stop:
            # An icon may be native beside an encapsulated image (PS3.5 A.4); an image of the right size is one, too.
            size = image.native_bytes
            if icon or pixels.stop - pixels.start == size + size % 2:
                return None
            raise CannotTranscode("the Pixel Data are native in a transfer syntax that encapsulates them")
        table = found.by_tag.get(EXTENDED_OFFSET_TABLE)
        frames = Frames(
            self._data,
            pixels.start,
            pixels.stop,
            frames=image.frames,
            codec=CODECS[self._source],
            extended_offsets=extended_offsets(self._data[table.start : table.stop]) if table else (),
        )
        return Decompression(image, frames, self._source, found.text, icon=icon)

    def _compression(
        self, found: _DataSet, codec: Codec, decompression: Decompression | None, layout: _Layout
    ) -> Compression:
        """How the data set's Pixel Data are coded anew, whatever they are now."""
        pixels = found.by_tag.get(PIXEL_DATA)
        if pixels is None or pixels.stop <= pixels.start:
            raise CannotTranscode("there are no pixels to compress")
        if decompression is not None:
            decoder, frames = decompression.decoder, decompression.frames
            return Compression(
                decompression.image,
                lambda number: decoder.decode(frames[number]),
                codec,
                photometric=decoder.photometric,
                changes=decompression.changes,
            )
        image = read_image(found.number, found.text, whole=False)
        swapped, words = layout.encoding.big_endian, pixels.vr == "OW"
        cells = native_cells(self._data, pixels.start, pixels.stop, image, swapped=swapped, words=words)
        return Compression(image, cells, codec, photometric=image.photometric, changes={})

    def _element(self, element: Element, header: int, layout: _Layout, facts: Facts, depth: int) -> None:
        written = "" if layout.implicit else self._written_vr(header)
        vr = written or resolve(element.tag, facts)
        undefined = element.end != element.stop
        if undefined and element.vr != "SQ":
            raise CannotTranscode(
                f"a value of ({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) is in fragments"
            )
        if vr == "SQ" and not written and not undefined and not self._has_items(element, layout):
            vr = "UN"  # what the writer had here, no dictionary knows
        if undefined and written == "UN" and element.implicit and not layout.target.implicit:
            # It stays UN, and UN holds Implicit VR Little Endian (PS3.5 6.2.2).
            self._sink.write(element_header(element.tag, "UN", UNDEFINED_LENGTH, layout.target))
            self._items(element, _Layout(layout.encoding, True, IMPLICIT_LE), facts, depth)
        elif undefined or (vr == "SQ" and not (layout.same and self._holds_no_pixels(element))):
            self._sink.write(element_header(element.tag, "SQ", UNDEFINED_LENGTH, layout.target))
            self._items(element, _Layout(layout.encoding, element.implicit, layout.target), facts, depth)
        else:
            self._value(element, vr, layout)

    def _items(self, sequence: Element, layout: _Layout, facts: Facts, depth: int) -> None:
        """The items of a sequence, and the delimiter behind them."""
        sink, target = self._sink, layout.target
        walk = items(self._data, sequence.start, sequence.stop, layout.encoding, implicit=layout.implicit)
        for start, stop in walk:
            sink.write(element_header(ITEM, "", UNDEFINED_LENGTH, target))
            self._data_set(start, stop, layout, outer=facts, depth=depth + 1)
            sink.write(element_header(ITEM_DELIMITATION_ITEM, "", 0, target))
        sink.write(element_header(SEQUENCE_DELIMITATION_ITEM, "", 0, target))

    def _value(self, element: Element, vr: str, layout: _Layout) -> None:
        """An element of known length as a whole."""
        length = element.stop - element.start
        if length > _MAX_SHORT and vr not in LONG_VRS:
            vr = "UN"  # PS3.5 6.2.2
        if layout.swapped and vr not in VRS:
            raise CannotTranscode(f"the byte order of VR {vr} is not known")
        self._sink.write(element_header(element.tag, vr, length + length % 2, layout.target))
        value = self._data[element.start : element.stop]
        if layout.swapped and vr in UNITS:
            self._sink.write_swapped(value, UNITS[vr])
        else:
            self._sink.write(value)
        if length % 2:
            self._sink.write(b" " if vr in TEXT_VRS and vr != "UI" else b"\0")

    def _written_vr(self, header: int) -> str:
        """The VR in an explicit header; "" if an implicit element was left among explicit ones."""
        letters = bytes(self._data[header + 4 : header + 6])
        return letters.decode("ascii") if letters.isalpha() and letters.isupper() else ""

    def _has_items(self, element: Element, layout: _Layout) -> bool:
        beginning = bytes(self._data[element.start : min(element.start + 4, element.stop)])
        return not beginning or beginning == layout.encoding.tag_bytes(ITEM)

    def _holds_no_pixels(self, element: Element) -> bool:
        """True if a sequence certainly holds no encapsulated icon, and so can be taken as it is."""
        return not self._encapsulated or _PIXEL_DATA_TAG not in bytes(
            self._data[element.start : element.stop]
        )
