"""The header scan of ingest: the attributes that the index keeps, straight from the bytes of a data set.

It reads each element header once, touches no value that is not wanted, and ends behind the last wanted tag,
long before the pixels. What it accepts is bounded in every direction; what it cannot accept is one of two
refusals, as PS3.4 B.2.3 tells them apart:

- CannotUnderstand (C000H): the data set cannot be parsed into elements, or not within our limits.
- DataSetMismatch (A900H): it can be, but lacks one of the four UIDs that every composite instance has, or one
  of them is no UID.

Data sets whose tags are not in order are scanned up to the first tag behind the last wanted one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from protocols.dataset.attributes import BY_TAG, SPECIFIC_CHARACTER_SET
from protocols.dataset.deflate import Inflater
from protocols.dataset.elements import SHALLOW_BYTES, NeedMore, SequenceWalk, items_are_implicit, read_header
from protocols.dataset.json_model import sequence_to_json
from protocols.dataset.record import ScannedInstance
from protocols.dataset.scan_plan import SKIP_LONG, STOP, Plan
from protocols.dataset.text import MAX_TEXT, PADDING, TEXT_VRS, binary_text, clean, decode_text
from protocols.dataset.transfer_syntax import (
    NUMBER_FORMATS,
    UNDEFINED_LENGTH,
    Encoding,
    dictionary_vr,
    encoding_of,
    is_deflated,
)
from protocols.errors import CannotUnderstand, DataSetMismatch, Misuse

# SOP Class, SOP Instance, Study Instance and Series Instance UID
REQUIRED_UIDS: Final = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)

NO_CUSTOM_ATTRIBUTES: Final[Mapping[int, str]] = MappingProxyType({})

# A usual header up to the last wanted tag takes 3 to 6 KB.
WINDOW_BYTES: Final = 8192
MAX_WINDOWS: Final = 8192
MAX_WALKED_BYTES: Final = 8 * 1024 * 1024
MAX_VALUE_BYTES: Final = 65536
FIRST_INFLATED_BYTES: Final = 16384

_BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_is_uid: Final = re.compile(r"[0-9.]{1,64}").fullmatch
_are_uids: Final = re.compile(r"[0-9.]{1,64}(?:/[0-9.]{1,64}){3}").fullmatch


class HeaderScanner:
    """Scans headers for the indexed attributes and, in addition, for ``custom`` ones (tag -> VR)."""

    def __init__(self, custom: Mapping[int, str] = NO_CUSTOM_ATTRIBUTES) -> None:
        self._plan = Plan(custom)

    def scan(self, data: bytes | memoryview, transfer_syntax_uid: str, *, complete: bool) -> ScannedInstance:
        """Scan one data set.

        data:     as received, without Part 10 prefix; C-contiguous bytes
        complete: False if this is only the beginning of the data set
        raises:   CannotUnderstand, DataSetMismatch; with ``complete=False`` NeedMore if the header goes on
                  behind what is given: scan again with more
        """
        if not is_deflated(transfer_syntax_uid):
            return _Scan(self._plan, data, transfer_syntax_uid, complete).run()
        inflater = Inflater(memoryview(data))
        size = FIRST_INFLATED_BYTES
        while True:
            inflater.grow(size)
            known = inflater.finished or (complete and inflater.exhausted)
            try:
                with memoryview(inflater.inflated) as inflated:
                    return _Scan(self._plan, inflated, transfer_syntax_uid, known).run()
            except NeedMore as more:
                if inflater.exhausted:
                    raise NeedMore(len(data) + 1) from None
                size = max(2 * len(inflater.inflated), more.offset)


def scan(
    data: bytes | memoryview,
    transfer_syntax_uid: str,
    *,
    custom: Mapping[int, str] = NO_CUSTOM_ATTRIBUTES,
    complete: bool,
) -> ScannedInstance:
    """Scan one data set; see ``HeaderScanner.scan``, which spares looking up ``custom`` each time."""
    scanner = _default_scanner() if not custom else _scanner(tuple(sorted(custom.items())))
    return scanner.scan(data, transfer_syntax_uid, complete=complete)


@lru_cache(maxsize=1)
def _default_scanner() -> HeaderScanner:
    return HeaderScanner()


@lru_cache(maxsize=8)
def _scanner(custom: tuple[tuple[int, str], ...]) -> HeaderScanner:
    return HeaderScanner(dict(custom))


class _Scan:
    """One scan: where it stands and what it has found.

    _found:     tag -> text, Latin-1 in place of the real character set, trailing padding removed
    _sequences: tag -> (first byte, byte behind the last, implicit) of wanted sequences
    """

    __slots__ = (
        "_complete",
        "_data",
        "_encoding",
        "_found",
        "_plan",
        "_sequences",
        "_size",
        "_syntax",
        "_walk",
    )

    def __init__(
        self, plan: Plan, data: bytes | memoryview, transfer_syntax_uid: str, complete: bool
    ) -> None:
        self._plan, self._data, self._size = plan, data, len(data)
        self._syntax, self._complete = transfer_syntax_uid, complete
        self._encoding: Encoding = encoding_of(transfer_syntax_uid, data[:6])
        self._found: dict[int, str] = {}
        self._sequences: dict[int, tuple[int, int, bool]] = {}
        self._walk: SequenceWalk | None = None

    def run(self) -> ScannedInstance:
        try:
            self._search()
        except NeedMore:
            if not self._complete:
                raise
            raise CannotUnderstand("the data set ends inside an element, or its length is wrong") from None
        return self._instance()

    def _search(self) -> None:
        """Go from header to header up to the last wanted tag.

        The loop runs over a copied window: slices of bytes and str are several times faster than those of a
        memoryview. It leaves a window by its bounds alone: undefined lengths are larger than any window.
        """
        data, size, found, implicit = self._data, self._size, self._found, self._encoding.implicit
        actions, layout = self._plan.tables(self._encoding)
        unpack = layout.unpack_from
        u16, u32 = self._encoding.u16.unpack_from, self._encoding.u32.unpack_from
        long_header = 8 if implicit else 12
        base = walked = windows = 0
        while size - base >= 8:
            window = bytes(data[base : base + WINDOW_BYTES])
            text = window.decode("latin-1")
            end = len(window)
            last = end - 8
            at = start = action = length = 0
            while at <= last:
                key, length = unpack(window, at)
                action = actions[key]
                if action > 0:
                    start = at + 8
                    at = start + length
                    if length:
                        found[action] = text[start:at].rstrip(" \0")
                elif not action:
                    start = at + 8
                    at = start + length
                elif action == STOP:
                    return
                elif action == SKIP_LONG:
                    if not implicit:
                        length = u32(window, at + 8)[0] if at + 12 <= end else UNDEFINED_LENGTH
                    if length < SHALLOW_BYTES:
                        at += long_header + length
                    else:
                        at = self._element(base + at) - base
                        length = 0
                elif action < STOP and length == 2 and at + 10 <= end:
                    found[-action] = str(u16(window, at + 8)[0])
                    at += 10
                else:
                    at = self._element(base + at) - base
                    length = 0
                    if at < 0:
                        return
            if at > end and (action > 0 or length == UNDEFINED_LENGTH):
                at = self._element(base + start - 8) - base
            walked += min(at, end)
            windows += 1
            if walked > MAX_WALKED_BYTES or windows > MAX_WINDOWS:
                raise CannotUnderstand("the header of the data set is larger than our limits")
            base += at
        if base > size or not self._complete:
            raise NeedMore(max(base, size) + 8)
        if any(data[base:size]):
            raise CannotUnderstand("the data set ends inside the header of an element")

    def _element(self, at: int) -> int:
        """Take the element at ``at`` slowly; the offset behind it, or -1 if the scan ends here."""
        data, size, encoding = self._data, self._size, self._encoding
        tag, vr, value, length = read_header(data, at, size, encoding, implicit=encoding.implicit)
        if tag > self._plan.highest:
            return -1
        implicit = encoding.implicit or not vr
        kind = vr or dictionary_vr(tag)
        if length == UNDEFINED_LENGTH:
            self._found.pop(tag, None)
            if kind == "UN":
                kind, implicit = "SQ", items_are_implicit(data, value, size)
            opaque = kind in _BINARY_VRS
            behind = self._sequence_walk().behind_sequence(value, implicit=implicit, opaque=opaque)
            stop = behind - 8
        else:
            stop = behind = value + length
            if behind > size:
                raise NeedMore(behind)
            if kind == "SQ" and length >= SHALLOW_BYTES:
                self._sequence_walk().check_nesting(value, behind, implicit=implicit)
        wanted = self._plan.wanted.get(tag)
        if wanted is not None and stop > value:
            # UN stands for what a gateway did not know; the dictionary does (PS3.5 6.2.2).
            self._take(tag, wanted if kind == "UN" else kind, wanted, (value, stop, implicit))
        return behind

    def _sequence_walk(self) -> SequenceWalk:
        if self._walk is None:
            self._walk = SequenceWalk(self._data, self._size, self._encoding)
        return self._walk

    def _take(self, tag: int, vr: str, wanted: str, where: tuple[int, int, bool]) -> None:
        start, stop, _ = where
        if vr == "SQ" or wanted == "SQ":
            if vr == wanted:
                self._sequences[tag] = where
        elif vr in TEXT_VRS:
            raw = bytes(self._data[start : min(stop, start + MAX_VALUE_BYTES)])
            self._found[tag] = raw.decode("latin-1").rstrip(PADDING)
        elif vr in NUMBER_FORMATS or vr == "AT":
            raw = bytes(self._data[start : min(stop, start + MAX_VALUE_BYTES)])
            self._found[tag] = binary_text(raw, vr, self._encoding)

    def _instance(self) -> ScannedInstance:
        found = self._found
        # One look at all values together finds that nearly always nothing has to be done to any of them.
        together = "\\".join(found.values())
        if (
            not together.isascii()
            or not together.isprintable()
            or "\\ " in together
            or " \\" in together
            or "\\\\" in together
            or together[:1] in {" ", "\\"}
            or together[-1:] == "\\"
            or (len(together) > MAX_TEXT and max(map(len, found.values())) > MAX_TEXT)
        ):
            found = self._cleaned()
        character_set = found.pop(SPECIFIC_CHARACTER_SET, "")
        sop_class, sop_instance, study, series = uids = [found.get(tag, "") for tag in REQUIRED_UIDS]
        if not _are_uids("/".join(uids)):
            raise DataSetMismatch(_why_no_uids(uids))
        for tag, where in self._sequences.items():
            if text := self._json(where, character_set):
                found[tag] = text
        return ScannedInstance(sop_class, sop_instance, study, series, self._syntax, character_set, found)

    def _cleaned(self) -> dict[int, str]:
        wanted = self._plan.wanted
        character_set = clean(self._found.get(SPECIFIC_CHARACTER_SET, ""), "CS")
        cleaned = {
            tag: decode_text(text.encode("latin-1"), wanted[tag], character_set)
            for tag, text in self._found.items()
        }
        return {tag: text for tag, text in cleaned.items() if text}

    def _json(self, where: tuple[int, int, bool], character_set: str) -> str:
        start, stop, implicit = where
        try:
            return sequence_to_json(
                bytes(self._data[start:stop]), self._encoding, implicit=implicit, character_set=character_set
            )
        except (NeedMore, CannotUnderstand):
            # Damage inside a sequence of known length hurts nothing else: it is stored, but not indexed.
            return ""


def _why_no_uids(uids: list[str]) -> str:
    # The value itself is not repeated: it may be anything.
    for tag, uid in zip(REQUIRED_UIDS, uids, strict=True):
        if not _is_uid(uid):
            return f"{BY_TAG[tag].keyword} {'is no UID' if uid else 'is missing'}"
    raise Misuse("four valid UIDs were refused")
