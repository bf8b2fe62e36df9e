"""Identifiers of C-FIND answers: one compiled encoder a request, one call a row."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from protocols.dataset.attributes import SPECIFIC_CHARACTER_SET
from protocols.dataset.charset import UTF8
from protocols.dataset.json_model import sequence_from_json
from protocols.dataset.text import TEXT_VRS
from protocols.dataset.transfer_syntax import (
    LONG_VRS,
    Encoding,
    dictionary_vr,
    encoding_of,
    is_deflated,
)
from protocols.dataset.writing import element_header, text_element

_NOTHING: Final[Mapping[int, str]] = MappingProxyType({})
_NO_ITEM_TAGS: Final[Mapping[int, Collection[int]]] = MappingProxyType({})

_LONGEST_COMPILED: Final = 1024


class _Slot(Struct, frozen=True):
    """One attribute of the answer that comes from the row.

    before:  constant elements in front of it
    start:   ``before`` and its header up to the length; bytes as Latin-1
    lengths: even length field by value length, for text VRs
    """

    tag: int
    vr: str
    index: int
    before: str
    start: str
    lengths: tuple[str, ...] | None
    padding: str


class IdentifierEncoder:
    """Encodes rows of text into identifiers of C-FIND answers (PS3.4 C.4.1.1.3).

    Specific Character Set (0008,0005) is ISO_IR 192 in answers with anything else than ASCII, asked for or
    not; in others it is absent, or empty if it was asked for.
    """

    def __init__(
        self,
        tags: Sequence[int],
        transfer_syntax_uid: str,
        *,
        constants: Mapping[int, str] = _NOTHING,
        vrs: Mapping[int, str] = _NOTHING,
        item_tags: Mapping[int, Collection[int]] = _NO_ITEM_TAGS,
    ) -> None:
        """Compile for the attributes of one request.

        tags:      what each value of a row is, in the row's order; any order; repeated ones count once
        constants: the same in every answer: Query/Retrieve Level, Retrieve AE Title; they go before ``tags``
        vrs:       VR of attributes that are not in the dictionary
        item_tags: sequence -> the attributes asked for in its items; absent or empty: all (PS3.4 C.2.2.2.6)
        """
        self._encoding = encoding_of(transfer_syntax_uid)
        self._deflated = is_deflated(transfer_syntax_uid)
        self._item_tags = item_tags
        indices: dict[int, int] = {}
        for index, tag in enumerate(tags):
            indices.setdefault(tag, index)
        texts = {SPECIFIC_CHARACTER_SET: ""} if SPECIFIC_CHARACTER_SET in indices else {}
        self._constants: dict[int, str] = {**constants, **texts}
        self._vrs = {tag: vrs.get(tag) or dictionary_vr(tag) for tag in {*indices, *self._constants}}
        self._compile({tag: index for tag, index in indices.items() if tag not in self._constants})

    def _compile(self, indices: dict[int, int]) -> None:
        before = ""
        slots: list[_Slot] = []
        for tag in sorted({*indices, *self._constants}):
            vr = self._vrs[tag]
            if tag in self._constants:
                before += text_element(tag, vr, self._constants[tag], self._encoding).decode("latin-1")
                continue
            width = 4 if self._encoding.implicit or vr in LONG_VRS else 2
            header = element_header(tag, vr, 0, self._encoding)[:-width].decode("latin-1")
            lengths = _length_fields(self._encoding, width) if vr in TEXT_VRS else None
            padding = "\0" if vr == "UI" else " "
            slots.append(_Slot(tag, vr, indices[tag], before, before + header, lengths, padding))
            before = ""
        self._slots, self._after = slots, before
        self._has_sequences = any(slot.vr == "SQ" for slot in slots)
        self._starts = [(slot.start, slot.lengths, slot.padding, slot) for slot in slots]
        # itemgetter gives a tuple for two or more only.
        order = [slot.index for slot in slots]
        self._in_order = itemgetter(*order) if len(order) > 1 else lambda row: tuple(row[at] for at in order)

    def encode(self, row: Sequence[str]) -> bytes:
        """Encode one answer.

        row: text for each of ``tags``: "" where nothing is known; numbers in decimal; sequences as DICOM JSON
        """
        values: tuple[str, ...] = self._in_order(row)
        together = "".join(values)
        # In JSON, other characters may hide behind an escape.
        is_ascii = together.isascii() and not (self._has_sequences and "\\u" in together)
        if is_ascii and (len(together) <= _LONGEST_COMPILED or max(map(len, values)) <= _LONGEST_COMPILED):
            encoded = self._encode_ascii(values)
        else:
            encoded = self._encode_any(values, is_ascii=is_ascii)
        return _deflate(encoded) if self._deflated else encoded

    def _encode_ascii(self, values: tuple[str, ...]) -> bytes:
        parts: list[str] = []
        add = parts.append
        for value, (start, lengths, padding, slot) in zip(values, self._starts, strict=True):
            if lengths is None:
                add(slot.before)
                add(self._element(slot, value).decode("latin-1"))
                continue
            length = len(value)
            add(start)
            add(lengths[length])
            add(value)
            if length & 1:
                add(padding)
        add(self._after)
        return "".join(parts).encode("latin-1")

    def _encode_any(self, values: tuple[str, ...], *, is_ascii: bool) -> bytes:
        encoded = {
            tag: text_element(tag, self._vrs[tag], text, self._encoding)
            for tag, text in self._constants.items()
        }
        encoded |= {
            slot.tag: self._element(slot, value) for value, slot in zip(values, self._slots, strict=True)
        }
        if not is_ascii:
            encoded[SPECIFIC_CHARACTER_SET] = text_element(SPECIFIC_CHARACTER_SET, "CS", UTF8, self._encoding)
        return b"".join(encoded[tag] for tag in sorted(encoded))

    def _element(self, slot: _Slot, value: str) -> bytes:
        if slot.vr == "SQ":
            return sequence_from_json(slot.tag, value, self._encoding, self._item_tags.get(slot.tag, ()))
        return text_element(slot.tag, slot.vr, value, self._encoding)


@lru_cache(maxsize=8)
def _length_fields(encoding: Encoding, width: int) -> tuple[str, ...]:
    pack = encoding.u16.pack if width == 2 else encoding.u32.pack
    return tuple(pack(length + (length & 1)).decode("latin-1") for length in range(_LONGEST_COMPILED + 1))


def _deflate(encoded: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    deflated = stream.compress(encoded) + stream.flush()
    return deflated + b"\0" * (len(deflated) & 1)
