"""Hostile bytes on the real server's DICOM port: refused as the standard has it, at once, and nobody else notices."""

from __future__ import annotations

import contextlib
import csv
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocols.dimse.commands import Command, CommandField, encode_command
from protocols.ul.model import APPLICATION_CONTEXT, Abort, AssociateAccept, AssociateReject
from protocols.ul.pdata import encode_message
from protocols.ul.pdu import Pdu, ReleaseRequest, decode, encode
from tests.system.raw_peer import (
    CT,
    ECHO_CONTEXT,
    FIND_CONTEXT,
    IMPLICIT_LE,
    STORE_CONTEXT,
    RawPeer,
    association_request,
    ct_data_set,
    data_pdu,
    echo_request,
    eventually,
    memory_bytes,
    store_request,
    unfinished,
    well,
)
from tests.system.server import Server, running

ARTIM_S = 1.0
MAX_OBJECT_BYTES = 2 * 1024 * 1024
MIB = 1024 * 1024
AT_ONCE_S = 5.0
"""A bound, not a measurement: far below every timeout of the server, far above a busy machine's hiccups."""
CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hostile"


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    options = (
        f"--dicom.artim-s={ARTIM_S}",
        "--dicom.network-timeout-s=20",
        f"--dicom.max-object-bytes={MAX_OBJECT_BYTES}",
        "--dicom.max-pdu-bytes=65536",
    )
    with running(Server(folder / "data", options=options, workers=1)) as server:
        yield server


@pytest.fixture
def bystander(hostile_server: Server) -> Iterator[RawPeer]:
    """An association of somebody else, open all the while; it must not notice anything. Nor may the worker be another."""
    pids = hostile_server.worker_pids()
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established(calling="BYSTANDER")
        yield peer
        assert peer.echo(77) == 0
        peer.release()
    assert hostile_server.worker_pids() == pids
    assert not hostile_server.logged("association_crashed"), hostile_server.tail()


def takes_no_memory(server: Server, attack: Callable[[], None]) -> None:
    """Try it until it leaves less than 8 MiB behind: what leaks does so each time, what a young worker loads it loads once."""
    pids, grown = server.worker_pids(), []
    for _ in range(3):
        before = memory_bytes(pids)
        attack()
        grown.append(memory_bytes(pids) - before)
        if grown[-1] < 8 * MIB:
            return
    raise AssertionError(f"it takes more each time: {grown} bytes")


# -- before an association ------------------------------------------------------------------------------------------------


def lied(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def with_item(item_type: int, body: bytes) -> bytes:
    """An association request with one more item."""
    whole = association_request() + struct.pack(">BxH", item_type, len(body)) + body
    return lied(whole, 2, struct.pack(">I", len(whole) - 6))


REQUEST = association_request()
BEFORE: dict[str, bytes] = {
    "length of 4 GiB": b"\x01\x00\xff\xff\xff\xff",
    "length 0": b"\x01\x00\x00\x00\x00\x00",
    "unknown PDU type": b"\x09\x00\x00\x00\x00\x04abcd",
    "type 0": bytes(74),
    "HTTP": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    "TLS": bytes.fromhex("160301020001") + bytes(512),
    "data": data_pdu(b"data"),
    "release": encode(ReleaseRequest()),
    "association accept": lied(REQUEST, 0, b"\x02"),
    "item longer than the PDU": lied(REQUEST, 74 + 2, b"\xff\xff"),
    "even context": lied(REQUEST, 74 + 4 + len(APPLICATION_CONTEXT) + 4, b"\x02"),
    "user information twice": with_item(0x50, b""),
    "application context that is no UID": with_item(0x10, b"nonsense"),
}


@pytest.mark.parametrize("what", BEFORE)
def test_nonsense_before_an_association_is_aborted(
    hostile_server: Server, bystander: RawPeer, what: str
) -> None:
    """PS3.8 table 9-10, Sta2: AA-1, an A-ABORT of the service user, and the connection is closed."""
    began = time.monotonic()
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.send(BEFORE[what])
        answer = peer.receive()
        assert isinstance(answer, Abort), answer
        assert answer.source in (0, 2)
        peer.sock.shutdown(1)
        assert peer.ended()
    assert time.monotonic() - began < AT_ONCE_S
    assert well(hostile_server.dicom_port)


REJECTED: dict[str, tuple[bytes, AssociateReject]] = {
    "protocol version": (lied(REQUEST, 6, b"\x00\x00"), AssociateReject(1, 2, 2)),
    "application context": (
        REQUEST.replace(APPLICATION_CONTEXT.encode(), b"1.2.840.10008.3.1.1.9"),
        AssociateReject(1, 1, 2),
    ),
    "unknown called AE title": (association_request(called="OTHER"), AssociateReject(1, 1, 7)),
    "called AE title with SQL": (association_request(called="';DROP TABLE--"), AssociateReject(1, 1, 7)),
    "called AE title of other letters": (
        lied(REQUEST, 10, "ÄÖÜ".encode("latin-1")),
        AssociateReject(1, 1, 7),
    ),
    "blank calling AE title": (lied(REQUEST, 26, b" " * 16), AssociateReject(1, 1, 3)),
    "calling AE title with a line end": (lied(REQUEST, 26, b"A\r\n{\x1b[2J"), AssociateReject(1, 1, 3)),
    "maximum length of 1": (association_request(max_pdu_bytes=1), AssociateReject(1, 1, 1)),
}


@pytest.mark.parametrize("what", REJECTED)
def test_association_that_cannot_be_is_rejected_with_its_reason(
    hostile_server: Server, bystander: RawPeer, what: str
) -> None:
    request, expected = REJECTED[what]
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.send(request)
        assert peer.receive() == expected
        peer.sock.shutdown(1)
        assert peer.ended()
    lines = hostile_server.log.read_text(errors="replace").splitlines()
    assert not [line for line in lines if "\x1b" in line or line.startswith("{\x1b")], (
        "control characters in the log"
    )


def test_the_request_that_was_broken_is_accepted_unbroken(hostile_server: Server) -> None:
    """The control of the two lists above."""
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.send(REQUEST)
        answer = peer.receive()
        assert isinstance(answer, AssociateAccept)
        assert [context.result for context in answer.contexts] == [0, 0, 0]


def test_trickle_before_an_association_ends_at_artim(hostile_server: Server, bystander: RawPeer) -> None:
    """F13: a byte now and then is never silence, and still ends when ARTIM does."""
    slow = [RawPeer(hostile_server.dicom_port, within_s=0.1) for _ in range(5)]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for peer in slow:
            stack.enter_context(peer)
        left = dict(enumerate(slow))
        at = 0
        while left and time.monotonic() - began < ARTIM_S + AT_ONCE_S:
            for number, peer in list(left.items()):
                try:
                    peer.send(REQUEST[at : at + 1])
                    if peer.sock.recv(1) == b"":
                        del left[number]
                except TimeoutError:
                    continue
                except OSError:
                    del left[number]
            at += 1
        assert not left
        assert at < len(REQUEST), "it ended because the request was complete"


def test_connection_that_says_nothing_ends_at_artim(hostile_server: Server, bystander: RawPeer) -> None:
    with RawPeer(hostile_server.dicom_port, within_s=ARTIM_S + AT_ONCE_S) as peer:
        assert peer.ended()


def test_long_header_that_never_comes_takes_no_memory(hostile_server: Server, bystander: RawPeer) -> None:
    """F15: 60 connections that announce the longest association request there is: 15 MiB if anybody believed them."""
    pids = hostile_server.worker_pids()

    def crowd(announced_bytes: int) -> int:
        """What the worker holds while as many connections have announced so much, and sent nothing of it."""
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                peer = stack.enter_context(RawPeer(hostile_server.dicom_port))
                peer.send(b"\x01\x00" + struct.pack(">I", announced_bytes))
            assert bystander.echo(5) == 0
            return memory_bytes(pids)

    # What sixty connections cost whatever they say, and what a worker that has just started has still to load.
    ordinary = crowd(200)
    assert crowd(0x3FFFF) - ordinary < 8 * MIB


# -- in an association ----------------------------------------------------------------------------------------------------


def echo_on(context_id: int) -> bytes:
    return echo_request().replace(b"\x01\x03", bytes((context_id, 3)), 1)


IN_ASSOCIATION: dict[str, tuple[bytes, Abort]] = {
    "PDU of 4 GiB": (b"\x04\x00\xff\xff\xff\xff", Abort(2, 6)),
    "PDU over the negotiated length": (b"\x04\x00" + struct.pack(">I", 65537), Abort(2, 6)),
    "PDU without content": (b"\x04\x00\x00\x00\x00\x00", Abort(2, 6)),
    "fragment longer than its PDU": (
        b"\x04\x00\x00\x00\x00\x0a" + struct.pack(">IBB", 4096, 1, 3) + b"abcd",
        Abort(2, 6),
    ),
    "fragment of length 0": (b"\x04\x00\x00\x00\x00\x06" + struct.pack(">IBB", 0, 1, 3), Abort(2, 6)),
    "context that nobody proposed": (echo_on(99), Abort(2, 6)),
    "data set before a command": (data_pdu(b"data"), Abort(2, 2)),
    "command over 64 KiB": (data_pdu(bytes(16000), command=True, last=False) * 5, Abort(2, 6)),
    "command of garbage": (data_pdu(b"\xff" * 200, command=True), Abort(2, 6)),
    "second association request": (REQUEST, Abort(2, 2)),
    "long association request that never comes": (b"\x01\x00\x00\x03\x00\x00", Abort(2, 2)),
    "association accept": (lied(REQUEST, 0, b"\x02"), Abort(2, 2)),
    "unknown PDU type": (b"\x42\x00\x00\x00\x00\x04abcd", Abort(2, 1)),
    "release reply": (b"\x06\x00\x00\x00\x00\x04abcd", Abort(2, 2)),
    "command instead of the data set": (store_request("1.2.3") + echo_request(), Abort(2, 2)),
    "data set in another context": (
        store_request("1.2.3") + data_pdu(b"data", context_id=ECHO_CONTEXT),
        Abort(2, 6),
    ),
    "object over the limit": (
        store_request("1.2.3") + data_pdu(bytes(65000), last=False) * (MAX_OBJECT_BYTES // 65000 + 1),
        Abort(2, 6),
    ),
    "identifier over the limit": (
        encode_message(
            FIND_CONTEXT,
            encode_command(
                Command(
                    command_field=CommandField.C_FIND_RQ,
                    message_id=1,
                    affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
                    priority=0,
                    data_set_type=1,
                )
            ),
            command=True,
            max_pdu_bytes=16384,
        )
        + data_pdu(bytes(65000), context_id=FIND_CONTEXT, last=False) * 17,
        Abort(2, 6),
    ),
}


@pytest.mark.parametrize("what", IN_ASSOCIATION)
def test_broken_association_is_aborted_with_its_reason(
    hostile_server: Server, bystander: RawPeer, what: str
) -> None:
    """F15, F16, F17: at once, from the first byte that is wrong, without waiting for what it announces."""
    data, expected = IN_ASSOCIATION[what]

    def attack() -> None:
        with RawPeer(hostile_server.dicom_port) as peer:
            peer.established()
            began = time.monotonic()
            peer.send_what_is_taken(data)
            assert peer.receive() == expected
            assert time.monotonic() - began < AT_ONCE_S
            assert bystander.echo(3) == 0

    takes_no_memory(hostile_server, attack)
    eventually(lambda: not unfinished(hostile_server), what="temporary files swept")
    assert not hostile_server.objects()


def test_object_just_below_the_limit_is_looked_at(hostile_server: Server) -> None:
    """The control: what is not too large is not aborted; this one is all zeros, and refused for that."""
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established()
        status = peer.store("1.2.3", bytes(MAX_OBJECT_BYTES))
        assert status not in (None, 0)
        assert peer.echo(2) == 0


REFUSED: dict[str, tuple[str, bytes, set[int]]] = {
    "path as UID": ("../../../../etc/passwd", ct_data_set("1.2.3"), {0x0117}),
    "another UID in the data set": ("1.2.3", ct_data_set("1.2.4"), {0xA900}),
    "no data set at all": ("1.2.3", b"", {0xC000, 0xA900}),
    "data set cut short": ("1.2.3", ct_data_set("1.2.3")[:100], {0xC000, 0xA900}),
    "text instead of a data set": ("1.2.3", b"<html>" * 100, {0xC000, 0xA900}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_object_keeps_the_association(hostile_server: Server, bystander: RawPeer, what: str) -> None:
    uid, data_set, expected = REFUSED[what]
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established()
        assert peer.store(uid, data_set) in expected
        assert peer.echo(2) == 0
        peer.release()
    assert not hostile_server.objects()
    outside = list(hostile_server.data.parent.rglob("passwd*"))
    assert not outside


def test_unknown_operation_is_answered_and_keeps_the_association(
    hostile_server: Server, bystander: RawPeer
) -> None:
    command = Command(command_field=0x0042, message_id=9, affected_sop_class_uid=CT, data_set_type=1)
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established()
        peer.send(encode_message(STORE_CONTEXT, encode_command(command), command=True, max_pdu_bytes=16384))
        peer.send(data_pdu(b"whatever" * 1000))
        answer = peer.receive_command()
        assert (answer.status, answer.message_id_responded_to) == (0x0211, 9)
        assert peer.echo(2) == 0


def cancel_request(message_id: int) -> bytes:
    command = Command(command_field=CommandField.C_CANCEL_RQ, message_id_responded_to=message_id)
    return encode_message(FIND_CONTEXT, encode_command(command), command=True, max_pdu_bytes=16384)


def test_cancel_flood_is_ignored(hostile_server: Server, bystander: RawPeer) -> None:
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established()
        peer.send(b"".join(cancel_request(number) for number in range(3000)))
        assert peer.echo(9) == 0
        peer.release()


def test_pipelined_requests_are_all_answered_and_the_others_are_served_meanwhile(
    hostile_server: Server, bystander: RawPeer
) -> None:
    requests = b"".join(echo_request(number) for number in range(1, 1001))

    def attack() -> None:
        with RawPeer(hostile_server.dicom_port) as peer:
            peer.established()
            peer.send(requests)
            assert bystander.echo(4) == 0
            answers = [peer.receive_command().message_id_responded_to for _ in range(1000)]
            assert answers == list(range(1, 1001))
            peer.release()

    takes_no_memory(hostile_server, attack)


def test_store_that_is_cut_leaves_nothing(hostile_server: Server, bystander: RawPeer) -> None:
    """F11: no file, no row, nothing temporary, though part of the object had been spilled already."""
    data = ct_data_set("1.2.826.9", 1_500_000)
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established()
        peer.send(store_request("1.2.826.9"))
        for at in range(0, 1_400_000, 60_000):
            peer.send(data_pdu(data[at : at + 60_000], last=False))
        eventually(lambda: unfinished(hostile_server), what="the object is being spilled")
    eventually(lambda: not unfinished(hostile_server), what="temporary files swept")
    assert not hostile_server.objects()
    assert hostile_server.sql("SELECT count(*) FROM instances WHERE sop_instance_uid = '1.2.826.9'") == ["0"]


def test_passcode_of_a_peer_is_never_logged(hostile_server: Server, bystander: RawPeer) -> None:
    """SECURITY 4: an identity that nobody here has is turned away (PS3.7 D.3.3.7), and no secret is kept."""
    identity = struct.pack(">BBH", 2, 1, 6) + b"doctor" + struct.pack(">H", 14) + b"planted-secret"
    for identity_item in (identity, identity[:-4]):
        item = struct.pack(">BxH", 0x58, len(identity_item)) + identity_item
        at = REQUEST.index(b"\x50\x00", 74)
        length = struct.unpack(">H", REQUEST[at + 2 : at + 4])[0]
        whole = REQUEST[: at + 2] + struct.pack(">H", length + len(item)) + REQUEST[at + 4 :] + item
        with RawPeer(hostile_server.dicom_port) as peer:
            peer.send(lied(whole, 2, struct.pack(">I", len(whole) - 6)))
            answer = peer.receive()
            if identity_item is identity:
                assert isinstance(answer, AssociateReject)
            else:
                assert isinstance(answer, Abort)
    log = hostile_server.log.read_text(errors="replace")
    assert "planted" not in log and "doctor" not in log


# -- the corpus -----------------------------------------------------------------------------------------------------------


def corpus() -> list[dict[str, str]]:
    if not (CORPUS / "manifest.csv").exists():
        return []
    with (CORPUS / "manifest.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["file"].startswith("pdu/")]


def outcome_of(peer: RawPeer, data: bytes, mode: str) -> tuple[str, Pdu | int | None]:
    """What the server does with it: what kind of answer, and the answer."""
    if mode == "rq_wait_ac_then_rest":
        length = 6 + struct.unpack(">I", data[2:6])[0]
        peer.send(data[:length])
        answer = peer.receive()
        assert isinstance(answer, AssociateAccept), answer
        data = data[length:]
    peer.send_what_is_taken(data)
    with contextlib.suppress(OSError):
        peer.sock.shutdown(1)
    last: Pdu | int | None = None
    kind = "closed"
    while (pdu := peer.receive_pdu()) is not None:
        if pdu[0] == 4:
            kind, last = "answered", pdu[1][0]
        else:
            last = decode(*pdu)
            kind = {AssociateReject: "rejected", Abort: "aborted", AssociateAccept: "accepted"}.get(
                type(last), "released"
            )
    return kind, last


WANTED: dict[str, set[str]] = {
    "rq_len_1M_trickle_header.bin": {"aborted", "closed"},
    "rq_proto_version_0.bin": {"rejected"},
    "rq_bad_appctx.bin": {"rejected"},
    "rq_called_nonascii.bin": {"rejected"},
    "rq_called_sqli.bin": {"rejected"},
    "rq_300_contexts.bin": {"rejected", "aborted"},
    "rq_10000_ts.bin": {"accepted", "rejected", "aborted"},
    "rq_maxpdu_1.bin": {"rejected", "aborted"},
    "rq_maxpdu_0.bin": {"accepted"},
    "rq_userid_64k.bin": {"rejected", "accepted"},
    "rq_even_ctx_id.bin": {"aborted"},
    "assoc_cmd_garbage.bin": {"aborted", "answered"},
    "store_then_cut.bin": {"closed"},
    "store_uid_traversal.bin": {"answered"},
    "store_uid_mismatch.bin": {"answered"},
    "cancel_flood.bin": {"closed"},
    "echo_x10000_pipelined.bin": {"answered"},
}
"""What the manifest says, by file; the others are aborted."""


@pytest.mark.skipif(not corpus(), reason="the corpus of hostile PDUs is not here")
@pytest.mark.parametrize("row", corpus(), ids=lambda row: Path(row["file"]).stem)
def test_every_pdu_of_the_corpus_ends_as_it_should(
    hostile_server: Server, bystander: RawPeer, row: dict[str, str]
) -> None:
    data = (CORPUS / row["file"]).read_bytes().replace(b"ANY-SCP         ", b"PACS            ")
    name = Path(row["file"]).name
    if name == "store_uid_traversal.bin":
        # It ends with the command: the answer comes behind the data set.
        data += data_pdu(b"data", context_id=1)

    def attack() -> None:
        with RawPeer(hostile_server.dicom_port, within_s=20) as peer:
            kind, last = outcome_of(peer, data, row["send_mode"])
        assert kind in WANTED.get(name, {"aborted"}), (row["expectation"], last)
        if name == "rq_proto_version_0.bin":
            assert last == AssociateReject(1, 2, 2)
        if name == "rq_bad_appctx.bin":
            assert last == AssociateReject(1, 1, 2)
        if name.startswith("rq_called"):
            assert last == AssociateReject(1, 1, 7)
        assert bystander.echo(8) == 0

    takes_no_memory(hostile_server, attack)
    eventually(lambda: not unfinished(hostile_server), what="temporary files swept")
    assert not hostile_server.objects()


def test_no_patient_name_is_in_the_log(hostile_server: Server) -> None:
    """SECURITY 22; the control is that the log has the refusals at all."""
    with RawPeer(hostile_server.dicom_port) as peer:
        peer.established()
        assert peer.store("1.2.3", ct_data_set("1.2.4")) == 0xA900
    log = hostile_server.log.read_text(errors="replace")
    assert "store_refused" in log
    assert "Planted" not in log and "PLANTED" not in log
    assert IMPLICIT_LE not in log
