"""The client against peers that break the rules, fall silent or leave: what is said, and that nothing is used again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from pydicom.data import get_testdata_file
from trio.testing import MockClock

from pacs_actors.dicom.client import (
    VERIFICATION,
    AssociationAborted,
    AssociationOver,
    Peer,
    PeerGone,
    PeerSilent,
    Timeouts,
    associate,
    for_find,
    for_storage,
)
from pacs_actors.dicom.client_identifiers import encode_identifier
from protocols.dimse.commands import DATA_SET, Command, CommandField, decode_command, encode_command, respond
from protocols.errors import PeerError
from protocols.ul.pdata import encode_message, pdata_header, pdvs
from protocols.ul.pdu import Abort, AssociateReject, PduType, ReleaseReply, ReleaseRequest, decode, encode
from tests.pacs_actors.dicom.client_peers import Script, scripted_peer

NAMES = {"called": "PEER", "calling": "TEST"}
BOTH = [*VERIFICATION, *for_find()]  # contexts 1 and 3


def message(context_id: int, command: Command, data_set: bytes | None = None) -> bytes:
    sent = encode_message(context_id, encode_command(command), command=True, max_pdu_bytes=16384)
    if data_set is not None:
        sent += encode_message(context_id, data_set, command=False, max_pdu_bytes=16384)
    return sent


async def request_of(script: Script) -> Command:
    """The next command that the client sends, its data set skipped."""
    kind, body = await script.receive()
    assert kind == PduType.DATA
    command = decode_command(pdvs(body)[0].data)
    if command.has_data_set:
        while not pdvs(body)[-1].is_last or pdvs(body)[-1].is_command:
            _, body = await script.receive()
    return command


async def abort_of(script: Script) -> Abort:
    kind, body = await script.receive()
    assert kind == PduType.ABORT, f"PDU type {kind} instead of an A-ABORT"
    abort = decode(kind, body)
    assert isinstance(abort, Abort)
    return abort


# -- establishment ------------------------------------------------------------------------------------------------------


async def test_silence_before_the_answer_ends_in_time_and_is_aborted(autojump_clock: MockClock) -> None:
    aborts: list[Abort] = []

    async def play(script: Script) -> None:
        await script.receive()
        aborts.append(await abort_of(script))

    async with scripted_peer(play) as port:
        began = trio.current_time()
        with pytest.raises(PeerSilent):
            async with associate("127.0.0.1", port, **NAMES, contexts=BOTH, timeouts=Timeouts(association=7)):
                pass
        assert 7 <= trio.current_time() - began < 10
        await trio.testing.wait_all_tasks_blocked()
    assert aborts == [Abort(0, 0)]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (encode(Abort(2, 2)), AssociationAborted),
        (encode(ReleaseReply()), PeerError),
        (b"\x09\0\0\0\0\4abcd", PeerError),
        (b"\x02\0\xff\xff\xff\xff", PeerError),
        (b"\x02\0\0\0\0\x50" + bytes(68) + b"\x21\0\xff\xff" + bytes(8), PeerError),
        (b"\x04\0\0\0\0\x10" + bytes(16), PeerError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", PeerError),
        (b"", PeerGone),
        (b"\x02\0\0", PeerGone),
    ],
)
async def test_any_other_answer_than_the_three_is_an_error(answer: bytes, error: type[Exception]) -> None:
    async def play(script: Script) -> None:
        await script.receive()
        await script.send(answer)

    async with scripted_peer(play) as port:
        with pytest.raises(error):
            async with associate("127.0.0.1", port, **NAMES, contexts=BOTH):
                raise AssertionError("an association came about")


async def test_a_rejection_is_not_answered_by_an_abort() -> None:
    async def play(script: Script) -> None:
        await script.receive()
        await script.send(AssociateReject(2, 3, 1))
        assert await script.receive() == (0, b"")

    async with scripted_peer(play) as port:
        with pytest.raises(Exception, match="temporary congestion; try again later"):
            async with associate("127.0.0.1", port, **NAMES, contexts=BOTH):
                pass


# -- responses that are none ------------------------------------------------------------------------------------------


def with_other_id(request: Command) -> bytes:
    return message(1, Command(**{**_fields(respond(request, 0)), "message_id_responded_to": 77}))


def of_other_kind(request: Command) -> bytes:
    return message(1, Command(**{**_fields(respond(request, 0)), "command_field": CommandField.C_STORE_RSP}))


def _fields(command: Command) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


def endless_command(request: Command) -> bytes:
    piece = pdata_header(1, 16000, command=True, last=False) + bytes(16000)
    return piece * 5


def data_first(request: Command) -> bytes:
    return encode_message(1, b"data", command=False, max_pdu_bytes=16384)


def longer_than_offered(request: Command) -> bytes:
    return b"\x04\0" + (1 << 20).to_bytes(4, "big")


def four_gigabytes(request: Command) -> bytes:
    return b"\x04\0\xff\xff\xff\xff"


def fragment_that_lies(request: Command) -> bytes:
    return b"\x04\0\0\0\0\x10" + b"\0\0\1\0\1\3" + bytes(10)


def context_never_proposed(request: Command) -> bytes:
    return message(201, respond(request, 0))


def no_command_set(request: Command) -> bytes:
    return encode_message(1, b"\xff" * 40, command=True, max_pdu_bytes=16384)


@pytest.mark.parametrize(
    "nonsense",
    [
        with_other_id,
        of_other_kind,
        endless_command,
        data_first,
        longer_than_offered,
        four_gigabytes,
        fragment_that_lies,
        context_never_proposed,
        no_command_set,
    ],
    ids=lambda function: function.__name__,
)
async def test_nonsense_for_a_response_is_aborted(nonsense: Callable[[Command], bytes]) -> None:
    aborts: list[Abort] = []

    async def play(script: Script) -> None:
        await script.accept()
        await script.send(nonsense(await request_of(script)))
        aborts.append(await abort_of(script))

    async with (
        scripted_peer(play) as port,
        associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer,
    ):
        with pytest.raises(PeerError):
            await peer.echo()
        assert peer.is_over
        with pytest.raises(AssociationOver):
            await peer.echo()
        await trio.testing.wait_all_tasks_blocked()
    assert [abort.source for abort in aborts] == [2]


async def test_an_identifier_without_end_is_cut_off_at_its_limit() -> None:
    sent = 0

    async def play(script: Script) -> None:
        nonlocal sent
        await script.accept()
        request = await request_of(script)
        await script.send(message(3, respond(request, 0xFF00, data_set_type=DATA_SET)))
        piece = pdata_header(3, 16000, command=False, last=False) + bytes(16000)
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await script.send(piece)
                sent += 16000

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        with pytest.raises(PeerError, match="1048576 bytes"):
            await anext(peer.find({"PatientID": ""}))
    assert sent >= 1048576


@pytest.mark.parametrize("data_set", [b"\x08\0\x52\0CS\xff\xff", b"garbage!" * 4, b"\xfe\xff\0\xe0\0\0\0\0"])
async def test_an_identifier_that_cannot_be_read_ends_the_association(data_set: bytes) -> None:
    async def play(script: Script) -> None:
        await script.accept()
        request = await request_of(script)
        await script.send(message(3, respond(request, 0xFF00, data_set_type=DATA_SET), data_set))
        await abort_of(script)

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        with pytest.raises(PeerError, match="cannot be read"):
            await anext(peer.find({"PatientID": ""}))


# -- silence, leaving, cancelling ---------------------------------------------------------------------------------------


async def test_an_association_that_timed_out_is_aborted_and_never_used_again(
    autojump_clock: MockClock,
) -> None:
    async def play(script: Script) -> None:
        await script.accept()
        request = await request_of(script)
        assert (await abort_of(script)) == Abort(0, 0)
        # Too late: nobody takes it for the answer to the next question.
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await script.send(message(1, respond(request, 0)))
                await trio.sleep(0.1)

    async with (
        scripted_peer(play) as port,
        associate("127.0.0.1", port, **NAMES, contexts=BOTH, timeouts=Timeouts(response=3)) as peer,
    ):
        with pytest.raises(PeerSilent, match="no response within 3 s"):
            await peer.echo()
        with pytest.raises(AssociationOver, match="no response within 3 s"):
            await peer.echo()


async def test_a_trickling_peer_is_cut_off(autojump_clock: MockClock) -> None:
    async def play(script: Script) -> None:
        await script.accept()
        response = message(1, respond(await request_of(script), 0))
        await trio.sleep(1)
        with pytest.raises(trio.BrokenResourceError):
            for byte in response * 50:
                await script.send(bytes([byte]))
                await trio.sleep(1)

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        began = trio.current_time()
        with pytest.raises(PeerSilent):
            await peer.echo()
        assert trio.current_time() - began < 10


async def test_cancellation_aborts_and_closes() -> None:
    aborts: list[Abort] = []
    asked = trio.Event()

    async def play(script: Script) -> None:
        await script.accept()
        await request_of(script)
        asked.set()
        aborts.append(await abort_of(script))
        assert await script.receive() == (0, b"")

    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    async with scripted_peer(play) as port:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def cancel() -> None:
                    await asked.wait()
                    scope.cancel()

                async with associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
                    await peer.echo()
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    assert aborts == [Abort(0, 0)]
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


async def test_cancelling_one_request_ends_the_association() -> None:
    async def play(script: Script) -> None:
        await script.accept()
        await request_of(script)
        await abort_of(script)

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        with trio.move_on_after(0.05) as scope:
            await peer.echo()
        assert scope.cancelled_caught
        with pytest.raises(AssociationOver):
            await peer.echo()


async def test_an_abort_in_the_middle_is_told_in_words() -> None:
    async def play(script: Script) -> None:
        await script.accept()
        await request_of(script)
        await script.send(Abort(2, 6))

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        with pytest.raises(AssociationAborted, match="a PDU parameter had an invalid value") as aborted:
            await peer.echo()
        assert (aborted.value.source, aborted.value.reason) == (2, 6)


async def test_an_abort_while_an_object_is_sent_is_not_lost_in_the_broken_connection() -> None:
    data = Path(get_testdata_file("CT_small.dcm")).read_bytes() + bytes(64 * 1024 * 1024)

    async def play(script: Script) -> None:
        await script.accept()
        await script.send(Abort(0, 0))

    async with scripted_peer(play) as port:
        context = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
        async with associate("127.0.0.1", port, **NAMES, contexts=for_storage([context])) as peer:
            with pytest.raises(AssociationAborted, match="application aborted"):
                await peer.store(data)


async def test_a_peer_that_leaves_between_requests_is_noticed_by_the_next() -> None:
    async def play(script: Script) -> None:
        await script.accept()
        await script.send(message(1, respond(await request_of(script), 0)))
        await script.send(ReleaseRequest())
        await request_of(script)
        kind, _ = await script.receive()
        assert kind == PduType.RELEASE_REPLY

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        await peer.echo()
        with pytest.raises(AssociationOver, match="the peer released it"):
            await peer.echo()


async def test_requests_of_the_peer_are_answered_while_we_wait() -> None:
    async def play(script: Script) -> None:
        await script.accept()
        request = await request_of(script)
        asked = Command(
            command_field=CommandField.C_FIND_RQ,
            message_id=9,
            affected_sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
            priority=0,
            data_set_type=DATA_SET,
        )
        await script.send(message(3, asked, bytes(20_000)))
        refused = await request_of(script)
        assert (refused.command_field, refused.status) == (CommandField.C_FIND_RSP, 0x0211)
        await script.send(message(1, respond(request, 0)))
        kind, _ = await script.receive()
        assert kind == PduType.RELEASE_REQUEST
        await script.send(ReleaseReply())

    async with scripted_peer(play) as port, associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer:
        await peer.echo()


# -- the end ------------------------------------------------------------------------------------------------------------


async def test_both_ends_may_release_at_once() -> None:
    seen: list[int] = []

    async def play(script: Script) -> None:
        await script.accept()
        seen.append((await script.receive())[0])
        await script.send(ReleaseRequest())
        seen.append((await script.receive())[0])
        await script.send(ReleaseReply())
        seen.append((await script.receive())[0])

    async with (
        scripted_peer(play) as port,
        associate("127.0.0.1", port, **NAMES, contexts=BOTH),
    ):
        pass
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [PduType.RELEASE_REQUEST, PduType.RELEASE_REPLY, 0]


@pytest.mark.parametrize("answer", [b"", encode(Abort(0, 0)), b"\x04\0\0\0\0\x10" + bytes(16), b"nonsense"])
async def test_a_broken_release_hurts_nobody(answer: bytes, autojump_clock: MockClock) -> None:
    async def play(script: Script) -> None:
        await script.accept()
        await script.receive()
        await script.send(answer)
        await script.receive()

    async with scripted_peer(play) as port:
        began = trio.current_time()
        async with associate("127.0.0.1", port, **NAMES, contexts=BOTH):
            pass
        assert trio.current_time() - began < 10


async def test_a_peer_that_ignores_the_cancel_is_left_in_time(autojump_clock: MockClock) -> None:
    aborts: list[Abort] = []

    async def play(script: Script) -> None:
        await script.accept()
        request = await request_of(script)
        identifier = encode_identifier({"PatientID": "1"}, "1.2.840.10008.1.2.1")
        match = message(3, respond(request, 0xFF00, data_set_type=DATA_SET), identifier)
        try:
            while True:
                await script.send(match)
                await trio.sleep(0.5)
        except trio.BrokenResourceError:
            aborts.append(Abort(0, 0))

    async with (
        scripted_peer(play) as port,
        associate("127.0.0.1", port, **NAMES, contexts=BOTH, timeouts=Timeouts(cancel=4)) as peer,
    ):
        async with peer.find({"PatientID": ""}) as answers:
            assert (await anext(answers))["PatientID"] == "1"
            began = trio.current_time()
        assert 4 <= trio.current_time() - began < 7
        with pytest.raises(AssociationOver):
            await peer.echo()
        await trio.sleep(2)
    assert aborts


async def test_tasks_that_share_a_peer_take_turns() -> None:
    async def play(script: Script) -> None:
        await script.accept()
        for _ in range(5):
            await script.send(message(1, respond(await request_of(script), 0)))
        await script.receive()
        await script.send(ReleaseReply())

    async def ask(peer: Peer) -> None:
        await peer.echo()

    async with (
        scripted_peer(play) as port,
        associate("127.0.0.1", port, **NAMES, contexts=BOTH) as peer,
        trio.open_nursery() as nursery,
    ):
        for _ in range(5):
            nursery.start_soon(ask, peer)
