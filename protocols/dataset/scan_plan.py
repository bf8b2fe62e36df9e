"""What the header scan looks for, compiled into tables that are looked up with the raw bytes of a header."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from protocols.dataset.attributes import INDEXED, SPECIFIC_CHARACTER_SET
from protocols.dataset.dictionaries import DicomDictionary
from protocols.dataset.text import TEXT_VRS
from protocols.dataset.transfer_syntax import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    LONG_VRS,
    NUMBER_FORMATS,
    SHORT_VRS,
    Encoding,
)
from protocols.errors import ConfigError

# What to do with an element, beside "it is the text of attribute <tag>" (the tag itself) and "it is the one
# 16-bit number of attribute <tag>" (minus the tag).
SKIP: Final = 0
SKIP_LONG: Final = -1
GENERAL: Final = -2
STOP: Final = -3

FLOAT_PIXEL_DATA: Final = 0x7FE00008
INDEXABLE_VRS: Final = TEXT_VRS | NUMBER_FORMATS.keys() | {"AT"}


class Actions(dict[bytes, int]):
    """Raw header start -> what to do. Knows the standard's attributes; others are worked out each time.

    The key is the tag, followed by the VR unless it is implicit, as they stand in the data set. Not a cache:
    nothing that a peer sends makes it grow.
    """

    def __init__(self, encoding: Encoding, wanted: Mapping[int, str], highest: int) -> None:
        super().__init__()
        self._encoding, self._wanted, self._highest = encoding, wanted, highest
        for tag, entry in DicomDictionary.items():
            if tag <= highest and tag not in wanted:
                for vr in entry[0].split(" or "):
                    self._add(tag, vr)
        for tag, vr in wanted.items():
            self._add(tag, vr)

    def _add(self, tag: int, vr: str) -> None:
        if vr not in SHORT_VRS and vr not in LONG_VRS:
            return
        key = self._encoding.tag_bytes(tag) + (b"" if self._encoding.implicit else vr.encode())
        self[key] = self._action(tag, vr)

    def _action(self, tag: int, vr: str) -> int:
        implicit = self._encoding.implicit
        if tag in self._wanted:
            if vr not in LONG_VRS and vr == self._wanted[tag]:
                if vr in TEXT_VRS:
                    return tag
                if vr == "US":
                    return -tag
            return GENERAL
        if implicit:
            return SKIP_LONG if vr == "SQ" else SKIP
        return SKIP_LONG if vr in LONG_VRS else SKIP

    def __missing__(self, key: bytes) -> int:
        group, element = self._encoding.tag.unpack_from(key)
        tag = group << 16 | element
        if tag > self._highest:
            return STOP
        if tag in self._wanted:
            return GENERAL
        if self._encoding.implicit:
            return SKIP
        vr = key[4:].decode("latin-1")
        if vr in SHORT_VRS:
            return SKIP
        return SKIP_LONG if vr in LONG_VRS else GENERAL


class Plan:
    """Which attributes are wanted, and the tables for each encoding.

    wanted:  tag -> VR
    highest: the last of them; behind it the scan may end
    """

    def __init__(self, custom: Mapping[int, str]) -> None:
        """custom: tag -> VR of attributes besides ``INDEXED``; ConfigError for what cannot be indexed."""
        for tag, vr in custom.items():
            if vr not in INDEXABLE_VRS:
                raise ConfigError(f"index.custom_attributes: {tag:08X} has VR {vr}, which cannot be indexed")
            if not 0x00080000 <= tag < FLOAT_PIXEL_DATA:
                raise ConfigError(f"index.custom_attributes: {tag:08X} is outside of what is scanned")
        self.wanted = {attribute.tag: attribute.vr for attribute in INDEXED if not attribute.derived}
        self.wanted[SPECIFIC_CHARACTER_SET] = "CS"
        self.wanted = {**custom, **self.wanted}
        self.highest = max(self.wanted)
        self._tables = {
            encoding: (
                Actions(encoding, self.wanted, self.highest),
                struct.Struct(
                    (">" if encoding.big_endian else "<") + ("4sI" if encoding.implicit else "6sH")
                ),
            )
            for encoding in (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
        }

    def tables(self, encoding: Encoding) -> tuple[Actions, struct.Struct]:
        """(what to do by header start, layout of header start and length)"""
        return self._tables[encoding]
