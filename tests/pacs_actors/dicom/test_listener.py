"""Listener and association handlers in one process: places, eviction, crashes, draining, patience, negotiation."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
import trio
import trio.testing

from config.settings import DicomSettings, Settings
from pacs_actors.audit.audit import Audit
from pacs_actors.dicom import listener
from pacs_actors.dicom.access import Grant, KnownAe, Right, policy
from pacs_actors.dicom.association import Association, Service
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.link import Incoming
from pacs_actors.dicom.listener import Listener
from pacs_actors.dicom.services import query, retrieval, verification
from pacs_actors.dicom.wire import Wire, connect
from pacs_actors.mail.mailbox import Mailbox
from pacs_actors.node_page import ASSOCIATION_SLOTS, NodePage
from protocols.dimse.commands import DATA_SET, Command, CommandField, decode_command, encode_command
from protocols.errors import Unavailable
from protocols.messages.audit import AuditEvent
from protocols.ul.model import LOCAL_LIMIT_EXCEEDED, Abort, AssociateAccept, AssociateReject, ContextResult
from protocols.ul.negotiation import request
from protocols.ul.pdata import encode_message, pdvs
from protocols.ul.pdu import Pdu, ReleaseReply, ReleaseRequest, decode, encode
from protocols.ul.sop_classes import (
    IMPLICIT_VR_LITTLE_ENDIAN,
    PATIENT_ROOT_FIND,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)
from tests.pacs_actors.dicom.wires import CT, EXPLICIT_LE, VERIFICATION, echo_request

ECHO = {CommandField.C_ECHO_RQ: verification.serve}
CONTEXTS = ((VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)), (CT, (EXPLICIT_LE,)))
REQUEST = encode(request(CONTEXTS, calling_ae="PEER", called_ae="PACS"))


class Rig:
    """A listener on loopback with all it needs for associations, but no archive behind it."""

    def __init__(self, services: Mapping[int, Service], sock: Any = None, **dicom: Any) -> None:
        self.settings = Settings(dicom=DicomSettings(**dicom))
        shared = NodePage.create(1)
        self.page = NodePage(shared.fd, 1, 0)
        self.audits: Mailbox[AuditEvent] = Mailbox("audit", 1000)
        self.known: list[KnownAe] = []
        self.peers: list[Peer] = []
        nothing = cast(Any, None)
        self.facilities = Facilities(
            self.settings, self.page, nothing, nothing, nothing, Audit(self.audits), nothing, nothing,
            lambda: policy("PACS", False, self.known), nothing, nothing, nothing,
        )  # fmt: skip
        self.sock = sock or socket.create_server(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self.listener = Listener(self.sock, self.facilities, services)

    async def peer(self) -> Peer:
        self.peers.append(Peer(await connect("127.0.0.1", self.port, within_s=5.0)))
        return self.peers[-1]

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(5):
            while not condition():
                await trio.sleep(0.005)


class Peer:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        wire.patience_s = 1000.0

    async def send(self, *data: bytes) -> None:
        await self.wire.send(data)

    async def receive_raw(self) -> tuple[int, bytes] | None:
        data = b""
        wanted = 6
        while len(data) < wanted:
            buffer = bytearray(wanted - len(data))
            got = await self.wire.receive_into(memoryview(buffer))
            if not got:
                return None
            data += buffer[:got]
            if len(data) == 6:
                wanted = 6 + int.from_bytes(data[2:6], "big")
        return data[0], data[6:]

    async def receive(self) -> Pdu | None:
        found = await self.receive_raw()
        return None if found is None else decode(*found)

    async def associate(self, calling: str = "PEER") -> Pdu | None:
        await self.send(encode(request(CONTEXTS, calling_ae=calling, called_ae="PACS")))
        return await self.receive()

    async def echo(self) -> int | None:
        await self.send(encode_message(1, echo_request(7), command=True, max_pdu_bytes=16384))
        found = await self.receive_raw()
        if found is None or found[0] != 4:
            return None
        return decode_command(pdvs(found[1])[0].data).status

    async def ended(self) -> bool:
        while await self.receive_raw() is not None:
            continue
        return True


@asynccontextmanager
async def listening(services: Mapping[int, Service] | None = None, **dicom: Any) -> AsyncIterator[Rig]:
    rig = Rig(ECHO if services is None else services, **dicom)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.listener.run)
        yield rig
        for peer in rig.peers:
            peer.wire.close_now()
        nursery.cancel_scope.cancel()
    rig.sock.close()


# -- places ---------------------------------------------------------------------------------------------------------------


async def test_idle_connection_makes_room_when_every_place_is_taken() -> None:
    async with listening() as rig:
        for number in range(ASSOCIATION_SLOTS - 2):
            rig.page.enter(f"elsewhere {number}")
        oldest, younger = await rig.peer(), await rig.peer()
        await rig.until(lambda: len(rig.listener.associations) == 2)
        newcomer = await rig.peer()
        assert isinstance(await newcomer.associate(), AssociateAccept)
        assert await oldest.ended()
        assert isinstance(await younger.associate(), AssociateAccept)
        assert rig.page.established() == 2
        assert await newcomer.echo() == await younger.echo() == 0
        assert rig.listener.turned_away == 1


async def test_established_associations_do_not_make_room() -> None:
    async with listening() as rig:
        for number in range(ASSOCIATION_SLOTS - 1):
            rig.page.enter(f"elsewhere {number}")
        first = await rig.peer()
        assert isinstance(await first.associate(), AssociateAccept)
        late = await rig.peer()
        assert await late.ended()
        assert await first.echo() == 0
        await first.send(encode(ReleaseRequest()))
        assert isinstance(await first.receive(), ReleaseReply)
        first.wire.close_now()
        await rig.until(lambda: not rig.listener.associations)
        assert isinstance(await (await rig.peer()).associate(), AssociateAccept)


async def test_one_address_may_have_so_many_idle_connections() -> None:
    async with listening() as rig:
        peers = [await rig.peer() for _ in range(70)]
        await rig.until(lambda: rig.listener.turned_away == 6)
        assert len(rig.listener.associations) == 64
        for peer in peers[:6]:
            assert await peer.ended()
        assert isinstance(await peers[-1].associate(), AssociateAccept)


async def test_places_are_given_back_however_an_association_ends() -> None:
    async with listening() as rig:
        for number in range(40):
            peer = await rig.peer()
            if number % 4 == 0:
                await peer.send(b"\x09nonsense")
                assert isinstance(await peer.receive(), Abort)
            elif number % 4 == 1:
                assert isinstance(await peer.associate(), AssociateAccept)
            elif number % 4 == 2:
                await peer.send(REQUEST)
            peer.wire.close_now(reset=number % 8 > 3)
        await rig.until(lambda: not rig.listener.associations)
        assert rig.page.associations(0) == rig.page.established() == 0


async def test_shares_hold_for_each_ae_and_all() -> None:
    async with listening(max_associations=3, max_associations_per_ae=2) as rig:
        answers = [await (await rig.peer()).associate(calling) for calling in ("A", "A", "A", "B", "C")]
        assert [isinstance(answer, AssociateAccept) for answer in answers] == [True, True, False, True, False]
        assert {repr(answer) for answer in answers if isinstance(answer, AssociateReject)} == {
            repr(LOCAL_LIMIT_EXCEEDED)
        }


# -- accepting ------------------------------------------------------------------------------------------------------------


class Exhausted:
    """A listening socket out of file descriptors for a while."""

    def __init__(self, errors: list[int]) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.errors, self.tries = errors, 0

    def accept(self) -> Any:
        self.tries += 1
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, "no")
        return self.sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EPROTO])
async def test_accepting_pauses_when_it_cannot_go_on_and_then_does(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30: without spinning, and without a word to the associations that are open."""
    monkeypatch.setattr(listener, "_PAUSE_S", 0.1)
    sock = Exhausted([])
    async with listening(sock=sock) as rig:
        first = await rig.peer()
        assert isinstance(await first.associate(), AssociateAccept)
        sock.errors, sock.tries = [number] * 2, 0
        second = await rig.peer()
        await rig.until(lambda: len(sock.errors) < 2)
        assert await first.echo() == 0
        assert isinstance(await second.associate(), AssociateAccept)
        assert sock.tries <= 4


# -- crashes and draining -------------------------------------------------------------------------------------------------


async def test_crash_of_one_association_ends_that_one_with_an_abort() -> None:
    async def crash(_: Association, __: Incoming) -> None:
        raise ZeroDivisionError

    async with listening({CommandField.C_ECHO_RQ: crash}) as rig:
        one, other = await rig.peer(), await rig.peer()
        assert isinstance(await one.associate(), AssociateAccept)
        assert isinstance(await other.associate(), AssociateAccept)
        await one.send(encode_message(1, echo_request(), command=True, max_pdu_bytes=16384))
        assert await one.receive() == Abort(0, 0)
        one.wire.close_now()
        await rig.until(lambda: len(rig.listener.associations) == 1)
        await other.send(encode(ReleaseRequest()))
        assert isinstance(await other.receive(), ReleaseReply)
        assert isinstance(await (await rig.peer()).associate(), AssociateAccept)


async def test_draining_listener_takes_nobody_and_returns_when_all_have_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An idle association is aborted after a second; one at work may finish."""
    go_on = trio.Event()

    async def slow(association: Association, incoming: Incoming) -> None:
        await go_on.wait()
        await verification.serve(association, incoming)

    rig = Rig({CommandField.C_ECHO_RQ: slow})
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.listener.run)
        idle, busy = await rig.peer(), await rig.peer()
        assert isinstance(await idle.associate(), AssociateAccept)
        assert isinstance(await busy.associate(), AssociateAccept)
        await busy.send(encode_message(1, echo_request(), command=True, max_pdu_bytes=16384))
        await rig.until(lambda: any(one.requests for one in rig.listener.associations))
        rig.listener.drain()
        began = trio.current_time()
        assert await idle.receive() == Abort(0, 0)
        assert trio.current_time() - began == pytest.approx(1, abs=0.2)
        idle.wire.close_now()
        go_on.set()
        found = await busy.receive_raw()
        assert found is not None and decode_command(pdvs(found[1])[0].data).status == 0
        assert await busy.receive() == Abort(0, 0)
        busy.wire.close_now()
    rig.sock.close()


# -- patience -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 6, 100])
async def test_association_that_is_not_asked_for_ends_at_artim(
    sent: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with listening(artim_s=10.0) as rig:
        peer = await rig.peer()
        await peer.send(REQUEST[:sent])
        began = trio.current_time()
        assert await peer.ended()
        assert trio.current_time() - began == pytest.approx(10, abs=0.2)


async def test_request_that_trickles_ends_at_artim(autojump_clock: trio.testing.MockClock) -> None:
    async with listening(artim_s=10.0) as rig:
        peer = await rig.peer()
        began = trio.current_time()
        with suppress(Exception):
            for at in range(len(REQUEST)):
                await peer.send(REQUEST[at : at + 1])
                await trio.sleep(1.0)
        assert await peer.ended()
        assert trio.current_time() - began <= 13


async def test_peer_that_falls_silent_is_aborted(autojump_clock: trio.testing.MockClock) -> None:
    async with listening(idle_timeout_s=60.0, network_timeout_s=30.0) as rig:
        for data, patience_s in (
            (b"", 60),
            (encode_message(1, echo_request(), command=True, max_pdu_bytes=16384)[:9], 30),
        ):
            peer = await rig.peer()
            assert isinstance(await peer.associate(), AssociateAccept)
            await peer.send(data)
            began = trio.current_time()
            assert await peer.receive() == Abort(0, 0)
            assert trio.current_time() - began == pytest.approx(patience_s, abs=0.5)


# -- what is said between two requests ------------------------------------------------------------------------------------


async def only(rig: Rig) -> Association:
    await rig.until(lambda: len(rig.listener.associations) == 1)
    (association,) = rig.listener.associations
    await rig.until(lambda: association.established)
    return association


REPORT = Command(
    command_field=CommandField.N_EVENT_REPORT_RQ,
    affected_sop_class_uid=STORAGE_COMMITMENT_PUSH_MODEL,
    affected_sop_instance_uid="1.2.840.10008.1.20.1.1",
    event_type_id=1,
)


def message(command: Command, data_set: bytes | None = None) -> bytes:
    parts = encode_message(1, encode_command(command), command=True, max_pdu_bytes=16384)
    if data_set is not None:
        parts += encode_message(1, data_set, command=False, max_pdu_bytes=16384)
    return parts


def echo(message_id: int = 7) -> bytes:
    return encode_message(1, echo_request(message_id), command=True, max_pdu_bytes=16384)


def answer_to(report: Command, status: int = 0, **more: Any) -> Command:
    return Command(
        command_field=CommandField.N_EVENT_REPORT_RSP,
        message_id_responded_to=report.message_id,
        status=status,
        **more,
    )


async def heard(peer: Peer) -> Command:
    found = await peer.receive_raw()
    assert found is not None and found[0] == 4, found
    return decode_command(pdvs(found[1])[0].data)


class Asking:
    """Something of ours that asks the peer."""

    def __init__(self, association: Association, nursery: trio.Nursery) -> None:
        self.answers: list[Command | Exception] = []
        self.scope = trio.CancelScope()
        nursery.start_soon(self._ask, association)

    async def _ask(self, association: Association) -> None:
        with self.scope:
            try:
                self.answers.append(await association.ask(1, REPORT))
            except Unavailable as ended:
                self.answers.append(ended)


@asynccontextmanager
async def established(services: Mapping[int, Service] | None = None) -> AsyncIterator[Any]:
    async with listening(services) as rig, trio.open_nursery() as nursery:
        peer = await rig.peer()
        assert isinstance(await peer.associate(), AssociateAccept)
        association = await only(rig)
        with trio.fail_after(10):
            yield rig, peer, lambda: Asking(association, nursery)
        nursery.cancel_scope.cancel()


async def test_request_of_ours_waits_until_the_peer_pauses() -> None:
    """While a request is served, and while the next one is here already."""
    served, go_on = trio.Event(), trio.Event()

    async def slow(association: Association, incoming: Incoming) -> None:
        served.set()
        await go_on.wait()
        await verification.serve(association, incoming)

    async with established({CommandField.C_ECHO_RQ: slow}) as (rig, peer, asking):
        await peer.send(echo(1), echo(2))
        await served.wait()
        ours = asking()
        go_on.set()
        said = [await heard(peer) for _ in range(3)]
        assert [one.command_field for one in said] == [
            CommandField.C_ECHO_RSP,
            CommandField.C_ECHO_RSP,
            CommandField.N_EVENT_REPORT_RQ,
        ]
        await peer.send(message(answer_to(said[2])))
        await rig.until(lambda: ours.answers)
        assert ours.answers[0].status == 0


async def test_request_of_the_peer_that_crosses_ours_is_served() -> None:
    async with established() as (rig, peer, asking):
        ours = asking()
        report = await heard(peer)
        await peer.send(echo())
        assert (await heard(peer)).command_field == CommandField.C_ECHO_RSP
        assert ours.answers == []
        await peer.send(message(answer_to(report, data_set_type=DATA_SET), b"\0" * 3000), echo())
        await rig.until(lambda: ours.answers)
        assert ours.answers[0].command_field == CommandField.N_EVENT_REPORT_RSP
        assert (await heard(peer)).status == 0, "the association goes on"


async def test_failure_that_answers_a_request_of_ours_ends_nothing() -> None:
    async with established() as (rig, peer, asking):
        ours = asking()
        await peer.send(message(answer_to(await heard(peer), status=0x0110)))
        await rig.until(lambda: ours.answers)
        assert ours.answers[0].status == 0x0110
        assert await peer.echo() == 0


async def test_requests_of_ours_go_one_after_the_other() -> None:
    async with established() as (rig, peer, asking):
        first, second = asking(), asking()
        one = await heard(peer)
        assert await peer.echo() == 0, "and nothing of ours in between"
        await peer.send(message(answer_to(one)))
        two = await heard(peer)
        assert one.message_id != two.message_id
        await peer.send(message(answer_to(one)), message(answer_to(two)))
        await rig.until(lambda: first.answers and second.answers)
        answers = {asked.answers[0].message_id_responded_to for asked in (first, second)}
        assert answers == {one.message_id, two.message_id}


async def test_request_of_ours_that_nobody_waits_for_any_more_is_not_sent() -> None:
    async with established() as (rig, peer, asking):
        sent = asking()
        one = await heard(peer)
        withdrawn = asking()
        await trio.testing.wait_all_tasks_blocked()
        withdrawn.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(message(answer_to(one)))
        await rig.until(lambda: sent.answers)
        assert await peer.echo() == 0, "not a report"
        cancelled_at_once = asking()
        cancelled_at_once.scope.cancel()
        assert await peer.echo() == 0, "and the association is not taken for idle"


async def test_late_answer_to_a_request_of_ours_that_was_given_up_disturbs_nobody() -> None:
    async with established() as (rig, peer, asking):
        given_up = asking()
        one = await heard(peer)
        given_up.scope.cancel()
        second = asking()
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(message(answer_to(one)))
        await peer.send(message(answer_to(await heard(peer))))
        await rig.until(lambda: second.answers)
        assert await peer.echo() == 0


async def _between_two_pages(association: Association, incoming: Incoming) -> None:
    while not await query._cancelled(association, incoming):
        await association.wire.until_readable()
    await verification.serve(association, incoming)


async def _beside_a_move(association: Association, incoming: Incoming) -> None:
    work = retrieval.Retrieval(association, incoming, ())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(retrieval._watch_for_cancel, work)
        while not work.cancelled:
            await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
    await verification.serve(association, incoming)


@pytest.mark.parametrize("service", [_between_two_pages, _beside_a_move])
async def test_answer_to_a_request_of_ours_may_come_in_the_middle_of_an_operation(service: Service) -> None:
    async with established({CommandField.C_ECHO_RQ: service}) as (rig, peer, asking):
        ours = asking()
        report = await heard(peer)
        await peer.send(echo(9))
        await rig.until(lambda: next(iter(rig.listener.associations)).requests)
        await peer.send(message(answer_to(report)))
        await rig.until(lambda: ours.answers)
        assert ours.answers[0].status == 0
        await peer.send(message(Command(command_field=CommandField.C_CANCEL_RQ, message_id_responded_to=9)))
        assert (await heard(peer)).command_field == CommandField.C_ECHO_RSP


async def test_request_of_ours_is_refused_when_the_association_ends() -> None:
    go_on = trio.Event()

    async def slow(_: Association, __: Incoming) -> None:
        await go_on.wait()
        raise ZeroDivisionError

    async with established({CommandField.C_ECHO_RQ: slow}) as (rig, peer, asking):
        association = next(iter(rig.listener.associations))
        sent = asking()
        await heard(peer)
        await peer.send(echo())
        await rig.until(lambda: association.requests == 1)
        waiting = asking()
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        await rig.until(lambda: sent.answers and waiting.answers)
        assert all(isinstance(one.answers[0], Unavailable) for one in (sent, waiting))
        with pytest.raises(Unavailable):
            await association.ask(1, REPORT)


# -- negotiation ----------------------------------------------------------------------------------------------------------


def outcome(
    rig: Rig, sop_class: str, syntaxes: tuple[str, ...] = (IMPLICIT_VR_LITTLE_ENDIAN,)
) -> tuple[int, str]:
    ask = request([(sop_class, syntaxes)], calling_ae="PEER", called_ae="PACS")
    answer = rig.facilities.negotiate(ask, "127.0.0.1", ())
    assert isinstance(answer, tuple)
    (context,) = answer[0].contexts
    return context.result, context.transfer_syntax


async def test_contexts_are_judged_by_class_syntax_and_right() -> None:
    rig = Rig(ECHO)
    jpeg, mystery = "1.2.840.10008.1.2.4.70", "1.2.3.4"
    accepted = ContextResult.ACCEPTANCE
    assert outcome(rig, CT, (jpeg, EXPLICIT_LE)) == (accepted, jpeg), (
        "as it is stored, not as we would like it"
    )
    assert outcome(rig, CT, (mystery,))[0] == ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    assert outcome(rig, mystery)[0] == ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert outcome(rig, VERIFICATION)[0] == accepted
    by_right = {
        Right.STORE: CT,
        Right.FIND: PATIENT_ROOT_FIND,
        Right.MOVE: STUDY_ROOT_MOVE,
        Right.GET: STUDY_ROOT_GET,
        Right.COMMIT: STORAGE_COMMITMENT_PUSH_MODEL,
    }
    for right in Right:
        grant = Grant(frozenset({right}), None)
        for other, sop_class in by_right.items():
            service = rig.facilities._service(grant, sop_class)
            assert service is not None
            needed = other is right or (sop_class == CT and right is Right.GET)
            assert service.allowed is needed, (right, sop_class)
    rig.sock.close()


async def test_rejection_and_acceptance_are_audited() -> None:
    async with listening() as rig:
        for called in ("NOBODY", "PACS"):
            peer = await rig.peer()
            await peer.send(encode(request(CONTEXTS, calling_ae="PEER", called_ae=called)))
            await peer.receive()
        events = [(await rig.audits.receive()).message for _ in range(2)]
        assert [(event.event, event.outcome, event.who) for event in events] == [
            ("association", "refused", "PEER"),
            ("association", "success", "PEER"),
        ]
