"""Hostile byte streams against the whole upper layer, without a socket: each ends as its manifest says."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import pytest

from protocols.dimse.commands import decode_command
from protocols.errors import PeerError
from protocols.ul.association import Event, Side, UpperLayer, abort_pdu
from protocols.ul.model import (
    APPLICATION_CONTEXT_NOT_SUPPORTED,
    CALLED_AE_NOT_RECOGNIZED,
    NO_REASON_GIVEN,
    PROTOCOL_VERSION_NOT_SUPPORTED,
)
from protocols.ul.negotiation import Negotiated, Policy, Service, answer, interpret
from protocols.ul.pdata import pdvs
from protocols.ul.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest, PduType, decode
from protocols.ul.sop_classes import ALL_TRANSFER_SYNTAXES, STORAGE, VERIFICATION
from protocols.ul.splitter import PduSplitter
from tests.pace import work_of

HOSTILE = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "hostile" / "pdu"
MAX_PDU_BYTES = 128 * 1024
POLICY = Policy(
    ae_titles=frozenset({"ANY-SCP"}),
    service={uid: Service(ALL_TRANSFER_SYNTAXES, True) for uid in (*STORAGE, VERIFICATION)}.get,
    max_pdu_bytes=MAX_PDU_BYTES,
)

Outcome = AssociateReject | Abort | str


class Acceptor:
    """The least that answers a stream of bytes as the table wants: what a link does, without its socket."""

    def __init__(self) -> None:
        self.layer = UpperLayer(Side.ACCEPTOR)
        self.layer.fire(Event.TRANSPORT_INDICATED)
        self.negotiated: Negotiated | None = None
        self.command = bytearray()
        self.commands = 0

    def run(self, stream: bytes) -> Outcome:
        splitter = PduSplitter(MAX_PDU_BYTES)
        try:
            for pdu_type, body in splitter.feed(stream):
                ended = self.receive(pdu_type, body)
                if ended is not None:
                    return ended
        except PeerError as error:
            return self.abort(error.abort_reason)
        return "waiting"

    def abort(self, reason: int) -> Abort:
        sent = abort_pdu(self.layer.fire(Event.INVALID_PDU), reason)
        assert sent is not None
        return sent

    def receive(self, pdu_type: int, body: bytes) -> Outcome | None:
        if self.layer.established and pdu_type == PduType.DATA:
            self.data(body)
            return None
        request = decode(pdu_type, body) if pdu_type == PduType.ASSOCIATE_REQUEST else None
        sent = abort_pdu(self.layer.received(pdu_type), 2)
        if sent is not None:
            return sent
        assert isinstance(request, AssociateRequest)
        reply = answer(request, POLICY)
        if isinstance(reply, AssociateAccept):
            self.layer.fire(Event.ACCEPT)
            self.negotiated = interpret(request, reply, side=Side.ACCEPTOR)
            return None
        self.layer.fire(Event.REJECT)
        return reply

    def data(self, body: bytes) -> None:
        assert self.negotiated is not None
        for pdv in pdvs(body):
            if pdv.context_id not in self.negotiated.contexts:
                raise PeerError("context", section="PS3.8 9.3.5", abort_reason=6)
            if not pdv.is_command:
                if not self.commands:
                    raise PeerError("data set first", section="PS3.8 E.2", abort_reason=2)
                continue
            self.command += pdv.data
            if len(self.command) > 64 * 1024 or pdv.is_last:
                decode_command(self.command)
                self.commands += 1
                self.command.clear()


EARLY = Abort(0, 0)
"""Before the association the abort speaks for the service user, without reason (AA-1)."""

EXPECTED: dict[str, Outcome] = {
    "rq_len_4G": EARLY,
    "rq_len_0": EARLY,
    "rq_len_1M_trickle_header": EARLY,
    "type_00": EARLY,
    "type_ff": EARLY,
    "http_get": EARLY,
    "tls_hello_on_plain": EARLY,
    "pdata_before_rq": EARLY,
    "release_before_rq": EARLY,
    "ac_instead_of_rq": EARLY,
    "rq_proto_version_0": PROTOCOL_VERSION_NOT_SUPPORTED,
    "rq_bad_appctx": APPLICATION_CONTEXT_NOT_SUPPORTED,
    "rq_called_nonascii": CALLED_AE_NOT_RECOGNIZED,
    "rq_called_sqli": CALLED_AE_NOT_RECOGNIZED,
    "rq_300_contexts": EARLY,
    "rq_10000_ts": "waiting",
    "rq_maxpdu_1": NO_REASON_GIVEN,
    "rq_maxpdu_0": "waiting",
    "rq_item_len_overrun": EARLY,
    "rq_userid_64k": NO_REASON_GIVEN,
    "rq_userid_len_lie": EARLY,
    "rq_two_rqs": Abort(2, 2),
    "rq_even_ctx_id": EARLY,
    "assoc_then_unknown_ctx": Abort(2, 6),
    "assoc_pdv_len_lie": Abort(2, 6),
    "assoc_pdv_len_0": Abort(2, 6),
    "assoc_pdata_empty": Abort(2, 6),
    "assoc_oversize_pdu": Abort(2, 6),
    "assoc_cmd_never_last": Abort(2, 6),
    "assoc_dataset_before_cmd": Abort(2, 2),
    "assoc_cmd_garbage": Abort(2, 6),
    "assoc_cmd_len_lie": Abort(2, 6),
    "cancel_flood": "waiting",
    "store_then_cut": "waiting",
    "store_uid_traversal": "waiting",
    "store_uid_mismatch": "waiting",
    "echo_x10000_pipelined": "waiting",
}

with_files = pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not here")


@with_files
@pytest.mark.parametrize("name", EXPECTED)
def test_a_hostile_stream_ends_as_the_manifest_says(name: str) -> None:
    assert Acceptor().run((HOSTILE / f"{name}.bin").read_bytes()) == EXPECTED[name]


@with_files
def test_every_hostile_stream_has_an_expectation() -> None:
    assert {path.stem for path in HOSTILE.glob("*.bin")} == set(EXPECTED)


@with_files
def test_ten_thousand_transfer_syntaxes_take_less_than_the_manifest_allows() -> None:
    stream = (HOSTILE / "rq_10000_ts.bin").read_bytes()
    acceptor, ends = Acceptor(), []
    assert work_of(lambda: ends.append(acceptor.run(stream))) < 4  # 0.1 s; it takes a fiftieth of that
    assert ends == ["waiting"]


@with_files
def test_ten_thousand_echoes_in_one_go_are_all_read() -> None:
    acceptor = Acceptor()
    acceptor.run((HOSTILE / "echo_x10000_pipelined.bin").read_bytes())
    assert acceptor.commands == 10_000


def test_the_longest_request_of_the_smallest_items_is_read_in_bounded_time() -> None:
    head = struct.pack(">H2x16s16s32x", 1, b"ANY-SCP", b"FUZZ")
    context = struct.pack(">BxHBxxx", 0x20, 65532, 1) + b"\x40\0\0\0" * 16382
    contexts = b"".join(context[:4] + bytes((number,)) + context[5:] for number in (1, 3, 5))
    replies = []
    work = work_of(lambda: replies.append(answer(cast(AssociateRequest, decode(1, head + contexts)), POLICY)))
    assert work < 20  # half a second
    assert replies == [APPLICATION_CONTEXT_NOT_SUPPORTED]


@pytest.mark.parametrize("length", [0, 67, 256 * 1024 + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused_from_the_header(length: int) -> None:
    assert Acceptor().run(struct.pack(">BxI", 1, length)) == EARLY
