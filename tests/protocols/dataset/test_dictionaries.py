"""The dictionaries: they are pydicom's own, and come without pydicom."""

from __future__ import annotations

import subprocess
import sys

from pydicom._dicom_dict import DicomDictionary as TheirStandard
from pydicom._dicom_dict import RepeatersDictionary as TheirRepeaters
from pydicom._private_dict import private_dictionaries as their_private
from pydicom._uid_dict import UID_dictionary as their_uids
from pydicom.datadict import dictionary_VR, get_entry, private_dictionary_VR, tag_for_keyword

from protocols.dataset.dictionaries import (
    DicomDictionary,
    RepeatersDictionary,
    UIDDictionary,
    entry_of,
    private_dictionaries,
    private_vr,
    tags_by_keyword,
)

ALONE = """
import sys
from protocols.dataset.dictionaries import DicomDictionary
assert "pydicom" not in sys.modules
from pydicom._dicom_dict import DicomDictionary as same
from pydicom.datadict import dictionary_VR
assert same is DicomDictionary and dictionary_VR(0x00100010) == "PN"
"""


def test_they_are_those_of_pydicom() -> None:
    assert DicomDictionary is TheirStandard
    assert RepeatersDictionary is TheirRepeaters
    assert UIDDictionary is their_uids
    assert private_dictionaries() is their_private


def test_they_come_without_the_rest_and_the_rest_may_come_later() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_attributes_are_found_as_pydicom_finds_them() -> None:
    """Every mask with digits of several kinds in the place of each x, and tags beside those of the standard."""
    tags = [int(mask.replace("x", digit), 16) for mask in RepeatersDictionary for digit in "0123eF"]
    tags += [*DicomDictionary, *(tag ^ 1 << bit for tag in DicomDictionary for bit in (0, 4, 9, 16, 20))]
    for tag in tags:
        try:
            expected = get_entry(tag)
        except KeyError:
            expected = None
        assert entry_of(tag) == expected, f"{tag:08X}"


def test_private_elements_are_found_as_pydicom_finds_them() -> None:
    for creator, known in private_dictionaries().items():
        for mask in known:
            tag = int(mask.replace("x", "1"), 16)
            try:
                expected = private_dictionary_VR(tag, creator)
            except KeyError:
                expected = None
            assert private_vr(tag, creator) == expected, (creator, mask)
    assert private_vr(0x00191008, "SIEMENS MR HEADER") == "CS"
    assert private_vr(0x00091001, "NOBODY'S") is None
    assert private_vr(0x7FE110FF, "SIEMENS CT VA0  COAD") is None


def test_keywords_stand_for_the_tags_that_pydicom_knows() -> None:
    assert all(tag_for_keyword(keyword) == tag for keyword, tag in tags_by_keyword().items())
    assert "" not in tags_by_keyword()
    assert len(tags_by_keyword()) > 4000
    assert dictionary_VR(tags_by_keyword()["PatientName"]) == "PN"
