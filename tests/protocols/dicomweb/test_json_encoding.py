"""DICOM JSON into bytes: against pydicom's reader, and what hostile JSON gets."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset

from protocols.dicomweb.json_encoding import BulkPart, EncodedInstance, Span, data_sets, encode_instance
from protocols.errors import CannotUnderstand

FILES = Path(pydicom.data.__file__).parent / "test_files"
EXPLICIT = "1.2.840.10008.1.2.1"


def whole(made: EncodedInstance, received: bytes = b"") -> bytes:
    return b"".join(
        part if isinstance(part, bytes) else received[part.offset : part.offset + part.length]
        for part in made.segments
    )


def decoded(made: EncodedInstance, received: bytes = b"") -> Dataset:
    return read_dataset(BytesIO(whole(made, received)), False, True)


def one(vr: str, **members: Any) -> dict[str, Any]:
    return {"00091010": {"vr": vr, **members}}


def test_every_bundled_file_comes_back_as_pydicom_wrote_it() -> None:
    compared, refused = 0, []
    for name in sorted(FILES.rglob("*.dcm")):
        try:
            source = dcmread(name)
            text = json.dumps(source.to_json_dict(1 << 40, lambda _: "")).encode()
            again = Dataset.from_json(text.decode())
        except Exception:  # pydicom itself cannot: nothing to compare with
            continue
        if "PixelData" in source and source["PixelData"].is_undefined_length:
            continue
        (data_set,) = data_sets(text)
        try:
            made = encode_instance(data_set, {})
        except CannotUnderstand:
            refused.append(name.name)
            continue
        back = decoded(made)
        for element in again:
            if (
                element.tag.group > 2
                and element.tag.element
                and element.tag != 0x00080005
                and element.VR != "SQ"
            ):
                assert back[element.tag].value == element.value or str(back[element.tag].value) == str(element.value), (
                    name, element,
                )  # fmt: skip
        compared += 1
    assert compared >= 35
    assert refused == []


@pytest.mark.parametrize(
    ("vr", "values", "expected"),
    [
        ("US", [1, 65535], b"\1\0\xff\xff"), ("SL", [-1], b"\xff\xff\xff\xff"), ("UV", ["7"], b"\7" + bytes(7)),
        ("AT", ["00100020"], b"\x10\0\x20\0"), ("DS", [0.1, "2.50"], b"0.1\\2.50"), ("IS", [7, None], b"7\\"),
        ("DS", [1 / 3], b"0.33333333333333"), ("LO", ["ä", None, "b"], "ä\\\\b ".encode()), ("UI", ["1.2.3"], b"1.2.3\0"),
        ("PN", [{"Alphabetic": "Wang^X", "Ideographic": "王"}], "Wang^X=王".encode()), ("CS", [], b""),
    ],
)  # fmt: skip
def test_values_are_written_as_their_vr_has_them(vr: str, values: list[Any], expected: bytes) -> None:
    raw = whole(encode_instance(one(vr, Value=values), {}))
    value = raw[raw.index(b"\x09\0\x10\x10") + (12 if vr in ("UV",) else 8) :]
    assert value == expected + (b" " if len(expected) & 1 else b"")


def test_text_is_marked_as_utf8_whatever_the_json_said() -> None:
    back = decoded(
        encode_instance({"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}, **one("LO", Value=["ä"])}, {})
    )
    assert back.SpecificCharacterSet == "ISO_IR 192"
    assert back[0x00091010].value == "ä"


def test_sequences_nest_and_items_may_be_null() -> None:
    inner = {"00080100": {"vr": "SH", "Value": ["x"]}, "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}
    back = decoded(encode_instance({"00081110": {"vr": "SQ", "Value": [inner, None]}}, {}))
    assert back.ReferencedStudySequence[0].CodeValue == "x"
    assert "SpecificCharacterSet" not in back.ReferencedStudySequence[0]
    assert len(back.ReferencedStudySequence[1]) == 0


def test_bulk_data_is_placed_in_sequences_and_padded() -> None:
    data_set = {"00091001": {"vr": "SQ", "Value": [{"00420011": {"vr": "OB", "BulkDataURI": "a"}}]}}
    made = encode_instance(data_set, {"a": [BulkPart(10, 3)]})
    assert Span(10, 3) in made.segments
    back = decoded(made, b"..........abc....")
    assert back[0x00091001].value[0][0x00420011].value == b"abc\0"


def test_frames_become_fragments_of_the_syntax_that_their_part_names() -> None:
    data_set = {"7FE00010": {"vr": "OW", "BulkDataURI": "f"}}
    parts = [BulkPart(0, 3, "image/jls", "1.2.840.10008.1.2.4.81"), BulkPart(3, 2, "image/jls")]
    made = encode_instance(data_set, {"f": parts})
    assert made.transfer_syntax_uid == "1.2.840.10008.1.2.4.81"
    pixel_data = decoded(made, b"abcde").PixelData
    assert list(generate_frames(pixel_data, number_of_frames=2)) == [b"abc\0", b"de"]


@pytest.mark.parametrize(
    ("head", "syntax"),
    [
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xc0", "50"),
        (b"\xff\xd8\xff\xc1\0\x0b", "51"),
        (b"\xff\xd8\xff\xc3\0\x0b", "70"),
        (b"", "70"),
    ],
)
def test_a_jpeg_that_does_not_name_its_process_is_looked_at(head: bytes, syntax: str) -> None:
    data_set = {"7FE00010": {"vr": "OB", "BulkDataURI": "f"}}
    made = encode_instance(data_set, {"f": [BulkPart(0, 2, "image/jpeg", "", head + b"\0\0")]})
    assert made.transfer_syntax_uid == f"1.2.840.10008.1.2.4.{syntax}"


def test_uncompressed_syntaxes_become_explicit_little_endian() -> None:
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"):
        data_set = {
            "00020010": {"vr": "UI", "Value": [syntax]},
            **one("OB", InlineBinary=base64.b64encode(b"ab").decode()),
        }
        assert encode_instance(data_set, {}).transfer_syntax_uid == EXPLICIT


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"00081110": {"vr": "SQ", "Value": [found]}}
    return found


@pytest.mark.parametrize(
    "data_set",
    [
        {"x": {"vr": "LO"}}, {"0010002": {"vr": "LO"}}, {"00100020": 1}, {"00100020": {"vr": "ZZ"}}, {"00100020": {}},
        one("LO", Value=[1]), one("LO", Value="a"), one("LO", Value=[True]), one("US", Value=[70000]), one("US", Value=["x"]),
        one("US", Value=[None]), one("AT", Value=["zz"]), one("OB", Value=[1]), one("OB", InlineBinary="a"),
        one("OB", InlineBinary=7),
        one("OB", InlineBinary="", Value=[1]), one("OB", BulkDataURI="elsewhere"), one("OB", BulkDataURI=["x"]),
        one("SQ", BulkDataURI="x"), one("SQ", Value=[1]), one("SQ", Value={}), one("PN", Value=[{"Alphabetic": 1}]),
        one("LO", Value=["x" * 70000]), one("LO", Value=["\ud800"]), nested(40),
        {"00100020": {"vr": "LO"}, "0010002a": {"vr": "LO"}, "0010002A": {"vr": "LO"}},
    ],
)  # fmt: skip
def test_what_no_data_set_can_hold_is_refused(data_set: dict[str, Any]) -> None:
    with pytest.raises(CannotUnderstand):
        encode_instance(data_set, {})


def test_a_part_longer_than_an_element_is_refused() -> None:
    with pytest.raises(CannotUnderstand, match="longer"):
        encode_instance(one("OB", BulkDataURI="a"), {"a": [BulkPart(0, 1 << 32)]})


@pytest.mark.parametrize(
    "text", [b"", b"{", b"1", b'"x"', b"[1]", b"[" * 100_000, b"\xff", b"[" + b"{}," * 10_001 + b"{}]"]
)
def test_text_that_is_no_list_of_data_sets_is_refused(text: bytes) -> None:
    with pytest.raises(CannotUnderstand):
        data_sets(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
_attribute = st.fixed_dictionaries(
    {"vr": st.sampled_from(["SQ", "OB", "US", "PN", "UI", "AT", "DS", "UN", "XX"])},
    optional={"Value": _json, "InlineBinary": _json, "BulkDataURI": _json},
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[0-9A-F]{8}", fullmatch=True) | st.text(max_size=8), _attribute, max_size=4
    )
)
def test_any_json_is_encoded_or_refused(data_set: dict[str, Any]) -> None:
    try:
        made = encode_instance(data_set, {})
    except CannotUnderstand:
        return
    assert all(isinstance(part, bytes) for part in made.segments)
