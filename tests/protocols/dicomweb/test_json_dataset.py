"""Data sets as DICOM JSON: the same as pydicom makes of every file there is, by our rules for bulk data, and hostile ones."""

from __future__ import annotations

import json
import struct
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_files
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items

from protocols.dataset.deflate import MAX_INFLATED_BYTES, Inflater
from protocols.dataset.part10 import parse_prefix
from protocols.dataset.transfer_syntax import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_deflated,
)
from protocols.dicomweb import json_dataset
from protocols.dicomweb.json_attributes import INLINE_BINARY_BYTES, INLINE_BYTES, INLINE_TEXT_BYTES
from protocols.dicomweb.json_dataset import DataSetJson, Memory
from protocols.errors import CannotUnderstand

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "dicom"
BASE = b"http://pacs/instances/1/bulkdata"
Json = dict[str, dict[str, Any]]


def converted(data: bytes, syntax: str, window: int = 65536, memory: Memory | None = None) -> Json:
    made = DataSetJson(syntax, len(data), memory or Memory())
    while made.offset < made.size:
        made.feed(data[made.offset : made.offset + max(window, made.wanted)])
    result: Json = json.loads(made.json(BASE))
    return result


def encoded(dataset: Dataset, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian = syntax != EXPLICIT_VR_BIG_ENDIAN
    stream.is_implicit_VR = syntax == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(stream, dataset)
    return stream.getvalue()


# -- files ------------------------------------------------------------------------------------------------------------------
# Ours are told as far as they are whole; pydicom's way with them differs, or there is none.
BROKEN = {
    "badVR.dcm": "pydicom makes no JSON of it",
    "rtplan_truncated.dcm": "cut off in a sequence: pydicom keeps the items before",
    "DICOMDIR-nooffset": "no composite instance, and damaged",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "cut off within its file meta information",
    "Tag-0040-A170-VR-CS.dcm": "a sequence that says it is a code string",
}
# Behind encapsulated pixel data we do not look: there is padding, and once a test's private block.
BEHIND_PIXELS = 0x7FE00010


def files() -> list[Path]:
    bundled = [Path(name) for name in get_testdata_files()]
    found = [*bundled, *SHARED.rglob("*")] if SHARED.is_dir() else bundled
    return sorted({path for path in found if path.is_file()})


def whole(path: Path) -> tuple[bytes, str]:
    raw = path.read_bytes()
    prefix = parse_prefix(raw)
    data = raw[prefix.data_offset :]
    if is_deflated(prefix.transfer_syntax_uid):
        inflater = Inflater(data)
        inflater.grow(MAX_INFLATED_BYTES)
        data = bytes(inflater.inflated)
    return data, prefix.transfer_syntax_uid


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key in sorted({*ours, *theirs}):
        mine, other = ours.get(key), theirs.get(key)
        if key.endswith("0000") or (mine is None and not path and int(key, 16) > BEHIND_PIXELS):
            continue  # no group lengths in DICOM JSON
        if mine is None or other is None:
            yield f"{path}{key}: only {'pydicom' if mine is None else 'we'} have it"
        elif mine["vr"] != other["vr"]:
            yield f"{path}{key}: {mine['vr']}, pydicom {other['vr']}"
        elif mine["vr"] == "SQ":
            items = mine.get("Value", []), other.get("Value", [])
            if len(items[0]) != len(items[1]):
                yield f"{path}{key}: {len(items[0])} items, pydicom {len(items[1])}"
            for number, (one, two) in enumerate(zip(*items, strict=False)):
                yield from differences(one, two, f"{path}{key}/{number}/")
        elif "BulkDataURI" in mine:
            if mine["BulkDataURI"] != f"{BASE.decode()}/{path}{key}":
                yield f"{path}{key}: {mine['BulkDataURI']}"
        elif "InlineBinary" in mine or "InlineBinary" in other:
            # Inline binary is little endian for us, whatever the file is; pydicom gives it as it lies there.
            one, two = b64decode(mine.get("InlineBinary", "")), b64decode(other.get("InlineBinary", ""))
            if one != two and one != swapped(two):
                yield f"{path}{key}: {len(one)} bytes, pydicom {len(two)}"
        elif not alike(mine.get("Value", []), other.get("Value", [])) and key != "00080005":
            yield f"{path}{key}: {mine.get('Value')}, pydicom {other.get('Value')}"


def swapped(words: bytes) -> bytes:
    return b"".join(words[at : at + 2][::-1] for at in range(0, len(words), 2))


def alike(mine: list[Any], other: list[Any]) -> bool:
    """pydicom keeps leading spaces, and makes of every IS and DS a number, exactly or not."""
    return len(mine) == len(other) and all(map(_alike, mine, other))


def _alike(mine: Any, other: Any) -> bool:
    if isinstance(mine, str) and isinstance(other, str):
        return mine.strip(" \0") == other.strip(" \0")
    if isinstance(other, int | float) and mine is not None:
        return float(mine) == float(other)
    return bool(mine == other) or not (mine or other)


def test_of_every_file_the_same_is_made_as_by_pydicom_at_once_and_by_small_windows() -> None:
    compared, found = 0, []
    for path in files():
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")
            patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
            try:
                dataset = dcmread(path)
                theirs = dataset.to_json_dict(
                    bulk_data_threshold=1 << 40, bulk_data_element_handler=lambda _: ""
                )
                data, syntax = whole(path)
            except Exception:  # what pydicom or the inflater does not take is no measure
                continue
        if path.name in BROKEN:
            continue
        compared += 1
        ours = converted(data, syntax)
        found += [f"{path.name}: {each}" for each in differences(ours, theirs)]
        if len(data) < 65536 and converted(data, syntax, window=300) != ours:
            found.append(f"{path.name}: another by small windows")
    assert found == []
    assert compared > 60


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_of_a_broken_file_is_told_what_is_whole(name: str) -> None:
    for path in files():
        if path.name == name:
            try:
                data, syntax = whole(path)
            except CannotUnderstand:
                continue
            assert isinstance(converted(data, syntax), dict)


# -- what is made of values -------------------------------------------------------------------------------------------------
SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)


def sample() -> Dataset:
    inner = Dataset()
    inner.CodeValue, inner.ICCProfile = "T-1", b"\1" * (INLINE_BINARY_BYTES + 2)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 144"
    dataset.PatientName = "Люкceмбypг"
    dataset.ImageType = ["ORIGINAL", "", "AXIAL"]
    dataset.PatientComments = "a\\b\r\n"
    dataset.PixelRepresentation = 1
    dataset.SmallestImagePixelValue = -5
    dataset.ImagePositionPatient = ["1.500", "-2", "1e1"]
    dataset.FrameIncrementPointer = [0x00181063, 0x00181065]
    dataset.RecommendedDisplayFrameRateInFloat = 0.1
    dataset.OpticalPathSequence = Items([Dataset(), inner])
    dataset.RedPaletteColorLookupTableData = b"\x01\x02\x03\x04"
    dataset.StudyDescription = None
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_data_set_is_the_same_in_every_encoding(syntax: str) -> None:
    made = converted(encoded(sample(), syntax), syntax)
    assert list(made) == sorted(made)
    assert made["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert made["00100010"]["Value"] == [{"Alphabetic": "Люкceмбypг"}]
    assert made["00080008"]["Value"] == ["ORIGINAL", None, "AXIAL"]
    assert made["00104000"]["Value"] == ["a\\b\r\n"]
    assert made["00280106"] == {"vr": "SS", "Value": [-5]}
    assert made["00200032"]["Value"] == [1.5, -2, 10.0]
    assert made["00280009"]["Value"] == ["00181063", "00181065"]
    assert made["00081030"] == {"vr": "LO"}
    empty, inner = made["00480105"]["Value"]
    assert empty == {} and inner["00080100"] == {"vr": "SH", "Value": ["T-1"]}
    assert inner["00282000"] == {"vr": "OB", "BulkDataURI": f"{BASE.decode()}/00480105/1/00282000"}
    assert made["00281201"]["vr"] == "OW"


def element(tag: int, vr: str, value: bytes) -> bytes:
    long = vr in ("OB", "OW", "UN", "UT", "UC", "SQ", "OF", "UR")
    size = b"\0\0" + struct.pack("<I", len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + size + value


def made_of(*parts: bytes) -> Json:
    return converted(b"".join(parts), EXPLICIT_VR_LITTLE_ENDIAN)


FIRST = element(0x00080016, "UI", b"1.2\0")


@pytest.mark.parametrize(
    ("vr", "limit"),
    [("OB", INLINE_BINARY_BYTES), ("UN", INLINE_BINARY_BYTES), ("UT", INLINE_TEXT_BYTES), ("UC", INLINE_TEXT_BYTES)],
)  # fmt: skip
def test_beyond_a_limit_a_value_is_bulk_data(vr: str, limit: int) -> None:
    tag = 0x00091010
    inside = made_of(FIRST, element(tag, vr, b"a" * limit))["00091010"]
    assert "BulkDataURI" not in inside and len(inside) == 2
    beyond = made_of(FIRST, element(tag, vr, b"a" * (limit + 2)))["00091010"]
    assert beyond == {"vr": vr, "BulkDataURI": f"{BASE.decode()}/00091010"}


def test_pixel_data_is_bulk_data_whatever_its_size_and_what_stands_behind_is_told() -> None:
    made = made_of(FIRST, element(0x7FE00010, "OW", b"ab"), element(0xFFFCFFFC, "OB", b"\0\0"))
    assert made["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{BASE.decode()}/7FE00010"}
    assert made["FFFCFFFC"] == {"vr": "OB", "InlineBinary": b64encode(b"\0\0").decode()}


def test_bulk_data_is_not_read() -> None:
    pixels = 50_000_000
    head = FIRST + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, pixels)
    made = DataSetJson(EXPLICIT_VR_LITTLE_ENDIAN, len(head) + pixels, Memory())
    made.feed(head)
    assert made.offset == made.size and b"7FE00010" in made.json(BASE)


def test_elements_out_of_order_are_sorted_and_of_repeated_ones_the_last_counts() -> None:
    made = made_of(
        FIRST,
        element(0x00200010, "SH", b"b "),
        element(0x00100020, "LO", b"x "),
        element(0x00200010, "SH", b"c "),
    )
    assert list(made) == ["00080016", "00100020", "00200010"]
    assert made["00200010"]["Value"] == ["c"]


def test_an_unknown_vr_is_looked_up_also_for_private_attributes() -> None:
    creator = element(0x00191010 & 0xFFFF00FF, "LO", b"GEMS_ACQU_01")
    made = made_of(
        FIRST, element(0x00180050, "UN", b"1.5 "), creator, element(0x00191002, "UN", b"\x07\0\0\0")
    )
    assert made["00180050"] == {"vr": "DS", "Value": [1.5]}
    assert made["00191002"] == {"vr": "SL", "Value": [7]}
    strange = made_of(FIRST, element(0x00191002, "UN", b"\x07\0\0\0"))
    assert strange["00191002"] == {"vr": "UN", "InlineBinary": b64encode(b"\x07\0\0\0").decode()}


def test_what_is_remembered_of_one_instance_is_right_for_the_next() -> None:
    memory = Memory()
    for name, term in (("Müller", "ISO_IR 100"), ("Мюллер", "ISO_IR 144"), ("Müller", "ISO_IR 100")):
        for signed in (0, 1):
            dataset = sample()
            dataset.SpecificCharacterSet, dataset.PatientName = term, name
            dataset.PixelRepresentation, dataset.SmallestImagePixelValue = signed, -5 if signed else 65531
            for syntax in SYNTAXES:
                data = encoded(dataset, syntax)
                assert converted(data, syntax, memory=memory) == converted(data, syntax)


def test_a_series_is_told_as_each_of_its_instances_alone_is() -> None:
    """Elements that came behind each other before are taken together, as long as all of them are the same."""
    random, memory = Random(5), Memory()
    for number in range(60):
        dataset = sample()
        dataset.SOPInstanceUID, dataset.InstanceNumber = f"1.2.{number}", str(number)
        for keyword in ("SliceThickness", "KVP", "StationName", "BodyPartExamined", "PatientComments"):
            match random.randrange(4):
                case 0:
                    setattr(dataset, keyword, str(random.randrange(3)))
                case 1 if keyword in dataset:
                    delattr(dataset, keyword)
        for syntax in SYNTAXES:
            data = encoded(dataset, syntax)
            cut = data[: random.randrange(len(data))]
            assert converted(cut, syntax, memory=memory) == converted(cut, syntax)
            assert converted(data, syntax, memory=memory) == converted(data, syntax)


def test_what_is_remembered_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_dataset, "_MOST_RUNS", 3)
    memory = Memory()
    for number in range(20):
        data = b"".join(element(0x00100010 + n, "LO", b"%02d" % number) for n in range(5))
        assert converted(data, EXPLICIT_VR_LITTLE_ENDIAN, memory=memory) == converted(
            data, EXPLICIT_VR_LITTLE_ENDIAN
        )
        converted(data, EXPLICIT_VR_LITTLE_ENDIAN, memory=memory)
    assert all(len(known.runs) <= 3 for known in memory._contexts.values())


def test_the_same_bulk_data_in_two_items_has_two_addresses() -> None:
    item = Dataset()
    item.ICCProfile = bytes(1500)
    dataset = Dataset()
    dataset.OpticalPathSequence = Items([item, item])
    first, second = converted(encoded(dataset), EXPLICIT_VR_LITTLE_ENDIAN)["00480105"]["Value"]
    assert first["00282000"]["BulkDataURI"].endswith("/00480105/0/00282000")
    assert second["00282000"]["BulkDataURI"].endswith("/00480105/1/00282000")


# -- hostile ----------------------------------------------------------------------------------------------------------------
def nested(depth: int) -> bytes:
    begin = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth


def test_nesting_has_a_limit() -> None:
    assert "0040A730" in made_of(FIRST, nested(60))
    assert list(made_of(FIRST, nested(5000))) == ["00080016"]


def test_the_number_of_elements_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_dataset, "MAX_ELEMENTS", 50)
    many = b"".join(element(0x00090010 + n, "LO", b"%d " % (n + 10)) for n in range(80))
    assert len(made_of(FIRST, many)) == 50
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 80
    assert list(made_of(FIRST, element(0x00081140, "SQ", items))) == ["00080016"]


def test_what_is_read_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_dataset, "MAX_READ_BYTES", 10_000)
    values = [element(0x00090010 + n, "LO", b"%04d" % n * 500) for n in range(20)]
    made = converted(FIRST + b"".join(values), EXPLICIT_VR_LITTLE_ENDIAN, window=1000)
    assert 1 < len(made) < 8
    endless = DataSetJson(EXPLICIT_VR_LITTLE_ENDIAN, 1 << 40, Memory())
    endless.feed(FIRST + element(0x00081140, "SQ", b"")[:-4] + struct.pack("<I", 1 << 30))
    assert endless.offset == endless.size


def test_a_long_value_that_is_no_text_is_bulk_data_too() -> None:
    head = FIRST + struct.pack("<HHI", 0x0020, 0x0032, 1 << 30)
    implicit = struct.pack("<HHI", 0x0008, 0x0016, 4) + b"1.2\0" + head[len(FIRST) :]
    made = DataSetJson(IMPLICIT_VR_LITTLE_ENDIAN, 1 << 31, Memory())
    made.feed(implicit)
    assert b'"00200032":{"vr":"DS","BulkDataURI"' in made.json(BASE) and INLINE_BYTES < 1 << 30


def test_a_damaged_sequence_that_says_where_it_ends_costs_nothing_else() -> None:
    broken = element(0x00081140, "SQ", b"\xfe\xff\x00\xe0\xff\xff\xff\xffgarbage!")
    made = made_of(FIRST, broken, element(0x00100020, "LO", b"P1"))
    assert list(made) == ["00080016", "00100020"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_gives_an_object(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    whole_one = bytearray(encoded(sample(), syntax))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(whole_one) - 1))
        whole_one[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole_one)))
    assert isinstance(
        converted(bytes(whole_one[:cut]), syntax, window=data.draw(st.sampled_from([16, 200, 65536]))), dict
    )


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
def test_any_bytes_give_an_object(raw: bytes, syntax: str) -> None:
    assert isinstance(converted(raw, syntax), dict)


@pytest.mark.parametrize("own", [None, "1.2.3"])
@pytest.mark.parametrize("first", ["00080018", "00081030"])
def test_the_syntax_that_it_is_available_in_is_told_once_and_in_its_place(
    own: str | None, first: str
) -> None:
    dataset = Dataset()
    dataset.add_new(int(first, 16), "UI" if first == "00080018" else "LO", "1.2")
    dataset.PatientID = "X"
    if own is not None:
        dataset.add_new(0x00083002, "UI", own)
    data = encoded(dataset)
    made = DataSetJson(EXPLICIT_VR_LITTLE_ENDIAN, len(data), Memory())
    made.feed(data)
    told = json.loads(made.json(BASE, "1.2.840.10008.1.2.4.102"))
    assert list(told) == sorted([first, "00083002", "00100020"])
    assert told["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.102"]}
    assert ("00083002" in json.loads(made.json(BASE))) == (own is not None)
