from __future__ import annotations

import json
import struct
import zlib

import pytest
from corpus import PYDICOM_DATA, UNDEFINED, explicit, implicit, instance
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dataset.deflate import MAX_INFLATED_BYTES
from protocols.dataset.elements import MAX_NESTING, NeedMore
from protocols.dataset.part10 import parse_prefix
from protocols.dataset.record import ScannedInstance
from protocols.dataset.scan import MAX_WALKED_BYTES, MAX_WINDOWS, WINDOW_BYTES, HeaderScanner, scan
from protocols.dataset.text import MAX_TEXT
from protocols.errors import CannotUnderstand, ConfigError, DataSetMismatch, PacsError

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PATIENT_NAME, PATIENT_ID, INSTITUTION, COMMENTS = 0x00100010, 0x00100020, 0x00080080, 0x00104000
PIXELS = explicit(0x7FE00010, "OW", bytes(64))


def scanned(data: bytes, syntax: str = EXPLICIT) -> ScannedInstance:
    return scan(data, syntax, complete=True)


def value(data: bytes, tag: int) -> str | None:
    return scanned(data).values.get(tag)


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, wbits=-15)
    return stream.compress(data) + stream.flush()


def as_implicit(data: bytes) -> bytes:
    """The same short-VR elements with implicit VR."""
    out, at = b"", 0
    while at < len(data):
        group, element, _, length = struct.unpack_from("<HH2sH", data, at)
        out += struct.pack("<HHI", group, element, length) + data[at + 8 : at + 8 + length]
        at += 8 + length
    return out


def nested(levels: int, *, defined: bool) -> bytes:
    inner = b""
    for _ in range(levels):
        if defined:
            inner = explicit(0x00081115, "SQ", implicit(ITEM, inner))
        else:
            item = implicit(ITEM, length=UNDEFINED) + inner + implicit(ITEM_END)
            inner = explicit(0x00081115, "SQ", length=UNDEFINED) + item + implicit(SEQUENCE_END)
    return inner


def test_every_uncompressed_syntax_gives_the_same_record() -> None:
    data = instance(
        t00100010=explicit(PATIENT_NAME, "PN", b"Doe^Jane"), t00280010=explicit(0x00280010, "US", b"\0\2")
    )
    big = b"".join(
        struct.pack(">HH", tag >> 16, tag & 0xFFFF) + vr + struct.pack(">H", len(raw)) + raw
        for tag, vr, raw in (
            (0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
            (0x00080018, b"UI", b"1.2.3.4\0"),
            (PATIENT_NAME, b"PN", b"Doe^Jane"),
            (0x0020000D, b"UI", b"1.2\0"),
            (0x0020000E, b"UI", b"1.2.3\0"),
            (0x00280010, b"US", b"\2\0"),
        )
    )
    first = scanned(data)
    assert first.values[0x00280010] == "512"
    assert (first.sop_instance_uid, first.study_instance_uid) == ("1.2.3.4", "1.2")
    for raw, syntax in (
        (as_implicit(data), IMPLICIT),
        (big, BIG_ENDIAN),
        (deflated(data), DEFLATED),
        (data, JPEG),
        (as_implicit(data), JPEG),
        (as_implicit(data), EXPLICIT),
        (data, IMPLICIT),
    ):
        other = scanned(raw, syntax)
        assert (other.values, other.transfer_syntax_uid) == (first.values, syntax)


@pytest.mark.parametrize("missing", ["t00080016", "t00080018", "t0020000D", "t0020000E"])
def test_missing_empty_or_malformed_uid_is_a_mismatch(missing: str) -> None:
    tag = int(missing[1:], 16)
    for element in (
        b"",
        explicit(tag, "UI"),
        explicit(tag, "UI", b"../../x\0"),
        explicit(tag, "UI", b"1" * 65 + b"\0"),
    ):
        with pytest.raises(DataSetMismatch) as refusal:
            scanned(instance(**{missing: element}))
        assert refusal.value.dimse_status == 0xA900
        assert "../" not in str(refusal.value)


def test_uids_may_have_leading_zeros_and_64_characters() -> None:
    uid = b"1.02." + b"3" * 59
    assert scanned(instance(t00080018=explicit(0x00080018, "UI", uid))).sop_instance_uid == uid.decode()


@pytest.mark.parametrize(
    ("vr", "tag", "raw", "text"),
    [
        ("LO", INSTITUTION, b" General \0", "General"),
        ("LO", INSTITUTION, b"   ", None),
        ("LO", INSTITUTION, b"a \\ b", "a\\b"),
        ("LO", INSTITUTION, b" \\ ", None),
        ("LO", INSTITUTION, b"a\\\\b", "a\\\\b"),
        ("LO", INSTITUTION, b"a\0b", "a\ufffdb"),
        ("LO", INSTITUTION, b"a\tb\x1b[2J", "a b\ufffd[2J"),
        ("LT", COMMENTS, b"  two\r\nlines  ", "  two\r\nlines"),
        ("LT", COMMENTS, b"a\0b", "a\ufffdb"),
        ("LO", INSTITUTION, b"x" * 2000, "x" * MAX_TEXT),
        ("PN", PATIENT_NAME, b"<script>^x\r\ny", "<script>^x  y"),
    ],
)
def test_values_are_trimmed_cleaned_and_bounded(vr: str, tag: int, raw: bytes, text: str | None) -> None:
    assert value(instance(**{f"t{tag:08X}": explicit(tag, vr, raw)}), tag) == text


def test_text_of_any_vr_and_un_is_taken() -> None:
    assert value(instance(t00100020=explicit(PATIENT_ID, "SH", b"4711")), PATIENT_ID) == "4711"
    assert value(instance(t00100020=explicit(PATIENT_ID, "UN", b"4711")), PATIENT_ID) == "4711"
    assert value(instance(t00200013=explicit(0x00200013, "US", b"\7\0")), 0x00200013) == "7"
    assert value(instance(t00280010=explicit(0x00280010, "UN", b"\7\0")), 0x00280010) == "7"


def test_unknown_vr_letters_and_private_elements_are_passed() -> None:
    data = instance(
        t00090010=explicit(0x00090010, "LO", b"ACME"),
        t00091001=explicit(0x00091001, "OB", b"1234"),
        t00091002=implicit(0x00091002, b"12"),
        t00100020=explicit(PATIENT_ID, "LO", b"4711"),
    )
    assert value(data, PATIENT_ID) == "4711"


def test_the_character_set_decodes_names_and_only_what_it_is_for() -> None:
    data = instance(
        t00080005=explicit(0x00080005, "CS", b"ISO_IR 144"),
        t00080060=explicit(0x00080060, "CS", b"\xbb\xee"),
        t00100010=explicit(PATIENT_NAME, "PN", b"\xbb\xee\xda\x63"),
    )
    found = scanned(data)
    assert (found.character_set, found.values[PATIENT_NAME]) == ("ISO_IR 144", "Люкc")
    assert found.values[0x00080060] == "»î"


def request_item(*, defined: bool) -> bytes:
    steps = explicit(0x00400007, "LO", b"CT Thorax ") + explicit(0x00400009, "SH", b"S1")
    if defined:
        return explicit(0x00400275, "SQ", implicit(ITEM, steps))
    item = implicit(ITEM, length=UNDEFINED) + steps + implicit(ITEM_END)
    return explicit(0x00400275, "SQ", length=UNDEFINED) + item + implicit(SEQUENCE_END)


@pytest.mark.parametrize("defined", [True, False])
def test_request_attributes_become_dicom_json(defined: bool) -> None:
    found = scanned(instance(t00400275=request_item(defined=defined)) + PIXELS)
    assert json.loads(found.values[0x00400275]) == [
        {"00400007": {"vr": "LO", "Value": ["CT Thorax"]}, "00400009": {"vr": "SH", "Value": ["S1"]}}
    ]


def test_damaged_request_attributes_hurt_nothing_else() -> None:
    broken = explicit(0x00400275, "SQ", implicit(ITEM, b"x" * 20, length=400))
    assert 0x00400275 not in scanned(instance(t00400275=broken) + PIXELS).values


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_are_passed_up_to_the_nesting_limit(defined: bool) -> None:
    data = instance(
        t00081115=nested(MAX_NESTING, defined=defined), t00100020=explicit(PATIENT_ID, "LO", b"4711")
    )
    assert value(data, PATIENT_ID) == "4711"
    with pytest.raises(CannotUnderstand, match="nest"):
        scanned(instance(t00081115=nested(3 * MAX_NESTING, defined=defined)))


def test_undefined_length_is_passed_in_implicit_and_un() -> None:
    inner = implicit(ITEM, length=UNDEFINED) + implicit(PATIENT_ID, b"inside") + implicit(ITEM_END)
    sequence = implicit(0x00081115, length=UNDEFINED) + inner + implicit(SEQUENCE_END)
    head, tail = as_implicit(instance())[:50], as_implicit(instance())[50:]
    assert head.endswith(b"1.2.3.4\0")
    assert (
        scanned(head + sequence + implicit(PATIENT_ID, b"4711") + tail, IMPLICIT).values[PATIENT_ID] == "4711"
    )
    un = explicit(0x00091010, "UN", length=UNDEFINED) + inner + implicit(SEQUENCE_END)
    assert value(instance(t00091010=un, t00100020=explicit(PATIENT_ID, "LO", b"4711")), PATIENT_ID) == "4711"
    wanted = explicit(INSTITUTION, "UN", length=UNDEFINED) + inner + implicit(SEQUENCE_END)
    assert value(instance(t00080080=wanted), INSTITUTION) is None


def test_a_length_past_the_end_is_refused_or_asks_for_more() -> None:
    data = instance(t00091001=explicit(0x00091001, "OB", b"12", length=0xFFFFFFF0))
    with pytest.raises(CannotUnderstand):
        scanned(data)
    with pytest.raises(NeedMore) as more:
        scan(data, EXPLICIT, complete=False)
    assert more.value.offset > 0xFFFFFFF0


def test_half_an_element_header_at_the_end_is_refused_but_zeros_are_padding() -> None:
    with pytest.raises(CannotUnderstand):
        scanned(instance() + b"\x28\0\x10")
    assert scanned(instance() + b"\0\0").sop_instance_uid == "1.2.3.4"


def test_the_beginning_suffices_once_the_last_wanted_tag_is_passed() -> None:
    data = instance(t00100020=explicit(PATIENT_ID, "LO", b"4711")) + PIXELS
    whole = scanned(data)
    for size in range(len(data)):
        part = memoryview(data)[:size]
        try:
            assert scan(part, EXPLICIT, complete=False) == whole
            assert size >= len(data) - len(PIXELS) + 8
        except NeedMore as more:
            assert size < more.offset <= len(data)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
def test_headers_larger_than_a_window_are_read_on(syntax: str) -> None:
    filler = b"".join(explicit(0x00091000 + at, "LO", b"x" * 61 + b" ") for at in range(WINDOW_BYTES // 30))
    data = instance()[:50] + filler + explicit(PATIENT_ID, "LO", b"4711") + instance()[50:]
    raw = {EXPLICIT: data, IMPLICIT: as_implicit(data), DEFLATED: deflated(data)}[syntax]
    assert scanned(raw, syntax).values[PATIENT_ID] == "4711"


def test_values_that_cross_a_window_are_whole() -> None:
    for shift in range(0, 80, 2):
        size = WINDOW_BYTES - 100 - len(instance()[:50]) + shift
        filler = explicit(0x00091001, "UT", b"x" * size)
        name = explicit(PATIENT_NAME, "PN", b"Abcdefghijklmnopqrstuvwx^Yz ")
        data = instance()[:50] + filler + name + instance()[50:]
        found = scanned(data)
        assert (found.values[PATIENT_NAME], found.study_instance_uid) == (
            "Abcdefghijklmnopqrstuvwx^Yz",
            "1.2",
        )


def test_endless_headers_are_refused() -> None:
    one = explicit(0x00091001, "LO", b"")
    with pytest.raises(CannotUnderstand, match="larger"):
        scanned(instance()[:50] + one * (MAX_WALKED_BYTES // len(one) + WINDOW_BYTES))


def test_endless_large_elements_are_refused() -> None:
    one = explicit(0x00091001, "OB", bytes(WINDOW_BYTES))
    with pytest.raises(CannotUnderstand, match="larger"):
        scanned(instance()[:50] + one * (MAX_WINDOWS + 1))


def test_a_deflate_bomb_in_front_of_the_wanted_tags_is_refused() -> None:
    bomb = explicit(0x00091001, "OB", bytes(2 * MAX_INFLATED_BYTES))
    with pytest.raises(CannotUnderstand, match="inflates"):
        scanned(deflated(instance()[:50] + bomb + instance()[50:]), DEFLATED)
    with pytest.raises(CannotUnderstand):
        scanned(deflated(instance())[:30], DEFLATED)
    with pytest.raises(CannotUnderstand, match="damaged"):
        scanned(b"\xff" * 100, DEFLATED)
    with pytest.raises(NeedMore):
        scan(deflated(instance())[:30], DEFLATED, complete=False)


def test_unsorted_data_sets_are_scanned_as_far_as_they_go() -> None:
    assert value(explicit(PATIENT_ID, "LO", b"4711") + instance(), PATIENT_ID) == "4711"
    with pytest.raises(DataSetMismatch):
        scanned(PIXELS + instance())


def test_custom_attributes_are_found_and_impossible_ones_refused() -> None:
    private, slope = 0x00291001, 0x00281053
    scanner = HeaderScanner({private: "LO", slope: "DS", 0x00409096: "FD", 0x00280009: "AT"})
    data = instance(
        t00291001=explicit(private, "LO", b"mine"),
        t00281053=explicit(slope, "DS", b"1.5 "),
        t00409096=explicit(0x00409096, "FD", struct.pack("<2d", 0.5, 2)),
        t00280009=explicit(0x00280009, "AT", struct.pack("<2H", 0x18, 0x1063)),
    )
    found = scanner.scan(data + PIXELS, EXPLICIT, complete=True).values
    assert [found[tag] for tag in (private, slope, 0x00409096, 0x00280009)] == [
        "mine",
        "1.5",
        "0.5\\2.0",
        "00181063",
    ]
    assert scan(data, EXPLICIT, custom={slope: "DS"}, complete=True).values[slope] == "1.5"
    for custom in ({private: "OB"}, {0x7FE00010: "OW"}, {0x7FE10010: "LO"}):
        with pytest.raises(ConfigError):
            HeaderScanner(custom)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_implicit.dcm", "ExplVR_BigEnd.dcm", "rtplan.dcm", "image_dfl.dcm"]
)
def test_every_truncation_is_scanned_or_refused(name: str) -> None:
    raw = (PYDICOM_DATA / "test_files" / name).read_bytes()
    found = parse_prefix(raw)
    data = memoryview(raw)[found.data_offset :]
    whole = scan(data, found.transfer_syntax_uid, complete=True)
    refused = 0
    for size in range(0, min(len(data), 6000)):
        part = data[:size]
        for complete in (True, False):
            try:
                assert (
                    scan(part, found.transfer_syntax_uid, complete=complete).sop_instance_uid
                    == whole.sop_instance_uid
                )
            except PacsError as error:
                assert isinstance(error, NeedMore) is not complete
                refused += 1
    assert refused > 100


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG]), st.booleans()
)
def test_random_bytes_give_typed_errors_only(raw: bytes, syntax: str, complete: bool) -> None:
    with pytest.raises(PacsError):
        scan(raw, syntax, complete=complete)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_real_headers_give_a_record_or_typed_errors(data: st.DataObject) -> None:
    raw = bytearray((PYDICOM_DATA / "test_files" / "CT_small.dcm").read_bytes()[346:3600])
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = scan(bytes(raw), EXPLICIT, complete=True)
    except PacsError:
        return
    for text in found.values.values():
        assert text
        assert "\0" not in text
        assert len(text) <= 10240
