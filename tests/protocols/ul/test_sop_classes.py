"""Our fixed tables against the registries of pydicom and pynetdicom."""

from __future__ import annotations

import subprocess
import sys

from pydicom.uid import UID, UID_dictionary
from pynetdicom import sop_class as peer

from protocols.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from protocols.ul import sop_classes as ours


def test_every_storage_class_of_the_standard_is_there() -> None:
    assert set(peer._STORAGE_CLASSES.values()) <= set(ours.STORAGE)


def test_storage_classes_are_named_as_in_the_standard_and_current() -> None:
    for uid, keyword in ours.STORAGE.items():
        if uid in UID_dictionary:
            assert (UID(uid).keyword, UID(uid).is_retired) == (keyword, False)


def test_retired_storage_classes_are_retired() -> None:
    for uid, keyword in ours.RETIRED_STORAGE.items():
        assert (UID(uid).keyword, UID(uid).is_retired) == (keyword, True)


def test_query_retrieve_classes_are_the_peers() -> None:
    theirs = {peer._QR_CLASSES[name] for name in peer._QR_CLASSES if name.startswith(("Patient", "Study"))}
    assert theirs == ours.FIND | ours.MOVE | ours.GET
    assert peer.Verification == ours.VERIFICATION
    assert peer.StorageCommitmentPushModel == ours.STORAGE_COMMITMENT_PUSH_MODEL
    assert peer.StorageCommitmentPushModelInstance == ours.STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE


def test_transfer_syntaxes_are_all_that_can_hold_an_image() -> None:
    known = set(ours.ALL_TRANSFER_SYNTAXES)
    assert len(known) == len(ours.ALL_TRANSFER_SYNTAXES)
    assert all(UID(uid).is_transfer_syntax for uid in known)
    left_out = {
        UID(uid).keyword
        for uid, entry in UID_dictionary.items()
        if entry[1] == "Transfer Syntax" and uid not in known
    }
    assert left_out == {
        "RFC2557MIMEEncapsulation",
        "XMLEncoding",
        "Papyrus3ImplicitVRLittleEndian",
        "SMPTEST211020UncompressedProgressiveActiveVideo",
        "SMPTEST211020UncompressedInterlacedActiveVideo",
        "SMPTEST211030PCMDigitalAudio",
    }
    assert all(UID(uid).is_encapsulated for uid in (*ours.ENCAPSULATED, *ours.RETIRED_ENCAPSULATED))
    assert not any(UID(uid).is_encapsulated for uid in ours.UNCOMPRESSED)


def test_we_name_ourselves_as_the_standard_allows() -> None:
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_the_tables_need_none_of_the_big_registries() -> None:
    code = (
        "import sys, protocols.ul.sop_classes; print([m for m in sys.modules if 'dicom' in m.split('.')[0]])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
