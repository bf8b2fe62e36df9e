"""Who may do what on the real server (SECURITY 2, 3): addresses and AE titles, rights, destinations, AEs in the database."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.dimse.commands import Command, CommandField, encode_command
from protocols.ul.model import Abort, AssociateAccept, AssociateReject, ContextResult
from protocols.ul.pdata import encode_message
from tests.system.raw_peer import (
    COMMIT,
    CT,
    EXPLICIT_LE,
    FIND,
    GET,
    IMPLICIT_LE,
    MOVE,
    VERIFICATION,
    RawPeer,
    ct_data_set,
    eventually,
)
from tests.system.server import Server, running

CALLING_UNKNOWN = AssociateReject(1, 1, 3)
EVERYTHING = (
    (VERIFICATION, (IMPLICIT_LE,)),
    (CT, (EXPLICIT_LE,)),
    (FIND, (IMPLICIT_LE,)),
    (MOVE, (IMPLICIT_LE,)),
    (GET, (IMPLICIT_LE,)),
    (COMMIT, (IMPLICIT_LE,)),
)
NAMES = ("echo", "store", "find", "move", "get", "commit")
MOVE_CONTEXT = 7
MODALITY, VIEWER, MOVER, NOWHERE = "127.0.0.10", "127.0.0.11", "127.0.0.12", "127.0.0.99"
CONFIG = """
[[nodes]]
ae_title = "MODALITY"
host = "{prefix}.10"
port = 104
rights = ["store", "commit"]

[[nodes]]
ae_title = "VIEWER"
host = "{prefix}.11"
port = 104
rights = ["find", "get"]

[[nodes]]
ae_title = "MOVER"
host = "{prefix}.12"
port = 104
rights = ["move"]
destinations = ["ALLOWED"]

[[nodes]]
ae_title = "ALLOWED"
host = "{prefix}.13"
port = 104
rights = []

[[nodes]]
ae_title = "FORBIDDEN"
host = "{prefix}.14"
port = 104

[[nodes]]
ae_title = "WARD"
host = "ward.example"
port = 104
networks = ["{prefix}.32/28"]
"""


def ask(
    server: Server, calling: str, source: str | None, *, host: str = "127.0.0.1", called: str = "PACS"
) -> object:
    """The answer to an association request."""
    with RawPeer(server.dicom_port, host=host, source=source) as peer:
        return peer.associate(calling=calling, called=called, contexts=EVERYTHING)


def allowed(answer: object) -> set[str]:
    """What an accepted association is good for."""
    assert isinstance(answer, AssociateAccept), answer
    results = {context.result for context in answer.contexts}
    assert results <= {ContextResult.ACCEPTANCE, ContextResult.USER_REJECTION}
    return {
        name
        for name, context in zip(NAMES, answer.contexts, strict=True)
        if context.result == ContextResult.ACCEPTANCE
    }


# -- on loopback ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "pacs.toml").write_text(CONFIG.format(prefix="127.0.0"))
    with running(Server(folder / "data", options=(f"--config={folder / 'pacs.toml'}",), workers=1)) as server:
        yield server


def test_unknown_ae_may_do_everything_on_loopback(clinic: Server) -> None:
    assert allowed(ask(clinic, "WHOEVER", None)) == set(NAMES)


def test_known_ae_may_call_from_its_own_address_only(clinic: Server) -> None:
    for calling, source, taken in (
        ("MODALITY", MODALITY, True),
        ("MODALITY", NOWHERE, False),
        ("MODALITY", None, False),
        ("WARD", "127.0.0.32", True),
        ("WARD", "127.0.0.47", True),
        ("WARD", "127.0.0.48", False),
    ):
        answer = ask(clinic, calling, source)
        assert isinstance(answer, AssociateAccept) if taken else answer == CALLING_UNKNOWN, (calling, source)


def test_each_ae_gets_the_contexts_that_its_rights_allow(clinic: Server) -> None:
    assert allowed(ask(clinic, "MODALITY", MODALITY)) == {"echo", "store", "commit"}
    # A storage context is needed for the sub-operations of a C-GET, too.
    assert allowed(ask(clinic, "VIEWER", VIEWER)) == {"echo", "store", "find", "get"}
    assert allowed(ask(clinic, "MOVER", MOVER)) == {"echo", "move"}
    assert allowed(ask(clinic, "ALLOWED", "127.0.0.13")) == {"echo"}
    assert allowed(ask(clinic, "FORBIDDEN", "127.0.0.14")) == set(NAMES)


def test_reading_does_not_give_the_right_to_store(clinic: Server) -> None:
    with RawPeer(clinic.dicom_port, source=VIEWER) as peer:
        peer.established(calling="VIEWER")
        assert peer.store("1.2.3", ct_data_set("1.2.3")) == 0x0124
        assert peer.echo(2) == 0
    assert not clinic.objects()
    with RawPeer(clinic.dicom_port, source=MODALITY) as peer:
        assert peer.established(calling="MODALITY").store("1.2.3", ct_data_set("1.2.3")) == 0
    eventually(
        lambda: (
            clinic.sql("SELECT who, outcome FROM audit_events WHERE event = 'store' ORDER BY id")
            == ["VIEWER|refused", "MODALITY|success"]
        ),
        what="both are in the audit trail",
    )


@pytest.mark.parametrize("context_id", [5, 7, 9, 11])
def test_request_in_a_context_that_was_refused_is_aborted(clinic: Server, context_id: int) -> None:
    command = Command(command_field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid=VERIFICATION)
    with RawPeer(clinic.dicom_port, source="127.0.0.13") as peer:
        peer.established(calling="ALLOWED", contexts=EVERYTHING)
        peer.send(encode_message(context_id, encode_command(command), command=True, max_pdu_bytes=16384))
        assert isinstance(peer.receive(), Abort)


def moved(server: Server, calling: str, source: str, destination: str) -> int | None:
    """The final status of a C-MOVE of a study that is not there: 0000H when only the study is missing."""
    identifier = b"".join(
        struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
        for tag, value in ((0x00080052, b"STUDY "), (0x0020000D, b"1.2.3.99"))
    )
    command = Command(
        command_field=CommandField.C_MOVE_RQ,
        message_id=1,
        affected_sop_class_uid=MOVE,
        priority=0,
        data_set_type=1,
        move_destination=destination,
    )
    with RawPeer(server.dicom_port, source=source) as peer:
        peer.established(calling=calling, contexts=EVERYTHING)
        for data, is_command in ((encode_command(command), True), (identifier, False)):
            peer.send(encode_message(MOVE_CONTEXT, data, command=is_command, max_pdu_bytes=16384))
        return peer.receive_command().status


def test_move_goes_to_allowed_destinations_only(clinic: Server) -> None:
    assert moved(clinic, "MOVER", MOVER, "ALLOWED") == 0
    assert moved(clinic, "MOVER", MOVER, "FORBIDDEN") == 0xA801
    assert moved(clinic, "MOVER", MOVER, "UNKNOWN") == 0xA801
    assert moved(clinic, "FORBIDDEN", "127.0.0.14", "MOVER") == 0


def test_rejections_are_in_the_audit_trail(clinic: Server) -> None:
    assert ask(clinic, "MODALITY", NOWHERE) == CALLING_UNKNOWN
    eventually(
        lambda: (
            f"MODALITY|{NOWHERE}"
            in clinic.sql(
                "SELECT who, host(address::inet) FROM audit_events WHERE outcome = 'refused' AND event = 'association'"
            )
        )
    )


def test_ae_in_the_database_is_known_within_seconds(clinic: Server) -> None:
    """And changed or gone again as quickly; one that the settings name, too, stays as they have it."""
    source, later_source = "127.0.0.60", "127.0.0.65"
    clinic.sql(
        "INSERT INTO ae_nodes (ae_title, host, port, rights, destinations) VALUES "
        f"('NEWCOMER', '{source}', 104, '{{find,move}}', '{{ALLOWED}}'), "
        f"('LEAVER', '{source}', 104, DEFAULT, NULL), ('MODALITY', '{NOWHERE}', 104, DEFAULT, NULL)"
    )

    def rights(from_where: str) -> set[str]:
        answer = ask(clinic, "NEWCOMER", from_where)
        return allowed(answer) if isinstance(answer, AssociateAccept) else set()

    eventually(lambda: rights(source) == {"echo", "find", "move"}, within_s=15)
    assert ask(clinic, "NEWCOMER", later_source) == CALLING_UNKNOWN
    assert moved(clinic, "NEWCOMER", source, "ALLOWED") == 0
    assert moved(clinic, "NEWCOMER", source, "FORBIDDEN") == 0xA801
    assert moved(clinic, "FORBIDDEN", "127.0.0.14", "LEAVER") == 0
    assert ask(clinic, "MODALITY", NOWHERE) == CALLING_UNKNOWN
    assert allowed(ask(clinic, "MODALITY", MODALITY)) == {"echo", "store", "commit"}

    clinic.sql(
        "WITH gone AS (DELETE FROM ae_nodes WHERE ae_title = 'LEAVER') "
        "UPDATE ae_nodes SET networks = '{127.0.0.64/30}', rights = '{store}' WHERE ae_title = 'NEWCOMER'"
    )
    eventually(lambda: rights(later_source) == {"echo", "store"}, within_s=15)
    assert ask(clinic, "NEWCOMER", source) == CALLING_UNKNOWN
    assert moved(clinic, "FORBIDDEN", "127.0.0.14", "LEAVER") == 0xA801


# -- on the network -------------------------------------------------------------------------------------------------------

_CLONE_NEWNET = 0x40000000
_PREFIX = "192.0.2"


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A network of our own with addresses that are not loopback, for this thread and the processes that it starts.

    It goes with the last of them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if os.geteuid() != 0 or shutil.which("ip") is None or libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip("a network namespace needs root and iproute2")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            subprocess.run(["ip", "address", "add", f"{_PREFIX}.0/24", "dev", "lo"], check=True)
            yield
        finally:
            assert libc.setns(outside, _CLONE_NEWNET) == 0
    finally:
        os.close(outside)


@pytest.fixture(scope="module")
def hospital(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "pacs.toml").write_text(CONFIG.format(prefix=_PREFIX))
    options = (f"--config={folder / 'pacs.toml'}", "--dicom.host=0.0.0.0")
    with running(Server(folder / "data", options=options, workers=1)) as server:
        yield server


def test_only_known_aes_get_in_from_the_network(hospital: Server) -> None:
    """From their own addresses: an AE title alone grants nothing, nor does an address."""
    for calling, source, taken in (
        ("WHOEVER", f"{_PREFIX}.10", False),
        ("MODALITY", f"{_PREFIX}.10", True),
        ("MODALITY", f"{_PREFIX}.11", False),
        ("WARD", f"{_PREFIX}.33", True),
        ("WARD", f"{_PREFIX}.10", False),
    ):
        answer = ask(hospital, calling, source, host=f"{_PREFIX}.1")
        assert isinstance(answer, AssociateAccept) if taken else answer == CALLING_UNKNOWN, (calling, source)
    assert allowed(ask(hospital, "WHOEVER", None)) == set(NAMES), "on loopback as ever"


def test_out_of_the_box_nobody_gets_in_from_the_network(network: None, tmp_path: Path) -> None:
    with running(Server(tmp_path / "data", workers=1)) as server:
        assert isinstance(ask(server, "WHOEVER", None), AssociateAccept)
        with pytest.raises(ConnectionRefusedError):
            ask(server, "WHOEVER", f"{_PREFIX}.10", host=f"{_PREFIX}.1")


def test_promiscuous_takes_anybody_and_says_so(network: None, tmp_path: Path) -> None:
    """The control of all the refusals above: the same peers, taken."""
    options = ("--dicom.host=0.0.0.0", "--dicom.promiscuous=true")
    with running(Server(tmp_path / "data", options=options, workers=1)) as server:
        for called in ("PACS", "WHATEVER"):
            answer = ask(server, "WHOEVER", f"{_PREFIX}.10", host=f"{_PREFIX}.1", called=called)
            assert allowed(answer) == set(NAMES)
        assert server.logged("promiscuous_mode")
