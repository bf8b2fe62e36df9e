"""The dictionaries: they are pydicom's own, and come without pydicom."""

from __future__ import annotations

import subprocess
import sys

import pydicom._dicom_dict
import pydicom._private_dict

from protocols.dataset.dictionaries import DicomDictionary, RepeatersDictionary, private_dictionaries

ALONE = """
import sys
from protocols.dataset.dictionaries import DicomDictionary
assert "pydicom" not in sys.modules
from pydicom._dicom_dict import DicomDictionary as same
from pydicom.datadict import dictionary_VR
assert same is DicomDictionary and dictionary_VR(0x00100010) == "PN"
"""


def test_they_are_those_of_pydicom() -> None:
    assert DicomDictionary is pydicom._dicom_dict.DicomDictionary
    assert RepeatersDictionary is pydicom._dicom_dict.RepeatersDictionary
    assert private_dictionaries() is pydicom._private_dict.private_dictionaries


def test_they_come_without_the_rest_and_the_rest_may_come_later() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
