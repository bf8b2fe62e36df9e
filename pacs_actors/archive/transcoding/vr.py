"""Value representations where none is written, or where the dictionary gives a choice (PS3.5 annex A, PS3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from protocols.dataset.dictionaries import entry_of, private_dictionaries
from protocols.dataset.transfer_syntax import VRS

PIXEL_DATA: Final = 0x7FE00010
UNITS: Final[dict[str, int]] = {
    "US": 2, "SS": 2, "OW": 2, "AT": 2,
    "UL": 4, "SL": 4, "FL": 4, "OL": 4, "OF": 4,
    "UV": 8, "SV": 8, "FD": 8, "OV": 8, "OD": 8,
}  # fmt: skip
"""VR -> bytes of the numbers that depend on the byte order (PS3.5 7.3); 1 for all others."""

_WAVEFORMS: Final = frozenset({0x54000110, 0x54000112, 0x5400100A, 0x54001010})
_LUT_DATA: Final = frozenset({0x00283006, 0x00281200})


class Facts(Struct, frozen=True):
    """What a data set or item says about its own ambiguous elements; 0 or None where it says nothing.

    creators: (group, block) -> private creator (PS3.5 7.8.1)
    """

    pixel_representation: int | None
    bits_allocated: int
    waveform_bits_allocated: int
    lut_entries: int | None
    creators: Mapping[tuple[int, int], str]


def resolve(tag: int, facts: Facts) -> str:
    """The VR of an element that is written without one."""
    group, element = tag >> 16, tag & 0xFFFF
    if group & 1:
        return _private(group, element, facts)
    entry = entry_of(tag)
    vr = str(entry[0]) if entry is not None else "UN"
    return vr if vr in VRS else _choose(tag, vr, facts)


def _choose(tag: int, vr: str, facts: Facts) -> str:
    if vr == "US or SS":
        return "SS" if facts.pixel_representation else "US"
    if tag in _LUT_DATA:
        # A table of one entry is a number (PS3.3 C.11.1.1.1).
        return "US" if facts.lut_entries == 1 else "OW"
    if vr == "OB or OW":
        if tag == PIXEL_DATA:
            return "OB" if 0 < facts.bits_allocated <= 8 else "OW"
        if tag in _WAVEFORMS:
            return "OB" if 0 < facts.waveform_bits_allocated <= 8 else "OW"
        return "OW"
    return "UN"


def _private(group: int, element: int, facts: Facts) -> str:
    if 0x10 <= element <= 0xFF:
        return "LO"
    known = private_dictionaries().get(facts.creators.get((group, element >> 8), ""))
    entry = known.get(f"{group:04X}xx{element & 0xFF:02X}") if known else None
    vr = str(entry[0]) if entry is not None else "UN"
    return vr if vr in VRS else "UN"
