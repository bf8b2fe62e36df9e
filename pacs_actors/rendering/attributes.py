"""The values that a picture depends on, read from an encoded data set without making objects of all the rest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from struct import iter_unpack
from typing import Final

from protocols.dataset.elements import Element, NeedMore, elements, items
from protocols.dataset.transfer_syntax import NUMBER_FORMATS, Encoding, dictionary_vr
from protocols.errors import CannotUnderstand

MAX_ELEMENTS: Final = 100_000
MAX_ITEMS: Final = 500_000
_MAX_NUMBERS: Final = 1024
_MAX_TEXT_BYTES: Final = 65536


class DataSet:
    """One data set or item. A value that is not there, or is no number where one belongs, is as if it were empty."""

    def __init__(
        self,
        data: memoryview,
        encoding: Encoding,
        *,
        start: int = 0,
        stop: int | None = None,
        implicit: bool | None = None,
    ) -> None:
        """raises: CannotUnderstand for what nests too deep. A data set that is cut short ends before the cut."""
        self.data, self.encoding = data, encoding
        self.implicit = encoding.implicit if implicit is None else implicit
        self._by_tag: dict[int, Element] = {}
        walk = elements(data, start, len(data) if stop is None else stop, encoding, implicit=self.implicit)
        try:
            for element in islice(walk, MAX_ELEMENTS):
                self._by_tag[element.tag] = element
        except NeedMore:
            pass

    def __contains__(self, tag: int) -> bool:
        return tag in self._by_tag

    def __iter__(self) -> Iterator[Element]:
        return iter(self._by_tag.values())

    def element(self, tag: int) -> Element | None:
        return self._by_tag.get(tag)

    def raw(self, tag: int) -> memoryview:
        """The bytes of a value, in the data set's byte order."""
        element = self._by_tag.get(tag)
        return self.data[0:0] if element is None else self.data[element.start : element.stop]

    def text(self, tag: int) -> str:
        """The first value of what the default character repertoire holds."""
        return self.texts(tag)[0]

    def texts(self, tag: int) -> list[str]:
        """At least one, "" for nothing."""
        raw = bytes(self.raw(tag)[:_MAX_TEXT_BYTES])
        return [value.strip(" \0") for value in raw.decode("latin-1").split("\\", _MAX_NUMBERS)]

    def numbers(self, tag: int) -> list[float]:
        """All values: DS and IS, or binary."""
        element = self._by_tag.get(tag)
        if element is None:
            return []
        vr = element.vr if element.vr != "UN" else dictionary_vr(tag)
        if vr in NUMBER_FORMATS:
            order = ">" if self.encoding.big_endian else "<"
            layout = order + NUMBER_FORMATS[vr]
            raw = self.raw(tag)[: 8 * _MAX_NUMBERS]
            size = {"h": 2, "i": 4, "q": 8, "f": 4, "d": 8}[NUMBER_FORMATS[vr].lower()]
            return _finite([value for (value,) in iter_unpack(layout, raw[: len(raw) - len(raw) % size])])
        found = []
        for text in self.texts(tag):
            try:
                found.append(float(text))
            except ValueError:
                return _finite(found)
        return _finite(found)

    def number(self, tag: int) -> float | None:
        """The first value."""
        return next(iter(self.numbers(tag)), None)

    def integer(self, tag: int) -> int | None:
        """The first value as a whole number."""
        value = self.number(tag)
        return None if value is None else int(value)

    def extents(self, tag: int) -> list[tuple[int, int]]:
        """Where the items of a sequence lie; no more than MAX_ITEMS. A damaged sequence ends before the damage."""
        element = self._by_tag.get(tag)
        if element is None:
            return []
        walk = items(self.data, element.start, element.stop, self.encoding, implicit=element.implicit)
        found = []
        try:
            for extent in islice(walk, MAX_ITEMS):
                found.append(extent)
        except (NeedMore, CannotUnderstand):
            pass
        return found

    def item_at(self, tag: int, extent: tuple[int, int]) -> DataSet:
        """The item of a sequence that lies at one of its ``extents``."""
        element = self._by_tag[tag]
        return DataSet(self.data, self.encoding, start=extent[0], stop=extent[1], implicit=element.implicit)

    def item(self, tag: int) -> DataSet | None:
        """The first item of a sequence."""
        element = self._by_tag.get(tag)
        if element is None:
            return None
        walk = items(self.data, element.start, element.stop, self.encoding, implicit=element.implicit)
        try:
            first = next(walk, None)
        except (NeedMore, CannotUnderstand):
            return None
        return None if first is None else self.item_at(tag, first)


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if abs(value) < float("inf")]
