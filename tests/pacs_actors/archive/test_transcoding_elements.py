from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from pacs_actors.archive.transcoding.convert import MAX_INFLATED_RATIO
from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.archive.transcoding.syntaxes import CODECS, convertible
from protocols.dataset.elements import MAX_NESTING

from .transcoding_data import (
    BIG_ENDIAN,
    BUNDLED,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SHARED,
    TARGETS,
    Stored,
    encode,
    item,
    part10,
    stored,
    tags,
)

# Cut short, or (DICOMDIR-nooffset) with a length that leads nowhere.
DAMAGED = {
    "MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset", "3gb-bulk-data-truncated", "bad.dcm",
}  # fmt: skip
# Pixels of 32 bits: the standard swaps the words of OW (PS3.5 7.3), pydicom the whole pixel.
PIXEL_DATA = 0x7FE00010
WORDS_OF_32_BITS = {"rtdose_expb.dcm", "rtdose_expb_1frame.dcm"}
FILES = [path for path in part10(BUNDLED, SHARED) if path.name not in DAMAGED]
UNCOMPRESSED = [path for path in FILES if stored(path).syntax in TARGETS]


def test_there_are_files_to_convert() -> None:
    assert len(UNCOMPRESSED) > 50
    assert {stored(path).syntax for path in UNCOMPRESSED} == set(TARGETS)


@pytest.mark.parametrize("path", UNCOMPRESSED, ids=lambda path: path.name)
def test_pydicom_reads_the_same_from_every_form(path: Path) -> None:
    source = stored(path)
    for target in TARGETS:
        expected = source.read()
        made = source.to(target)
        found = made.read()
        assert tags(found) == tags(expected)
        for tag in tags(expected):
            if not (path.name in WORDS_OF_32_BITS and tag == PIXEL_DATA):
                same(expected, found, tag)


def same(expected: Dataset, found: Dataset, tag: int) -> None:
    """Compare one element; what pydicom itself cannot read is left out."""
    if isinstance(expected.get_item(tag), RawDataElement) and expected.get_item(tag).VR == "UN":
        # What UN holds stays as it is in any byte order (PS3.5 6.2.2); pydicom guesses at it all the same.
        return
    try:
        left = expected[tag]
    except Exception:
        return
    right = found[tag]
    if left.VR == "SQ" and right.VR == "SQ":
        assert len(left.value) == len(right.value), left.tag
        for one, other in zip(left.value, right.value, strict=True):
            for inner in tags(one):
                same(one, other, inner)
    elif isinstance(left.value, bytes) and isinstance(right.value, bytes):
        assert octets(left, expected).rstrip(b"\0") == octets(right, found).rstrip(b"\0"), left.tag
    elif left.VR == right.VR:
        assert left.value == right.value or str(left.value) == str(right.value), left.tag


def octets(element: DataElement, holder: Dataset) -> bytes:
    """pydicom leaves the numbers of OW and the like in the order of the file."""
    value: bytes = element.value
    unit = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}.get(element.VR, 1)
    if holder.original_encoding[1]:
        return value
    return b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit))


@pytest.mark.parametrize(
    "path", [path for path in UNCOMPRESSED if BUNDLED in path.parents], ids=lambda path: path.name
)
def test_there_and_back_ends_where_it_began(path: Path) -> None:
    """Explicit to explicit and back is exact to the byte, whatever is in between."""
    first = stored(path).to(EXPLICIT)
    for between in (EXPLICIT, DEFLATED, BIG_ENDIAN):
        again = first.to(between).to(EXPLICIT)
        if between != BIG_ENDIAN:
            assert again.data == first.data
        else:
            # A byte order of its own makes sequences be written anew; a second round changes nothing more.
            assert again.to(BIG_ENDIAN).to(EXPLICIT).data == again.data


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if vr in ("OB", "OW", "SQ", "UN", "UT", "OF", "OV"):
        return struct.pack("<HH2sHI", group, element, vr.encode(), 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr.encode(), len(value)) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


UNDEFINED = 0xFFFFFFFF
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_values_stay_to_the_byte() -> None:
    """Wrong characters, a strange number, trailing spaces: none of our business."""
    data = explicit(0x00080005, "CS", b"ISO_IR 192") + explicit(0x00100010, "PN", b"\xff\xfe^ \xc3   ")
    data += explicit(0x00101030, "DS", b"  07.50 ") + explicit(0x00104000, "LT", b"a\r\n b   ")
    made = Stored(data, EXPLICIT).to(IMPLICIT)
    assert made.data == (
        implicit(0x00080005, b"ISO_IR 192")
        + implicit(0x00100010, b"\xff\xfe^ \xc3   ")
        + implicit(0x00101030, b"  07.50 ")
        + implicit(0x00104000, b"a\r\n b   ")
    )
    assert made.to(EXPLICIT).data == data


@pytest.mark.parametrize(("representation", "vr"), [(0, "US"), (1, "SS")])
def test_us_or_ss_follows_the_pixel_representation_of_the_nearest_data_set(
    representation: int, vr: str
) -> None:
    inner = implicit(0x00283002, struct.pack("<HHH", 1, 2, 16)) + implicit(0x00283006, struct.pack("<H", 9))
    data = (
        implicit(0x00280103, struct.pack("<H", representation))
        + implicit(0x00280120, struct.pack("<h", -5))
        + implicit(0x00283000, item(inner))
    )
    found = Stored(data, IMPLICIT).to(EXPLICIT).read()
    assert vr == found[0x00280120].VR
    assert found[0x00280120].value == (-5 if representation else 65531)
    assert vr == found[0x00283000].value[0][0x00283002].VR
    assert found[0x00283000].value[0][0x00283006].VR == "US"


@pytest.mark.parametrize(("bits", "vr"), [(8, "OB"), (16, "OW")])
def test_pixel_data_get_the_vr_of_their_bits(bits: int, vr: str) -> None:
    data = implicit(0x00280100, struct.pack("<H", bits)) + implicit(0x7FE00010, b"\1\2\3\4")
    assert vr == Stored(data, IMPLICIT).to(EXPLICIT).read()[0x7FE00010].VR
    swapped = Stored(data, IMPLICIT).to(BIG_ENDIAN).data[-4:]
    assert swapped == (b"\1\2\3\4" if bits == 8 else b"\2\1\4\3")


def test_private_elements_get_the_vr_of_their_creator_and_else_un() -> None:
    data = (
        implicit(0x00190010, b"GEMS_ACQU_01")
        + implicit(0x00191002, struct.pack("<i", 7))
        + implicit(0x00210010, b"NOBODY KNOWS")
        + implicit(0x00211001, b"\1\2\3\4")
    )
    found = Stored(data, IMPLICIT).to(EXPLICIT).read()
    assert (found[0x00191002].VR, found[0x00191002].value) == ("SL", 7)
    assert (found[0x00211001].VR, found[0x00211001].value) == ("UN", b"\1\2\3\4")
    assert Stored(data, IMPLICIT).to(EXPLICIT).to(IMPLICIT).data == data


def test_repeating_groups_are_known() -> None:
    data = implicit(0x60020010, struct.pack("<H", 3)) + implicit(0x60023000, b"\1\2")
    found = Stored(data, IMPLICIT).to(EXPLICIT).read()
    assert (found[0x60020010].VR, found[0x60023000].VR) == ("US", "OW")


def test_a_text_too_long_for_its_vr_becomes_un() -> None:
    data = implicit(0x00104000, b"x" * 70_000)
    assert Stored(data, IMPLICIT).to(EXPLICIT).data[:12] == struct.pack(
        "<HH2sHI", 0x10, 0x4000, b"UN", 0, 70_000
    )


def test_un_of_undefined_length_stays_un_and_implicit_inside() -> None:
    items = implicit(0xFFFEE000, b"", UNDEFINED) + implicit(0x00280010, b"\1\2") + ITEM_END + SEQUENCE_END
    data = (
        struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, UNDEFINED)
        + items
        + explicit(0x00100020, "LO", b"ID")
    )
    assert Stored(data, EXPLICIT).to(EXPLICIT).data == data
    assert Stored(data, EXPLICIT).to(IMPLICIT).data == (
        implicit(0x00091001, b"", UNDEFINED) + items + implicit(0x00100020, b"ID")
    )
    assert items in Stored(data, EXPLICIT).to(BIG_ENDIAN).data


def test_group_lengths_are_left_out_and_odd_values_padded() -> None:
    data = explicit(0x00100000, "UL", struct.pack("<I", 99)) + explicit(0x00100020, "LO", b"ODD")
    assert Stored(data, EXPLICIT).to(EXPLICIT).data == explicit(0x00100020, "LO", b"ODD ")


def test_what_the_dictionary_calls_a_sequence_and_is_none_becomes_un() -> None:
    data = implicit(0x0040A170, b"NO SEQUENCE ")
    assert Stored(data, IMPLICIT).to(EXPLICIT).data == explicit(0x0040A170, "UN", b"NO SEQUENCE ")


def test_a_sequence_of_known_length_is_taken_as_it_is_when_only_the_deflation_changes() -> None:
    damaged = explicit(0x00081140, "SQ", item(b"\xff" * 20)) + explicit(0x00100020, "LO", b"ID")
    assert Stored(damaged, EXPLICIT).to(EXPLICIT).data == damaged
    with pytest.raises(CannotTranscode):
        Stored(damaged, EXPLICIT).to(IMPLICIT)


@pytest.mark.parametrize("depth", [1, MAX_NESTING - 2])
def test_nesting_up_to_the_limit(depth: int) -> None:
    data = implicit(0x00100020, b"ID")
    for _ in range(depth):
        data = implicit(0x00081140, item(data))
    assert (
        Stored(data, IMPLICIT).to(EXPLICIT).to(BIG_ENDIAN).to(IMPLICIT).read()
        == Stored(data, IMPLICIT).read()
    )


@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 500, 5000])
@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_beyond_the_limit_is_refused(depth: int, undefined: bool) -> None:
    if undefined:
        open_ = implicit(0x00081140, b"", UNDEFINED) + implicit(0xFFFEE000, b"", UNDEFINED)
        data = open_ * depth + (ITEM_END + SEQUENCE_END) * depth
    else:
        data = b""
        for _ in range(min(depth, 1000)):
            data = implicit(0x00081140, item(data))
    with pytest.raises(CannotTranscode):
        Stored(data, IMPLICIT).to(EXPLICIT)


def deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-15)
    return stream.compress(data) + stream.flush()


def test_a_deflated_data_set_inflates_and_may_end_in_a_pad() -> None:
    data = explicit(0x00100020, "LO", b"ID")
    assert Stored(deflate(data) + b"\0", DEFLATED).to(EXPLICIT).data == data
    assert Stored(deflate(data + b"\0"), DEFLATED).to(EXPLICIT).data == data
    assert len(Stored(data, EXPLICIT).to(DEFLATED).data) % 2 == 0


def test_a_deflate_bomb_is_refused() -> None:
    bomb = deflate(explicit(0x7FE00010, "OB", bytes(40_000_000)))
    assert 40_000_000 / len(bomb) > MAX_INFLATED_RATIO
    with pytest.raises(CannotTranscode, match="beyond our limits"):
        Stored(bomb, DEFLATED).to(EXPLICIT)


def test_a_cut_or_damaged_deflated_data_set_is_refused() -> None:
    whole = deflate(explicit(0x00100020, "LO", bytes(range(64)) * 40))
    for data in (whole[:-20], b"\xff" + whole[1:], b"\x03\x00"):
        with pytest.raises(CannotTranscode):
            Stored(data, DEFLATED).to(EXPLICIT)


def test_the_output_has_a_limit() -> None:
    data = explicit(0x7FE00010, "OB", bytes(3_000_000))
    with pytest.raises(CannotTranscode, match="larger than"):
        Stored(data, EXPLICIT).to(IMPLICIT, max_bytes=2_000_000)


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_what_is_damaged_is_refused(name: str) -> None:
    for path in (BUNDLED / name, *SHARED.rglob(name)):
        if path.is_file():
            with pytest.raises(CannotTranscode):
                stored(path).to(IMPLICIT)


def test_what_cannot_be_converted_is_known_beforehand() -> None:
    video = "1.2.840.10008.1.2.4.102"
    assert not convertible(video, EXPLICIT)
    assert not convertible(EXPLICIT, "1.2.840.10008.1.2.4.90")
    assert all(convertible(source, target) for source in (*TARGETS, *CODECS) for target in TARGETS)
    with pytest.raises(CannotTranscode):
        Stored(explicit(0x00100020, "LO", b"ID"), video).to(EXPLICIT)


NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FD": "d", "FL": "f"}
TAGS = {
    "US": 0x00280010, "SS": 0x00189219, "UL": 0x00081161, "SL": 0x00186020, "FD": 0x00189073, "FL": 0x00109431,
    "LO": 0x00100020, "PN": 0x00100010, "OW": 0x00281201, "AT": 0x00280009, "UT": 0x0040A160, "UI": 0x0020000D,
}  # fmt: skip


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 2) -> Dataset:
    made = Dataset()
    for vr in draw(st.sets(st.sampled_from(sorted(TAGS)))):
        if vr in NUMBERS:
            size = struct.calcsize(NUMBERS[vr])
            raw_value = draw(st.binary(min_size=size, max_size=size))
            value: object = struct.unpack("<" + NUMBERS[vr], raw_value)[0]
            if isinstance(value, float) and math.isnan(value):
                continue
        elif vr == "AT":
            value = draw(st.integers(0, 0xFFFFFFFF))
        elif vr == "OW":
            value = draw(st.binary(max_size=9).map(lambda found: found[: len(found) // 2 * 2]))
        elif vr == "UI":
            value = draw(st.from_regex(r"[1-9](\.[1-9]){0,8}", fullmatch=True))
        else:
            value = draw(st.text("abc^= é", max_size=9)).strip()
        made.add(DataElement(TAGS[vr], vr, value))
    if depth and draw(st.booleans()):
        items = draw(st.lists(data_sets(depth=depth - 1), max_size=3))
        made.add(DataElement(0x00081140, "SQ", items))
    made.add(DataElement(0x00080005, "CS", "ISO_IR 192"))
    return made


@given(data_sets(), st.lists(st.sampled_from(TARGETS), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_data_set_survives_any_way(made: Dataset, way: list[str]) -> None:
    current = Stored(encode(made), EXPLICIT)
    expected = current.read()
    for target in (*way, EXPLICIT):
        current = current.to(target)
    assert current.read() == expected


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_refused_or_survived_but_nothing_else(draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(["MR_small.dcm", "priv_SQ.dcm", "UN_sequence.dcm", "MR_small_expb.dcm"]))
    source = stored(BUNDLED / name)
    data = bytearray(source.data[:4000])
    for _ in range(draw.draw(st.integers(1, 8))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at : at + draw.draw(st.integers(0, 4))] = draw.draw(st.binary(max_size=4))
    try:
        Stored(bytes(data) or b"\0", source.syntax).to(draw.draw(st.sampled_from(TARGETS)))
    except CannotTranscode:
        pass
