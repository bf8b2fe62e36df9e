"""The scan over generated data sets: any mixture of sequences, lengths and syntaxes, written by pydicom."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from protocols.dataset.attributes import INDEXED
from protocols.dataset.scan import scan

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

TEXTS = {
    attribute.tag: attribute.vr
    for attribute in INDEXED
    if attribute.vr in {"LO", "SH", "PN"} and not attribute.derived
}
UIDS = {0x00080016: "1.2.5", 0x00080018: "1.2.3.4", 0x0020000D: "1.2", 0x0020000E: "1.2.3"}
# Referenced Study, Procedure Code, a private one, Request Attributes and one behind all that is wanted
SEQUENCES = {0x00081110, 0x00081032, 0x00291010, 0x00400275, 0x00400555}
WORDS = st.text("abcXYZ^ äöü", min_size=1, max_size=60)


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    dataset = Dataset()
    for tag, text in draw(st.dictionaries(st.sampled_from(sorted(TEXTS)), WORDS, max_size=6)).items():
        dataset.add_new(tag, TEXTS[tag], text)
    if depth:
        for tag in draw(st.sets(st.sampled_from(sorted(SEQUENCES)), max_size=2)):
            items = draw(st.lists(datasets(depth - 1), max_size=2))
            dataset.add_new(tag, "SQ", Sequence(items))
            dataset[tag].is_undefined_length = draw(st.booleans())
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
    return dataset


def written(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG_ENDIAN
    write_dataset(buffer, dataset)
    raw: bytes = buffer.getvalue()
    if syntax != DEFLATED:
        return raw
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(raw) + stream.flush()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
@settings(deadline=None, max_examples=60)
@given(dataset=datasets())
def test_what_pydicom_writes_is_found(syntax: str, dataset: Dataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    for tag, uid in UIDS.items():
        dataset.add_new(tag, "UI", uid)
    found = scan(written(dataset, syntax), syntax, complete=True)
    expected = {tag: text for tag in TEXTS if tag in dataset and (text := str(dataset[tag].value).strip(" "))}
    got = {tag: text for tag, text in found.values.items() if tag in TEXTS}
    assert got == expected
    request = dataset.get(0x00400275)
    assert (0x00400275 in found.values) is bool(request is not None and request.value)
