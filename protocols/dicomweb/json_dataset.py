"""Whole data sets in the DICOM JSON Model (PS3.18 F.2), straight from their bytes, without bulk data.

The instances of a series repeat most of their elements byte for byte. What has been made of an element is remembered by its
bytes, and so are elements that came behind each other: where an instance is like the one before, it costs a comparison.

Nothing in a data set is trusted: nesting, elements and bytes have limits, and what is damaged ends the object where it is:
what came before is told.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from msgspec import Struct

from protocols.dataset.elements import (
    MAX_NESTING,
    NeedMore,
    SequenceWalk,
    items_are_implicit,
    read_header,
)
from protocols.dataset.text import decode_text
from protocols.dataset.transfer_syntax import (
    IMPLICIT_LE,
    ITEM,
    SEQUENCE_DELIMITATION_ITEM,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    VRS,
    Encoding,
    encoding_of,
)
from protocols.dicomweb.json_attributes import (
    BULK,
    PIXEL_DATA,
    WORDS,
    attribute,
    bulk,
    is_bulk,
    known_vr,
    sequence,
)
from protocols.dicomweb.json_values import quote
from protocols.errors import CannotUnderstand

MAX_ELEMENTS: Final = 400_000
MAX_READ_BYTES: Final = 32 * 1024 * 1024
_REMEMBERED_BYTES: Final = 2048
_MOST_REMEMBERED: Final = 20_000
_MOST_CONTEXTS: Final = 64
_MOST_RUNS: Final = 256
_LONGEST_RUN_BYTES: Final = 8192
_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_AVAILABLE: Final = 0x00083002
_UTF8: Final = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'
_THE_END: Final = 1 << 62
_SHORT: Final = frozenset(vr.encode() for vr in SHORT_VRS)
_OPAQUE: Final = frozenset({"OB", "UN", *WORDS})


class _Run(Struct, frozen=True, gc=False):
    """Elements that came behind each other, and what was made of them."""

    raw: bytes
    tags: list[int]
    fragments: list[bytes]


class _Known(dict[bytes, bytes]):
    """What has been made of elements that are read in one way, by their bytes. runs: by those of their first element"""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[bytes, _Run] = {}

    def learn(self, first: bytes, run: _Run) -> None:
        if len(self.runs) >= _MOST_RUNS:
            self.runs.clear()
        self.runs[first] = run


class Memory:
    """What has been made of elements, by how they are read and by their bytes. For the instances of one series."""

    def __init__(self) -> None:
        self._contexts: dict[object, _Known] = {}

    def of(self, context: object) -> _Known:
        if context not in self._contexts and len(self._contexts) >= _MOST_CONTEXTS:
            self._contexts.clear()
        known = self._contexts.get(context)
        if known is None:
            known = self._contexts[context] = _Known()
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        return known


class _Context:
    """How the elements of one data set are read: of the whole, or of an item.

    path: of its elements, ``tag/item number/``; "" for the whole
    """

    def __init__(self, encoding: Encoding, memory: Memory, above: _Context | None = None) -> None:
        self.encoding, self.implicit, self.path, self.depth = encoding, encoding.implicit, "", 0
        self.character_set, self.signed = "", False
        self.creators: dict[int, str] = {}
        self._memory = memory
        if above is not None:
            self.character_set, self.signed, self.depth = above.character_set, above.signed, above.depth + 1

    def recall(self) -> _Known:
        """What is known of elements that are read this way."""
        way = (id(self.encoding), self.implicit, self.character_set, self.signed, self.depth == 0)
        return self._memory.of(way)

    def item(self, path: str, *, implicit: bool) -> _Context:
        below = _Context(self.encoding, self._memory, self)
        below.path, below.implicit = path, implicit
        below.known = below.recall()
        return below

    known: _Known


class DataSetJson:
    """The JSON object of one data set, which is shown to ``feed`` a window at a time.

    size:    bytes of the whole data set
    offset:  where the next window has to begin; ``size`` once nothing more is wanted
    wanted:  how many bytes it has to have at least
    """

    def __init__(self, transfer_syntax_uid: str, size: int, memory: Memory) -> None:
        self.offset, self.wanted, self.size = 0, 1, size
        self._syntax, self._memory = transfer_syntax_uid, memory
        self._context: _Context | None = None
        self._fragments: list[bytes] = []
        self._tags: list[int] = []
        self._elements_left = MAX_ELEMENTS
        self._read = 0

    def feed(self, window: bytes) -> None:
        """Take the data set from ``offset`` on: all there is, or at least ``wanted`` bytes of it."""
        context = self._context
        if context is None:
            context = self._context = _Context(encoding_of(self._syntax, window[:6]), self._memory)
            context.known = context.recall()
        at, stop = 0, len(window)
        ended = False
        self.wanted = 1
        try:
            while at < stop:
                at = self._repeated(window, at, stop, context)
                if at == stop:
                    break
                tag, made, behind = self._element(window, at, stop, context)
                if tag >> 16 == 0xFFFE:
                    raise CannotUnderstand("a delimiter stands where an element belongs")
                if made:
                    self._tags.append(tag)
                    self._fragments.append(made)
                at = behind
        except NeedMore as more:
            self.wanted = more.offset - at
            ended = self.offset + stop >= self.size
        except CannotUnderstand:
            ended = True
        self._read += min(at, stop)
        self.offset = min(self.offset + at, self.size)
        if ended or self._read + self.wanted > MAX_READ_BYTES:
            self.offset = self.size

    def _repeated(self, data: bytes, at: int, stop: int, context: _Context) -> int:
        """Take short elements that are known as they come, as most are; the offset of the first that is not."""
        if context.implicit:
            return at
        unpack, recall, runs = (
            context.encoding.explicit_header.unpack_from,
            context.known.get,
            context.known.runs,
        )
        tags, fragments = self._tags, self._fragments
        first, begins, before = b"", at, 0
        while at + 8 <= stop:
            group, element, letters, length = unpack(data, at)
            if letters not in _SHORT:
                break
            # Behind the end there is less than was remembered, so nothing is found.
            behind = at + 8 + length
            raw = data[at:behind]
            made = recall(raw)
            if made is None:
                break
            if not first:
                run = runs.get(raw)
                if run is not None and data.startswith(run.raw, at):
                    tags += run.tags
                    fragments += run.fragments
                    at += len(run.raw)
                    continue
                first, begins, before = raw, at, len(tags)
            if made:
                tags.append(group << 16 | element)
                fragments.append(made)
            at = behind
        if first and at - begins <= _LONGEST_RUN_BYTES:
            context.known.learn(first, _Run(data[begins:at], tags[before:], fragments[before:]))
        return at

    def json(self, bulk_base: bytes, available: str = "") -> bytes:
        """The object so far.

        bulk_base: what the URIs of its bulk data begin with, as JSON text without quotes
        available: a Transfer Syntax UID that the object can be had in; it replaces what the object says of that
        """
        tags, fragments = self._tags, self._fragments
        if available:
            said = b'"%08X":{"vr":"UI","Value":[%b]}' % (_AVAILABLE, quote(available).encode())
            if _AVAILABLE in tags:
                kept = [pair for pair in zip(tags, fragments, strict=True) if pair[0] != _AVAILABLE]
                tags, fragments = [tag for tag, _ in kept], [fragment for _, fragment in kept]
            at = bisect_right(tags, _AVAILABLE)  # in its place, so that nothing has to be sorted
            tags, fragments = [*tags[:at], _AVAILABLE, *tags[at:]], [*fragments[:at], said, *fragments[at:]]
        return _object(tags, fragments).replace(BULK, bulk_base)

    def _element(self, data: bytes, at: int, stop: int, context: _Context) -> tuple[int, bytes, int]:
        """(tag, its JSON or nothing, offset behind it) of an element. A delimiter is returned as it is.

        raises: NeedMore, CannotUnderstand
        """
        encoding = context.encoding
        tag, vr, value, length = read_header(data, at, stop, encoding, implicit=context.implicit)
        behind = value + length
        if length <= _REMEMBERED_BYTES and behind <= stop:
            made = context.known.get(data[at:behind])
            if made is not None:
                return tag, made, behind
        if tag >> 16 == 0xFFFE:
            return tag, b"", value
        self._spend()
        if tag & 0xFFFF == 0 and length != UNDEFINED_LENGTH:
            return tag, b"", behind
        written, implicit = vr, context.implicit or not vr
        if vr not in VRS or vr == "UN":
            vr = self._resolved(data, tag, vr, value, length, context)
        if length == UNDEFINED_LENGTH:
            return self._undefined(data, tag, vr, value, stop, context, implicit=implicit, written=written)
        if vr != "SQ" and is_bulk(tag, vr, length):
            if context.depth and behind > stop:
                raise NeedMore(behind)
            return tag, bulk(tag, vr, f"{context.path}{tag:08X}"), behind
        if behind > stop:
            raise NeedMore(behind)
        if vr == "SQ":
            if written == "UN":
                implicit = items_are_implicit(data, value, behind)
            try:
                made = self._items(data, tag, value, behind, context, implicit=implicit, delimited=False)[0]
            except (NeedMore, CannotUnderstand):
                if self._elements_left < 0:
                    raise
                return tag, b"", behind  # damaged, but it says where it ends
        else:
            made = self._value(tag, vr, data[value:behind], written, context)
        if length <= _REMEMBERED_BYTES and _may_be_remembered(tag, written, made, context):
            context.known[data[at:behind]] = made
        return tag, made, behind

    def _spend(self) -> None:
        self._elements_left -= 1
        if self._elements_left < 0:
            raise CannotUnderstand(f"more than {MAX_ELEMENTS} elements")

    def _value(self, tag: int, vr: str, raw: bytes, written: str, context: _Context) -> bytes:
        if tag == _CHARACTER_SET:
            context.character_set = decode_text(raw, "CS", "")
            context.known = context.recall()
            return _UTF8
        if tag == _PIXEL_REPRESENTATION:
            context.signed = raw.strip(b"\0") != b""
            context.known = context.recall()
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            context.creators[tag] = decode_text(raw, "LO", context.character_set)
        # The value of an UN is little endian, whatever surrounds it (PS3.5 6.2.2).
        encoding = IMPLICIT_LE if written == "UN" else context.encoding
        return attribute(tag, vr, raw, context.character_set, encoding)

    def _resolved(self, data: bytes, tag: int, vr: str, value: int, length: int, context: _Context) -> str:
        """The VR of an element that comes without a proper one, as far as dictionaries know."""
        creator = context.creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF, "")
        known = known_vr(tag, creator, signed=context.signed)
        if length == UNDEFINED_LENGTH and (known not in _OPAQUE or known == "UN"):
            return "SQ"
        if vr == "UN" and known == "SQ" and data[value : value + 4] != context.encoding.tag_bytes(ITEM):
            return "UN"
        return known

    def _undefined(
        self, data: bytes, tag: int, vr: str, value: int, stop: int, context: _Context, *, implicit: bool, written: str
    ) -> tuple[int, bytes, int]:  # fmt: skip
        if vr == "SQ":
            if written == "UN":
                implicit = items_are_implicit(data, value, stop)
            made, behind = self._items(data, tag, value, stop, context, implicit=implicit, delimited=True)
            return tag, made, behind
        if not context.depth and tag in PIXEL_DATA:
            # Encapsulated: what stands behind is padding or a signature, and would cost a read for each fragment.
            return tag, bulk(tag, "OB" if written != "OW" else written, f"{tag:08X}"), _THE_END
        behind = SequenceWalk(data, stop, context.encoding).behind_sequence(
            value, implicit=implicit, opaque=True
        )
        return tag, bulk(tag, vr, f"{context.path}{tag:08X}"), behind

    def _items(
        self, data: bytes, tag: int, at: int, stop: int, context: _Context, *, implicit: bool, delimited: bool
    ) -> tuple[bytes, int]:
        """A sequence's JSON and the offset behind it. delimited: only its delimiter tells where it ends"""
        if context.depth >= MAX_NESTING:
            raise CannotUnderstand(f"sequences nest deeper than {MAX_NESTING}")
        made: list[bytes] = []
        while delimited or at < stop:
            found, _, value, length = read_header(data, at, stop, context.encoding, implicit=True)
            if found == SEQUENCE_DELIMITATION_ITEM:
                return sequence(tag, made), value
            if found != ITEM:
                raise CannotUnderstand("an element stands where an item belongs")
            self._spend()
            below = context.item(f"{context.path}{tag:08X}/{len(made)}/", implicit=implicit)
            open_end = length == UNDEFINED_LENGTH
            end = stop if open_end else value + length
            if end > stop:
                raise NeedMore(end)
            item, behind = self._item(data, value, end, below, delimited=open_end)
            made.append(item)
            at = behind if open_end else end
        return sequence(tag, made), at

    def _item(
        self, data: bytes, at: int, stop: int, context: _Context, *, delimited: bool
    ) -> tuple[bytes, int]:
        tags: list[int] = []
        fragments: list[bytes] = []
        while delimited or at < stop:
            tag, made, at = self._element(data, at, stop, context)
            if tag >> 16 == 0xFFFE:
                break
            if made:
                tags.append(tag)
                fragments.append(made)
        return _object(tags, fragments), at


def _may_be_remembered(tag: int, written: str, made: bytes, context: _Context) -> bool:
    """Not what changes how others are read, nor what depends on more than its bytes."""
    if tag in (_CHARACTER_SET, _PIXEL_REPRESENTATION):
        return False
    if tag >> 16 & 1 and (written in ("", "UN") or tag & 0xFFFF <= 0xFF):
        return False
    return not context.path or BULK not in made


def _object(tags: list[int], fragments: list[bytes]) -> bytes:
    """In the order of the tags, each once (PS3.18 F.2.2); of repeated ones the last counts."""
    if any(map(int.__ge__, tags, tags[1:])):
        once = dict(zip(tags, fragments, strict=True))
        fragments = [once[tag] for tag in sorted(once)]
    return b"{%b}" % b",".join(fragments)
