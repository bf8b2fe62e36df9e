"""Data sets of queries, as keywords and text: identifiers to bytes, answers back (PS3.4 C.4, PS3.6). No I/O.

A key is a keyword of PS3.6 (``PatientName``) or a tag in 8 hexadecimal digits (``00100010``, ``0010,0010``). A value is text,
several values separated by backslashes, or for a sequence a list of mappings of the same kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from protocols.dataset.attributes import SPECIFIC_CHARACTER_SET
from protocols.dataset.charset import UTF8
from protocols.dataset.dictionaries import DicomDictionary, tags_by_keyword
from protocols.dataset.elements import NeedMore, elements, items
from protocols.dataset.text import TEXT_VRS, binary_text, decode_text
from protocols.dataset.transfer_syntax import NUMBER_FORMATS, Encoding, dictionary_vr, encoding_of
from protocols.dataset.writing import sequence, text_element
from protocols.errors import CannotUnderstand, ConfigError, PeerError

Value: TypeAlias = "str | Sequence[Mapping[str, Value]]"
Keys: TypeAlias = Mapping[str, Value]

QUERY_RETRIEVE_LEVEL: Final = 0x00080052
MAX_DEPTH: Final = 8
MAX_ELEMENTS: Final = 20_000
_TAG: Final = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?").fullmatch


class Answer(Struct, frozen=True):
    """One data set that a peer answered with.

    values:               keyword (or 8 hexadecimal digits, where PS3.6 has none) to text, or to the items of a
                          sequence. Binary values are left out
    raw:                  the data set as it came
    transfer_syntax_uid:  of ``raw``
    """

    values: Mapping[str, Value]
    raw: bytes
    transfer_syntax_uid: str

    def __getitem__(self, keyword: str) -> Value:
        return self.values[keyword]

    def text(self, keyword: str) -> str:
        """A value as text; empty if it is absent or a sequence."""
        value = self.values.get(keyword, "")
        return value if isinstance(value, str) else ""


def tag_of(key: str) -> int:
    """The tag that a keyword or 8 hexadecimal digits name.

    raises: ConfigError
    """
    tag = tags_by_keyword().get(key)
    if tag is not None:
        return tag
    match = _TAG(key)
    if match is None:
        raise ConfigError(f"{key}: no keyword of the DICOM dictionary, and no tag such as 0010,0010")
    return int(match[1] + match[2], 16)


def keyword_of(tag: int) -> str:
    """The keyword of a tag, or its 8 hexadecimal digits."""
    entry = DicomDictionary.get(tag)
    return str(entry[4]) if entry is not None and entry[4] else f"{tag:08X}"


def encode_identifier(keys: Keys, transfer_syntax_uid: str, *, level: str | None = None) -> bytes:
    """The data set that asks for ``keys``; an empty value matches everything.

    level:   Query/Retrieve Level (0008,0052)
    raises:  ConfigError for a key that is no attribute, or a value that its VR cannot have
    """
    wanted: dict[int, Value] = {tag_of(key): value for key, value in keys.items()}
    if level is not None:
        wanted[QUERY_RETRIEVE_LEVEL] = level
    if not _all_ascii(keys):
        wanted[SPECIFIC_CHARACTER_SET] = UTF8
    return _encode(wanted, encoding_of(transfer_syntax_uid))


def _encode(wanted: Mapping[int, Value], encoding: Encoding) -> bytes:
    parts: list[bytes] = []
    for tag, value in sorted(wanted.items()):
        vr = dictionary_vr(tag)
        if vr == "SQ" and not isinstance(value, str):
            inner = [_encode({tag_of(key): item[key] for key in item}, encoding) for item in value]
            parts.append(sequence(tag, inner, encoding))
        elif not isinstance(value, str):
            raise ConfigError(f"{keyword_of(tag)} is no sequence")
        elif value and vr not in TEXT_VRS and vr not in NUMBER_FORMATS and vr != "AT":
            raise ConfigError(f"{keyword_of(tag)} (VR {vr}) cannot be matched by text")
        else:
            parts.append(text_element(tag, vr, value, encoding))
    return b"".join(parts)


def _all_ascii(keys: Keys) -> bool:
    return all(
        value.isascii() if isinstance(value, str) else all(map(_all_ascii, value)) for value in keys.values()
    )


def decode_answer(raw: bytes, transfer_syntax_uid: str) -> Answer:
    """The answer that a peer sent.

    raises: PeerError if it cannot be parsed, has over 20,000 elements or nests deeper than 8
    """
    encoding = encoding_of(transfer_syntax_uid, raw[:6])
    reader = _Reader(raw, encoding)
    try:
        values = reader.values(0, len(raw), encoding.implicit, "", MAX_DEPTH)
    except (NeedMore, CannotUnderstand) as error:
        raise PeerError(f"an identifier that cannot be read: {error}", section="PS3.5 7") from error
    return Answer(values, raw, transfer_syntax_uid)


class _Reader:
    """Reads one data set, within one limit on its elements."""

    def __init__(self, raw: bytes, encoding: Encoding) -> None:
        self._raw, self._encoding = raw, encoding
        self._left = MAX_ELEMENTS

    def values(
        self, start: int, stop: int, implicit: bool, character_set: str, depth: int
    ) -> dict[str, Value]:
        """The elements between two offsets. ``character_set`` is the surrounding one's, until an own is seen."""
        if not depth:
            raise CannotUnderstand(f"sequences nest deeper than {MAX_DEPTH}")
        found: dict[str, Value] = {}
        for element in elements(self._raw, start, stop, self._encoding, implicit=implicit):
            self._left -= 1
            if self._left < 0:
                raise CannotUnderstand(f"more than {MAX_ELEMENTS} elements")
            vr = element.vr if element.vr != "UN" else dictionary_vr(element.tag)
            if vr == "SQ":
                span = (element.start, element.stop)
                found[keyword_of(element.tag)] = [
                    self.values(*item, element.implicit, character_set, depth - 1)
                    for item in self._items(span, element.implicit)
                ]
                continue
            value = self._raw[element.start : element.stop]
            if vr in TEXT_VRS:
                # The identifier as a whole is bounded; a list of failed UIDs must not be cut.
                text = decode_text(value, vr, character_set, len(value))
            elif vr in NUMBER_FORMATS or vr == "AT":
                text = binary_text(value, vr, self._encoding)
            else:
                continue
            if element.tag == SPECIFIC_CHARACTER_SET:
                character_set = text
            found[keyword_of(element.tag)] = text
        return found

    def _items(self, span: tuple[int, int], implicit: bool) -> Iterator[tuple[int, int]]:
        return items(self._raw, *span, self._encoding, implicit=implicit)
