"""The scan against pydicom, on every file at hand."""

from __future__ import annotations

import tracemalloc
import warnings
from pathlib import Path

import pydicom
import pytest
from corpus import HOSTILE_FILES, PYDICOM_FILES, SHARED_FILES, needs_hostile, needs_shared
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from protocols.dataset.attributes import INDEXED
from protocols.dataset.part10 import parse_prefix
from protocols.dataset.record import ScannedInstance
from protocols.dataset.scan import scan
from protocols.dataset.text import MAX_LONG_TEXT, MAX_TEXT
from protocols.errors import CannotUnderstand, DataSetMismatch, PacsError
from tests.pace import work_of

WANTED = [attribute for attribute in INDEXED if not attribute.derived and attribute.vr != "SQ"]


def scan_file(path: Path) -> ScannedInstance:
    raw = path.read_bytes()
    found = parse_prefix(raw)
    return scan(memoryview(raw)[found.data_offset :], found.transfer_syntax_uid, complete=True)


def expected(dataset: Dataset, tag: int, vr: str) -> str:
    """What pydicom has read, as the record describes it."""
    if tag not in dataset or dataset[tag].value is None:
        return ""
    value = dataset[tag].value
    values = value if isinstance(value, MultiValue | list) else [value]
    texts = [
        str(each if vr == "PN" else getattr(each, "original_string", each)).strip(" \0") for each in values
    ]
    if vr == "LT":
        return str(value).rstrip(" \0")[:MAX_LONG_TEXT]
    text = "\\".join(texts) if any(texts) else ""
    return "".join(
        " " if each in "\t\r\n\f" else "\ufffd" if each < " " else each for each in text[:MAX_TEXT]
    )


def same(mine: str, theirs: str, vr: str) -> bool:
    # pydicom drops empty component groups at the end of a person name.
    return mine == theirs or (vr == "PN" and mine.rstrip("= ") == theirs.rstrip("= "))


def compare(files: list[Path]) -> int:
    """Compare all; returns how many were. What pydicom cannot read is left out."""
    compared = 0
    for path in files:
        try:
            mine = scan_file(path)
        except PacsError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            for attribute in WANTED:
                try:
                    text = expected(theirs, attribute.tag, attribute.vr)
                except Exception:
                    continue
                got = mine.values.get(attribute.tag, "")
                assert same(got, text, attribute.vr), (path.name, attribute.keyword, got, text)
            request = theirs.get("RequestAttributesSequence")
        assert bool(request) is (0x00400275 in mine.values), path.name
        compared += 1
    return compared


def test_pydicoms_files_scan_as_pydicom_reads_them() -> None:
    assert compare(PYDICOM_FILES) > 100


@needs_shared
def test_the_shared_files_scan_as_pydicom_reads_them() -> None:
    assert compare(SHARED_FILES) > 200


def test_only_files_without_their_uids_are_refused() -> None:
    for path in [*PYDICOM_FILES, *SHARED_FILES]:
        try:
            scan_file(path)
        except DataSetMismatch:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = pydicom.dcmread(path, force=True, stop_before_pixels=True)
                uids = [
                    str(theirs.get(name) or "")
                    for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
                ]
            assert not all(uid and len(uid) <= 64 and set(uid) <= set("0123456789.") for uid in uids), path
        except CannotUnderstand:
            # One file of pydicom's begins with a stray byte.
            assert path.name == "no_meta.dcm"


@needs_hostile
@pytest.mark.parametrize("path", HOSTILE_FILES, ids=lambda path: path.name)
def test_hostile_file_is_refused_or_bounded(path: Path) -> None:
    raw = path.read_bytes()

    def read() -> None:
        try:
            found = parse_prefix(raw)
            scanned = scan(memoryview(raw)[found.data_offset :], found.transfer_syntax_uid, complete=True)
        except PacsError as refusal:
            assert str(refusal)
            return
        assert all(len(text) <= MAX_LONG_TEXT for text in scanned.values.values())
        assert not any("\0" in text for text in scanned.values.values())

    assert work_of(read) < 80  # two seconds
    tracemalloc.start()
    try:
        read()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 1024 * 1024


@needs_hostile
@pytest.mark.parametrize("name", ["nest_undef_500", "nest_undef_100k", "nest_def_2000"])
def test_deep_nesting_cannot_be_understood(name: str) -> None:
    (path,) = (path for path in HOSTILE_FILES if path.stem == name)
    with pytest.raises(CannotUnderstand, match="nest"):
        scan_file(path)
