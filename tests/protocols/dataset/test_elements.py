from __future__ import annotations

import json
import zlib

import pytest
from corpus import UNDEFINED, explicit, implicit
from hypothesis import given
from hypothesis import strategies as st

from protocols.dataset.deflate import RATIO_FREE_BYTES, Inflater, inflate
from protocols.dataset.elements import MAX_SEQUENCE_HEADERS, NeedMore, SequenceWalk, elements, items
from protocols.dataset.json_model import (
    MAX_DEPTH,
    MAX_JSON_CHARACTERS,
    MAX_SEQUENCE_BYTES,
    sequence_from_json,
    sequence_to_json,
)
from protocols.dataset.transfer_syntax import EXPLICIT_LE, IMPLICIT_LE, dictionary_vr
from protocols.errors import CannotUnderstand

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
CODES = 0x00081032


def undefined(content: bytes) -> bytes:
    return explicit(CODES, "SQ", length=UNDEFINED) + content + implicit(SEQUENCE_END)


def test_elements_and_items_are_found_with_both_kinds_of_length() -> None:
    code = explicit(0x00080100, "SH", b"X1")
    content = implicit(ITEM, code) + implicit(ITEM, length=UNDEFINED) + code + implicit(ITEM_END)
    data = undefined(content) + explicit(0x00100020, "LO", b"4711")
    sequence, patient = elements(data, 0, len(data), EXPLICIT_LE)
    assert (sequence.tag, sequence.vr, sequence.implicit) == (CODES, "SQ", False)
    assert data[patient.start : patient.stop] == b"4711"
    found = [
        data[start:stop]
        for start, stop in items(data, sequence.start, sequence.stop, EXPLICIT_LE, implicit=False)
    ]
    assert found == [code, code]


@pytest.mark.parametrize(
    "content",
    [
        explicit(0x00080100, "SH", b"X1"),
        implicit(ITEM_END),
        implicit(ITEM, length=UNDEFINED) + implicit(ITEM) + implicit(ITEM_END),
        implicit(ITEM, length=UNDEFINED) + implicit(SEQUENCE_END),
    ],
)
def test_misplaced_items_and_delimiters_cannot_be_understood(content: bytes) -> None:
    data = undefined(content)
    with pytest.raises(CannotUnderstand):
        list(elements(data, 0, len(data), EXPLICIT_LE))


def test_a_delimiter_outside_of_a_sequence_cannot_be_understood() -> None:
    with pytest.raises(CannotUnderstand):
        list(elements(implicit(ITEM_END), 0, 8, IMPLICIT_LE))


@given(st.integers(0, 200))
def test_lengths_past_the_end_need_more(cut: int) -> None:
    data = undefined(implicit(ITEM, explicit(0x00080100, "SH", b"X1") * 15))
    cut = min(cut, len(data) - 1)
    if cut:
        with pytest.raises(NeedMore):
            list(elements(data, 0, cut, EXPLICIT_LE))


def test_fragments_are_passed_unread() -> None:
    fragment = implicit(ITEM, b"\xfe\xff\x00\xe0" * 1000)
    data = explicit(0x00880200, "OB", length=UNDEFINED) + fragment * 3 + implicit(SEQUENCE_END)
    (pixels,) = elements(data, 0, len(data), EXPLICIT_LE)
    assert pixels.end == len(data)


def test_the_number_of_headers_inside_sequences_is_limited() -> None:
    data = implicit(ITEM) * (MAX_SEQUENCE_HEADERS + 1) + implicit(SEQUENCE_END)
    with pytest.raises(CannotUnderstand, match="elements"):
        SequenceWalk(data, len(data), EXPLICIT_LE).behind_sequence(0, implicit=False)


@pytest.mark.parametrize(
    ("tag", "vr"),
    [(0x00100010, "PN"), (0x00280106, "US"), (0x00080000, "UL"), (0x00290010, "LO"), (0x00291001, "UN")],
)
def test_dictionary_vr(tag: int, vr: str) -> None:
    assert dictionary_vr(tag) == vr


def test_sequences_survive_the_way_through_json() -> None:
    content = implicit(
        ITEM,
        explicit(0x00080100, "SH", b"X1")
        + explicit(0x00100010, "PN", b"Doe=\xe7\x8e\x8b ")
        + explicit(0x00101030, "DS", b"1.5\\2.50\\x")
        + explicit(0x00200013, "IS", b"7 ")
        + explicit(0x00280009, "AT", b"\x18\x00\x63\x10")
        + explicit(0x00280010, "US", b"\x00\x02"),
    )
    text = sequence_to_json(content, EXPLICIT_LE, implicit=False, character_set="ISO_IR 192")
    (item,) = json.loads(text)
    assert item["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe", "Ideographic": "王"}]}
    assert item["00101030"]["Value"] == [1.5, "2.50", "x"]
    assert item["00200013"]["Value"] == [7]
    assert item["00280009"]["Value"] == ["00181063"]
    encoded = sequence_from_json(CODES, text, EXPLICIT_LE)
    assert encoded == explicit(CODES, "SQ", content)


def test_items_own_character_set_goes_first_and_binary_values_are_left_out() -> None:
    own = explicit(0x00080005, "CS", b"ISO_IR 144") + explicit(0x00080104, "LO", b"\xbb\xee")
    content = implicit(ITEM, own + explicit(0x00281201, "OW", b"12"))
    text = sequence_to_json(content, EXPLICIT_LE, implicit=False, character_set="ISO_IR 100")
    assert json.loads(text) == [{"00080104": {"vr": "LO", "Value": ["Лю"]}}]


def test_json_is_bounded_in_size_and_depth() -> None:
    item = implicit(ITEM, explicit(0x00080104, "LO", b"x" * 1000))
    text = sequence_to_json(item * 60, EXPLICIT_LE, implicit=False, character_set="")
    assert 5 < len(json.loads(text)) < 11
    assert len(text) <= MAX_JSON_CHARACTERS
    big = implicit(ITEM, bytes(MAX_SEQUENCE_BYTES))
    assert sequence_to_json(big, EXPLICIT_LE, implicit=False, character_set="") == ""
    deep = b""
    for _ in range(MAX_DEPTH * 2):
        deep = explicit(CODES, "SQ", implicit(ITEM, deep))
    text = sequence_to_json(implicit(ITEM, deep), EXPLICIT_LE, implicit=False, character_set="")
    assert text.count("00081032") == MAX_DEPTH - 1


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense", "[[]]"])
def test_text_that_is_no_dicom_json_is_an_empty_sequence(text: str) -> None:
    assert sequence_from_json(CODES, text, EXPLICIT_LE) == explicit(CODES, "SQ")


def deflated(raw: bytes, level: int = 9) -> bytes:
    stream = zlib.compressobj(level, wbits=-15)
    return stream.compress(raw) + stream.flush()


@given(st.binary(max_size=3000), st.integers(1, 4000))
def test_inflating_stops_where_asked(raw: bytes, size: int) -> None:
    inflater = Inflater(deflated(raw))
    inflater.grow(size)
    assert raw.startswith(bytes(inflater.inflated))
    assert len(inflater.inflated) >= min(size, len(raw))
    assert inflate(deflated(raw), 3000) == raw


def test_inflating_is_limited_in_size_and_ratio() -> None:
    raw = bytes(range(256)) * 16
    assert inflate(deflated(raw, 0), len(raw)) == raw
    with pytest.raises(CannotUnderstand, match="limits"):
        inflate(deflated(raw, 0), len(raw) - 1)
    zeros = deflated(bytes(2 * RATIO_FREE_BYTES))
    with pytest.raises(CannotUnderstand, match="limits"):
        inflate(zeros, 100 * RATIO_FREE_BYTES)
    with pytest.raises(CannotUnderstand, match="early"):
        inflate(deflated(raw)[:-4], len(raw))
