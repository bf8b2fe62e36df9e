"""Memory of the real server: what ends badly leaves nothing behind (SECURITY 18). On a server of its own: what others have used
and given back would hide what is lost.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from protocols.dimse.commands import Command, CommandField, encode_command
from protocols.ul.model import Abort, AssociateReject
from protocols.ul.pdata import encode_message
from tests.system.raw_peer import (
    COMMIT,
    IMPLICIT_LE,
    RawPeer,
    association_request,
    data_pdu,
    descriptors,
    eventually,
    memory_bytes,
    store_request,
)
from tests.system.server import Server, running

MOST_BYTES = 5_000_000


@pytest.fixture
def fresh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("memory") / "data", workers=1)) as server:
        yield server


def nobody_left(server: Server) -> bool:
    return not any(worker["associations"] for worker in server.status()["workers"])


def reset(peer: RawPeer) -> None:
    """Close so that the other end gets a reset."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


def misbehave(port: int, number: int) -> None:
    """One association that ends badly, in one of eight ways."""
    with RawPeer(port) as peer:
        match number % 8:
            case 0:
                peer.send(b"\x09nonsense")
                assert isinstance(peer.receive(), Abort)
            case 1:
                assert isinstance(peer.associate(called="NOBODY"), AssociateReject)
            case 2:
                peer.send(association_request())
                reset(peer)
            case 3:
                peer.established(calling=f"AE{number}").send(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
            case 4:
                peer.established(calling=f"AE{number}")
                reset(peer)
            case 5:
                peer.established(calling=f"AE{number}").send(
                    store_request("1.2.3") + data_pdu(bytes(5000), last=False)
                )
                reset(peer)
            case 6:
                peer.established(calling=f"AE{number}").send(data_pdu(b"", context_id=99))
                assert isinstance(peer.receive(), Abort)
            case 7:
                peer.send(association_request(calling="")[:100])
                reset(peer)


@pytest.mark.parametrize("associations", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_associations_that_end_badly_leave_no_memory_behind(fresh_server: Server, associations: int) -> None:
    """SECURITY 18: at most 5 MB for ten thousand."""
    port, pids = fresh_server.dicom_port, fresh_server.worker_pids()
    for number in range(400):
        misbehave(port, number)
    eventually(lambda: nobody_left(fresh_server))
    before, files = memory_bytes(pids), descriptors(pids[0])
    for number in range(associations):
        misbehave(port, number)
    eventually(lambda: nobody_left(fresh_server))
    assert memory_bytes(pids) - before <= MOST_BYTES
    eventually(lambda: descriptors(pids[0]) <= files + 4, what="file descriptors are given back")
    assert fresh_server.worker_pids() == pids
    assert not fresh_server.logged("association_crashed"), fresh_server.tail()
    # The control: memory that is taken is seen. One request for storage commitment that does not end.
    command = Command(
        command_field=CommandField.N_ACTION_RQ,
        message_id=1,
        requested_sop_class_uid=COMMIT,
        requested_sop_instance_uid="1.2.840.10008.1.20.1.1",
        action_type_id=1,
        data_set_type=1,
    )
    with RawPeer(port) as peer:
        peer.established(contexts=((COMMIT, (IMPLICIT_LE,)),))
        peer.send(encode_message(1, encode_command(command), command=True, max_pdu_bytes=16384))
        for _ in range(140):
            peer.send(data_pdu(b"x" * 100_000, context_id=1, last=False))
        eventually(lambda: memory_bytes(pids) - before > MOST_BYTES, what="memory is taken")
