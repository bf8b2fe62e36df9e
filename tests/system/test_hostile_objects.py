"""An object on the disk that is shorter than the index says: found out while it is sent, and never passed off as whole (F6)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.dimse.commands import Command, CommandField, encode_command
from protocols.ul.model import Abort, Role
from protocols.ul.pdata import encode_message, pdvs
from tests.system.programs import program
from tests.system.raw_peer import (
    CT,
    EXPLICIT_LE,
    GET,
    IMPLICIT_LE,
    MOVE,
    RawPeer,
    ct_data_set,
    eventually,
    well,
)
from tests.system.server import Server, free_port, running

PAYLOAD_BYTES = 3_000_000
WHOLE, CUT = "1.2.826.1", "1.2.826.2"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def damaged_server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    """It has one object that is whole, and one that has lost its end."""
    folder = tmp_path_factory.mktemp("damaged")
    with running(Server(folder / "data", nodes=[f"DEST=127.0.0.1:{port}"], workers=1)) as server:
        for uid in (WHOLE, CUT):
            with RawPeer(server.dicom_port) as peer:
                assert peer.established().store(uid, ct_data_set(uid, PAYLOAD_BYTES)) == 0
        (file,) = [one.path for one in server.objects() if CUT.encode() in one.read_bytes()[:4096]]
        os.truncate(file, 2_000_000)
        yield server
        assert not server.logged("association_crashed"), server.tail()
        assert server.logged("object_unreadable")


def ask(peer: RawPeer, sop_class: str, field: int, uid: str) -> None:
    """C-GET or C-MOVE of one instance, in context 1."""
    keys = (
        (0x00080018, uid), (0x00080052, "IMAGE"), (0x0020000D, "1.2.826.0.1.3680043.9.1"),
        (0x0020000E, "1.2.826.0.1.3680043.9.1.1"),
    )  # fmt: skip
    identifier = b""
    for tag, text in keys:
        value = text.encode() + (b" " if tag == 0x00080052 else b"\0") * (len(text) % 2)
        identifier += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    command = Command(
        command_field=field, message_id=1, affected_sop_class_uid=sop_class, priority=0, data_set_type=1,
        move_destination="DEST" if field == CommandField.C_MOVE_RQ else None,
    )  # fmt: skip
    for data, is_command in ((encode_command(command), True), (identifier, False)):
        peer.send(encode_message(1, data, command=is_command, max_pdu_bytes=16384))


def test_get_of_a_damaged_object_is_aborted_and_not_completed(damaged_server: Server) -> None:
    contexts = ((GET, (IMPLICIT_LE,)), (CT, (EXPLICIT_LE,)))
    with RawPeer(damaged_server.dicom_port) as peer:
        peer.established(contexts=contexts, roles={CT: Role(True, True)})
        ask(peer, GET, CommandField.C_GET_RQ, CUT)
        assert peer.receive_command().command_field == CommandField.C_STORE_RQ
        assert isinstance(peer.receive(), Abort)
    assert well(damaged_server.dicom_port)


def test_peers_that_do_not_read_keep_nobody_from_retrieving(damaged_server: Server) -> None:
    """F13: more of them than there are send buffers, each stuck in the middle of an object."""
    contexts = ((GET, (IMPLICIT_LE,)), (CT, (EXPLICIT_LE,)))
    uid = "1.2.826.3"
    with contextlib.ExitStack() as stack:
        with RawPeer(damaged_server.dicom_port) as peer:
            assert peer.established().store(uid, ct_data_set(uid, 4 * PAYLOAD_BYTES)) == 0
        for number in range(24):
            stuck = stack.enter_context(RawPeer(damaged_server.dicom_port))
            stuck.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.established(calling=f"STUCK{number}", contexts=contexts, roles={CT: Role(True, True)})
            ask(stuck, GET, CommandField.C_GET_RQ, uid)
        quick = stack.enter_context(RawPeer(damaged_server.dicom_port))
        quick.established(contexts=contexts, roles={CT: Role(True, True)})
        ask(quick, GET, CommandField.C_GET_RQ, uid)
        assert quick.receive_command().command_field == CommandField.C_STORE_RQ
        received = 0
        while received < 4 * PAYLOAD_BYTES:
            pdu = quick.receive_pdu()
            assert pdu is not None and pdu[0] == 4
            received += sum(len(one.data) for one in pdvs(pdu[1]))


def test_move_of_a_damaged_object_ends_with_a_failure(
    damaged_server: Server, port: int, tmp_path: Path
) -> None:
    """The association to the destination is aborted; the one that asked gets its final response. Whole ones are moved."""
    command = [program("storescp"), "-od", str(tmp_path), "-aet", "DEST", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as destination:
        try:
            eventually(lambda: _listens(port), what="storescp listens")
            for uid, status, completed, failed in ((CUT, 0xA702, 0, 1), (WHOLE, 0, 1, 0)):
                with RawPeer(damaged_server.dicom_port, within_s=30) as peer:
                    peer.established(contexts=((MOVE, (IMPLICIT_LE,)),))
                    ask(peer, MOVE, CommandField.C_MOVE_RQ, uid)
                    while (answer := peer.receive_command()).status == 0xFF00:
                        continue
                    assert (answer.status, answer.completed, answer.failed) == (status, completed, failed)
            (received,) = tmp_path.iterdir()
            assert WHOLE in received.name
        finally:
            destination.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
