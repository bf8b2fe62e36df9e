from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest
from corpus import PYDICOM_DATA, PYDICOM_FILES, SHARED_FILES, needs_shared
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from protocols.dataset.charset import decode, encode

TEXT_VRS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC"}
SINGLE_BYTE = ["100", "101", "109", "110", "126", "127", "138", "144", "148", "166", "203"]


def joined(value: object) -> str:
    return "\\".join(map(str, value)) if isinstance(value, MultiValue | list) else str(value or "")


def differences(dataset: Dataset, character_set: str, seen: set[str]) -> list[tuple[str, str]]:
    """Every text that is not plain ASCII, decoded by us and by pydicom, where they differ."""
    if "SpecificCharacterSet" in dataset:
        character_set = joined(dataset.SpecificCharacterSet)
    different = []
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                different += differences(item, character_set, seen)
        elif isinstance(raw, RawDataElement) and element.VR in TEXT_VRS and isinstance(raw.value, bytes):
            if raw.value.isascii() and b"\x1b" not in raw.value:
                continue
            seen.add(character_set)
            mine = decode(raw.value, character_set, person_name=element.VR == "PN").rstrip("= \0")
            theirs = joined(element.value).rstrip("= \0")
            if mine != theirs:
                different.append((mine, theirs))
    return different


def compare(files: list[Path]) -> set[str]:
    seen: set[str] = set()
    for path in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
                different = differences(dataset, "", seen)
            except (OSError, EOFError, KeyError, NotImplementedError, ValueError):
                continue
        assert not different, path.name
    return seen


def test_pydicoms_files_decode_as_pydicom_decodes_them() -> None:
    seen = compare(PYDICOM_FILES)
    assert seen >= {
        "ISO_IR 100",
        "ISO_IR 126",
        "ISO_IR 127",
        "ISO_IR 138",
        "ISO_IR 144",
        "ISO_IR 192",
        "GB18030",
        "\\ISO 2022 IR 149",
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "\\ISO 2022 IR 87",
    }


@needs_shared
def test_the_shared_files_decode_as_pydicom_decodes_them() -> None:
    assert len(compare(SHARED_FILES)) >= 8


@pytest.mark.parametrize(
    ("raw", "character_set", "text"),
    [
        # PS3.5 H.3.1, H.3.2, I.2, J.1, K.2: the standard's own examples
        (
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "\\ISO 2022 IR 87",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            "\\ISO 2022 IR 149",
            "Hong^Gildong=洪^吉洞",
        ),
        (b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1", "ISO_IR 192", "Wang^XiaoDong=王^小東"),
        (
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
            "\\ISO 2022 IR 58",
            "Zhang^XiaoDong=张^小东",
        ),
        # JIS X 0212, a switch between single-byte sets, and one forgotten after a delimiter
        (b"\x1b$(D0!\x1b(B", "\\ISO 2022 IR 159", "丂"),
        (b"Buc^J\xe9r\xf4me=\x1b-L\xbb\xee\xda", "ISO 2022 IR 100\\ISO 2022 IR 144", "Buc^Jérôme=Люк"),
        (b"=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7", "\\ISO 2022 IR 149", "=洪^吉洞"),
        # spelling that is seen in the field
        (b"\xbb\xee\xda", "iso ir 144 ", "Люк"),
        (b"\xc3\xa9", "UTF-8", "é"),
    ],
)
def test_person_names_of_the_standard(raw: bytes, character_set: str, text: str) -> None:
    assert decode(raw, character_set, person_name=True) == text


def test_second_bytes_that_look_like_delimiters_are_none() -> None:
    # U+8868 is 95 5C in GBK; its backslash is half a character.
    assert decode("表\\b".encode("gbk"), "GBK") == "表\\b"
    # JIS X 0208 pairs with 5CH, 5EH and 3DH in them.
    text = "構申出"
    raw = b"\x1b$B" + bytes(byte & 0x7F for byte in text.encode("euc_jp")) + b"\x1b(B"
    assert decode(raw, "\\ISO 2022 IR 87", person_name=True) == text


@pytest.mark.parametrize(
    "name", ["zlib_codec", "rot13", "idna", "base64", "UTF-7", "unicode_escape", "ISO_IR 9999", "\0"]
)
def test_python_codec_names_and_unknown_terms_count_as_latin1(name: str) -> None:
    assert decode(b"x\x9c\xe9", name) == "x\x9cé"


def test_undecodable_bytes_are_replaced() -> None:
    assert decode(b"a\xffb", "ISO_IR 192") == "a\ufffdb"
    assert decode(b"\x80\xa1", "ISO_IR 13") == "\ufffd｡"
    assert "\ufffd" in decode(b"\x1b$B\x7f\x7f", "\\ISO 2022 IR 87")


@given(st.binary(max_size=60), st.text(max_size=30), st.booleans())
def test_decoding_never_fails(raw: bytes, character_set: str, person_name: bool) -> None:
    assert isinstance(decode(raw, character_set, person_name=person_name), str)


@given(
    st.lists(
        st.sampled_from(
            [
                b"\x1b$B",
                b"\x1b(B",
                b"\x1b(J",
                b"\x1b)I",
                b"\x1b$)C",
                b"\x1b-L",
                b"\x1b$(D",
                b"\x1b",
                b"A^=\\",
                b";3E",
                b"\xb1",
                b"\n",
            ]
        )
    )
)
def test_any_mixture_of_escapes_decodes(parts: list[bytes]) -> None:
    text = decode(b"".join(parts), "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 149", person_name=True)
    assert isinstance(text, str)
    text.encode("utf-8")


@pytest.mark.parametrize("number", SINGLE_BYTE)
def test_single_byte_sets_encode_what_they_decode(number: str) -> None:
    text = decode(bytes(range(0xA1, 0xFF)), f"ISO_IR {number}").replace("\ufffd", "")
    assert len(text) > 40
    assert decode(encode(text, f"ISO_IR {number}"), f"ISO_IR {number}") == text


@given(st.text())
def test_utf8_and_gb18030_encode_everything(text: str) -> None:
    for character_set in ("ISO_IR 192", "GB18030"):
        if text.isprintable():
            assert decode(encode(text, character_set), character_set) == text


def test_what_a_set_cannot_write_becomes_a_question_mark() -> None:
    assert encode("Жé", "ISO_IR 100") == b"?\xe9"
    assert encode("é", "") == b"?"
    assert encode("ﾔA", "ISO_IR 13") == b"\xd4A"
    assert encode("山", "\\ISO 2022 IR 87") == b"?"


def test_pydicoms_charset_folder_is_there() -> None:
    assert len(list((PYDICOM_DATA / "charset_files").glob("*.dcm"))) >= 15
