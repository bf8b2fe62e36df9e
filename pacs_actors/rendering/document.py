"""A structured report as a page of text (PS3.3 C.17.3): its content tree, every word of it escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.messages import CannotRender, Why
from protocols.dataset.text import decode_text

MAX_CONTENT_ITEMS: Final = 20_000
MAX_CONTENT_DEPTH: Final = 32
_CONTENT_SEQUENCE: Final = 0x0040A730
_CONCEPT_NAME: Final = 0x0040A043
_VALUE_TYPE: Final = 0x0040A040
_CODE_MEANING: Final = 0x00080104
_CHARACTER_SET: Final = 0x00080005
_MEASURED_VALUE: Final = 0x0040A300
_NUMERIC_VALUE: Final = 0x0040A30A
_UNITS: Final = 0x004008EA
_CODE_SEQUENCE: Final = 0x0040A168
_REFERENCED_SOP: Final = 0x00081199
_REFERENCED_INSTANCE: Final = 0x00081155
_HEADING: Final = (
    ("Patient", 0x00100010, "PN"),
    ("Patient ID", 0x00100020, "LO"),
    ("Born", 0x00100030, "DA"),
    ("Study", 0x00081030, "LO"),
    ("Date", 0x00080023, "DA"),
    ("Completion", 0x0040A491, "CS"),
    ("Verification", 0x0040A493, "CS"),
)
_VALUES: Final = {
    "TEXT": (0x0040A160, "UT"),
    "DATETIME": (0x0040A120, "DT"),
    "DATE": (0x0040A121, "DA"),
    "TIME": (0x0040A122, "TM"),
    "UIDREF": (0x0040A124, "UI"),
    "PNAME": (0x0040A123, "PN"),
}


def as_html(data_set: DataSet) -> bytes:
    """The whole page, UTF-8. raises: CannotRender if it is no structured report"""
    if _CONTENT_SEQUENCE not in data_set or _VALUE_TYPE not in data_set:
        raise CannotRender("this object is no structured report", Why.NO_PIXELS)
    page = _Page(data_set.text(_CHARACTER_SET) and "\\".join(data_set.texts(_CHARACTER_SET)))
    title = page.meaning(data_set, _CONCEPT_NAME) or "Report"
    parts = [
        '<!DOCTYPE html><html><head><meta charset="utf-8"><title>',
        escape(title),
        "</title></head><body><h1>",
        escape(title),
        "</h1><dl>",
    ]
    for label, tag, vr in _HEADING:
        if value := page.text(data_set, tag, vr):
            parts += ("<dt>", label, "</dt><dd>", escape(value), "</dd>")
    parts.append("</dl>")
    parts += page.content(data_set, 0)
    parts.append("</body></html>")
    return "".join(parts).encode("utf-8", "replace")


class _Page:
    def __init__(self, character_set: str) -> None:
        self._character_set = character_set
        self._left = MAX_CONTENT_ITEMS

    def text(self, item: DataSet, tag: int, vr: str) -> str:
        return decode_text(bytes(item.raw(tag)), vr, self._character_set)

    def meaning(self, item: DataSet, tag: int) -> str:
        """Code Meaning of a code sequence's item."""
        code = item.item(tag)
        return "" if code is None else self.text(code, _CODE_MEANING, "LO")

    def content(self, item: DataSet, depth: int) -> Iterator[str]:
        """The content items of one, as nested lists."""
        extents = item.extents(_CONTENT_SEQUENCE)
        if not extents:
            return
        if depth >= MAX_CONTENT_DEPTH:
            yield "<p>…</p>"
            return
        yield "<ul>"
        for extent in extents:
            self._left -= 1
            if self._left < 0:
                yield "<li>…</li>"
                break
            child = item.item_at(_CONTENT_SEQUENCE, extent)
            name, value = self.meaning(child, _CONCEPT_NAME), self._value(child)
            yield "<li>"
            if name:
                yield f"<b>{escape(name)}</b>{': ' if value else ''}"
            yield escape(value).replace("\n", "<br>")
            yield from self.content(child, depth + 1)
            yield "</li>"
        yield "</ul>"

    def _value(self, item: DataSet) -> str:
        kind = item.text(_VALUE_TYPE)
        if kind in _VALUES:
            return self.text(item, *_VALUES[kind])
        if kind == "CODE":
            return self.meaning(item, _CODE_SEQUENCE)
        if kind == "NUM":
            measured = item.item(_MEASURED_VALUE)
            if measured is None:
                return ""
            return f"{self.text(measured, _NUMERIC_VALUE, 'DS')} {self.meaning(measured, _UNITS)}".strip()
        if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
            referenced = item.item(_REFERENCED_SOP)
            return "" if referenced is None else self.text(referenced, _REFERENCED_INSTANCE, "UI")
        return ""
