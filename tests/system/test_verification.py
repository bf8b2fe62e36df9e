"""C-ECHO with peers that are not ours, and with our own command."""

from __future__ import annotations

import subprocess
import sys

from pynetdicom import AE

from tests.system import peers
from tests.system.server import Server

VERIFICATION = "1.2.840.10008.1.1"


def test_dcmtk_is_answered(node: Server) -> None:
    assert (
        peers.dcmtk("echoscu", "-aec", node.aet, "--repeat", 10, "127.0.0.1", node.dicom_port).returncode == 0
    )


def test_dcmtk_is_answered_in_every_uncompressed_transfer_syntax(node: Server) -> None:
    done = peers.dcmtk("echoscu", "-aec", node.aet, "-pts", 3, "-ppc", 40, "127.0.0.1", node.dicom_port)
    assert done.returncode == 0, done.stderr


def test_pynetdicom_is_answered(node: Server) -> None:
    with peers.opened(node, [(VERIFICATION, peers.IMPLICIT)]) as association:
        assert [association.send_c_echo(n).Status for n in (1, 2, 65535)] == [0, 0, 0]


def test_our_own_command_is_answered(node: Server) -> None:
    command = [
        sys.executable,
        "-m",
        "supervisors.cli",
        "echo",
        f"127.0.0.1:{node.dicom_port}",
        "--called",
        node.aet,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_another_called_title_is_rejected(node: Server) -> None:
    done = peers.dcmtk("echoscu", "-aec", "SOMEONE", "127.0.0.1", node.dicom_port)
    assert done.returncode != 0
    assert "Called AE Title Not Recognized" in done.stderr


def test_contexts_that_are_not_offered_are_refused_one_by_one(node: Server) -> None:
    worklist = "1.2.840.10008.5.1.4.31"
    entity = AE(ae_title="SCU")
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(worklist)
    association = entity.associate("127.0.0.1", node.dicom_port, ae_title=node.aet)
    assert association.is_established
    assert [one.abstract_syntax for one in association.accepted_contexts] == [VERIFICATION]
    assert [(one.abstract_syntax, one.result) for one in association.rejected_contexts] == [(worklist, 3)]
    association.release()
