"""Identifiers of C-FIND, C-MOVE and C-GET requests (PS3.4 C.4): data sets of keys, decoded within limits.

What a key means, and whether it is allowed at its level, is for the query rules to say.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from protocols.dataset.attributes import SPECIFIC_CHARACTER_SET
from protocols.dataset.deflate import inflate
from protocols.dataset.elements import Element, NeedMore, elements, items
from protocols.dataset.identifier_encoder import IdentifierEncoder
from protocols.dataset.text import TEXT_VRS, binary_text, clean, decode_text
from protocols.dataset.transfer_syntax import (
    NUMBER_FORMATS,
    Encoding,
    dictionary_vr,
    encoding_of,
    is_deflated,
)
from protocols.errors import BadIdentifier, CannotUnderstand

__all__ = ["QUERY_RETRIEVE_LEVEL", "Identifier", "IdentifierEncoder", "decode_identifier"]

QUERY_RETRIEVE_LEVEL: Final = 0x00080052

MAX_IDENTIFIER_BYTES: Final = 1024 * 1024
MAX_KEYS: Final = 1024
MAX_KEY_BYTES: Final = 16384


class Identifier(Struct, frozen=True):
    """A decoded identifier.

    level:         Query/Retrieve Level (0008,0052); "" if there is none
    keys:          tag -> text, "" for universal matching; several values (UID lists) stay separated by
                   backslashes. Without the level, the character set and group lengths.
    sequences:     tag -> keys of its one item; {} asks for the whole sequence
    character_set: the request's own, by which ``keys`` were decoded
    unsupported:   tags whose values are not text and were left out: binary, or sequences in sequences
    """

    level: str
    keys: dict[int, str]
    sequences: dict[int, dict[int, str]]
    character_set: str
    unsupported: tuple[int, ...]


def decode_identifier(data: bytes | memoryview, transfer_syntax_uid: str) -> Identifier:
    """Decode the data set of a C-FIND, C-MOVE or C-GET request.

    raises: CannotUnderstand if it cannot be parsed, is larger than 1 MiB (inflated) or has more than 1,024
            keys; BadIdentifier if a sequence has more than one item (PS3.4 C.2.2.2.6), or a value other than a
            UID list is longer than 16 KiB
    """
    if len(data) > MAX_IDENTIFIER_BYTES:
        raise CannotUnderstand(f"an identifier of more than {MAX_IDENTIFIER_BYTES} bytes")
    raw = inflate(data, MAX_IDENTIFIER_BYTES) if is_deflated(transfer_syntax_uid) else bytes(data)
    encoding = encoding_of(transfer_syntax_uid, raw[:6])
    try:
        return _Decoder(raw, encoding).decode()
    except NeedMore:
        raise CannotUnderstand("the identifier ends inside an element, or its length is wrong") from None


class _Decoder:
    def __init__(self, raw: bytes, encoding: Encoding) -> None:
        self._raw, self._encoding = raw, encoding
        self._count = 0
        self._unsupported: list[int] = []

    def decode(self) -> Identifier:
        keys: dict[int, str] = {}
        sequences: dict[int, dict[int, str]] = {}
        character_set = ""
        for element in elements(self._raw, 0, len(self._raw), self._encoding):
            if element.vr == "SQ":
                sequences[element.tag] = self._item(element, character_set)
            elif element.tag == SPECIFIC_CHARACTER_SET:
                character_set = clean(self._value(element).decode("latin-1"), "CS")
            else:
                self._take(element, character_set, keys)
        level = keys.pop(QUERY_RETRIEVE_LEVEL, "")
        return Identifier(level, keys, sequences, character_set, tuple(self._unsupported))

    def _item(self, sequence: Element, character_set: str) -> dict[int, str]:
        keys: dict[int, str] = {}
        bounds = [
            *items(self._raw, sequence.start, sequence.stop, self._encoding, implicit=sequence.implicit)
        ]
        if len(bounds) > 1:
            raise BadIdentifier(f"sequence {sequence.tag:08X} has more than one item")
        for start, stop in bounds:
            for element in elements(self._raw, start, stop, self._encoding, implicit=sequence.implicit):
                if element.tag == SPECIFIC_CHARACTER_SET:
                    character_set = clean(self._value(element).decode("latin-1"), "CS")
                else:
                    self._take(element, character_set, keys)
        return keys

    def _take(self, element: Element, character_set: str, keys: dict[int, str]) -> None:
        tag = element.tag
        self._count += 1
        if self._count > MAX_KEYS:
            raise CannotUnderstand(f"an identifier of more than {MAX_KEYS} keys")
        if tag & 0xFFFF == 0:
            return
        vr = dictionary_vr(tag) if element.vr == "UN" else element.vr
        value = self._value(element)
        if not value.strip(b" \0"):
            keys[tag] = ""
        elif vr in TEXT_VRS:
            # Only lists of UIDs may be long.
            if vr != "UI" and len(value) > MAX_KEY_BYTES:
                raise BadIdentifier(f"a value of more than {MAX_KEY_BYTES} bytes in key {tag:08X}")
            keys[tag] = decode_text(value, vr, character_set, MAX_IDENTIFIER_BYTES)
        elif vr in NUMBER_FORMATS or vr == "AT":
            keys[tag] = binary_text(value, vr, self._encoding)
        else:
            self._unsupported.append(tag)

    def _value(self, element: Element) -> bytes:
        return self._raw[element.start : element.stop]
