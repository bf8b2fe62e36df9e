"""Elements found by their path, compared with pydicom; damage and noise end in a refusal, never a crash."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from protocols.dataset.elements import NeedMore
from protocols.dataset.finding import find_element, is_encapsulated
from protocols.errors import CannotUnderstand

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def encoded(dataset: Dataset, syntax: str) -> bytes:
    stream = DicomBytesIO(BytesIO().getvalue())
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(stream, dataset)
    written: bytes = stream.getvalue()
    return written


def nested(*, undefined: bool) -> Dataset:
    inner, outer, whole = Dataset(), Dataset(), Dataset()
    inner.EncapsulatedDocument = b"inner!"
    outer.ReferencedSeriesSequence = Sequence([Dataset(), inner])
    whole.ReferencedStudySequence = Sequence([outer])
    whole.EncapsulatedDocument = b"outer!"
    for each, tag in ((whole, "ReferencedStudySequence"), (outer, "ReferencedSeriesSequence")):
        each[tag].is_undefined_length = undefined
        for item in each[tag].value:
            item.is_undefined_length_sequence_item = undefined
    return whole


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("undefined", [False, True])
def test_values_are_found_at_every_depth(syntax: str, undefined: bool) -> None:
    data = b"before" + encoded(nested(undefined=undefined), syntax)

    def value(*path: int) -> bytes | None:
        found = find_element(memoryview(data), 6, syntax, path)
        return None if found is None else data[found.start : found.stop]

    assert value(0x00420011) == b"outer!"
    assert value(0x00081110, 0, 0x00081115, 1, 0x00420011) == b"inner!"
    for nothing in ((0x00420012,), (0x00081110,), (0x00081110, 1, 0x00420011), (0x00081110, 0, 0x00081115, 0, 0x00420011),
                    (0x00420011, 0, 0x00420011), (0x00081110, 10**9, 0x00420011), (0x00081110, 0) * 70 + (1,)):  # fmt: skip
        assert value(*nothing) is None


def test_fragments_are_told_from_a_value() -> None:
    value = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0abcd"
    data = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    found = find_element(memoryview(data), 0, "1.2.840.10008.1.2.4.90", (0x7FE00010,))
    assert found is not None
    assert is_encapsulated(memoryview(data), found)
    assert data[found.start : found.stop] == value
    plain = b"\xe0\x7f\x10\0OB\0\0\x04\0\0\0abcd"
    found = find_element(memoryview(plain), 0, EXPLICIT, (0x7FE00010,))
    assert found is not None
    assert not is_encapsulated(memoryview(plain), found)


@settings(max_examples=300)
@given(st.binary(max_size=120), st.integers(0, 100))
def test_noise_is_nothing_or_a_refusal(noise: bytes, cut: int) -> None:
    good = encoded(nested(undefined=True), EXPLICIT)
    for data in (noise, good[:cut] + noise, good[: len(good) - cut]):
        for path in ((0x00420011,), (0x00081110, 0, 0x00081115, 1, 0x00420011), (0x7FE00010,)):
            try:
                find_element(memoryview(data), 0, EXPLICIT, path)
            except (NeedMore, CannotUnderstand):
                pass
