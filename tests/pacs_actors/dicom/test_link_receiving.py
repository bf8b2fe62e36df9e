"""The link as receiver: whatever the pieces in which bytes come, the same messages; whatever a peer breaks, a PeerError."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import StorageSettings
from pacs_actors.archive.objects.interface import Staging
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.dicom.link import (
    LARGEST_COMMAND_BYTES,
    LARGEST_IDENTIFIER_BYTES,
    Aborted,
    DicomLink,
    Incoming,
    Released,
)
from pacs_actors.dicom.wire import PeerGone, PeerSilent, Wire
from protocols.dimse.commands import CommandField
from protocols.errors import PeerError
from protocols.ul.pdu import Abort, AssociateReject, ReleaseRequest, encode
from tests.pacs_actors.dicom.wires import (
    CONTEXT,
    CT,
    EXPLICIT_LE,
    OTHER_CONTEXT,
    Sink,
    connected,
    echo_request,
    message_bytes,
    pdu,
    pdv,
    store_request,
)
from tests.stored_objects import StoredObject

NO_LIMIT = 1 << 40
DATA = bytes(range(256)) * 20000


async def all_messages(link: DicomLink, buffer_bytes: int) -> list[tuple[int, int | None, bytes | None]]:
    """Context, message ID and data set of every message until the release."""
    found: list[tuple[int, int | None, bytes | None]] = []
    while True:
        try:
            incoming = await link.receive_message()
        except Released:
            return found
        data: bytes | None = None
        if incoming.command.has_data_set:
            sink = Sink(buffer_bytes)
            length = await link.receive_data_set(incoming.context_id, sink, limit_bytes=NO_LIMIT)
            data = sink.data
            assert length == len(data)
        found.append((incoming.context_id, incoming.command.message_id, data))


# -- the same messages ------------------------------------------------------------------------------------------------


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int | None, bytes | None]]]:
    """Some messages as they may lie in a stream, and what they are."""
    stream, expected = b"", []
    for message_id in range(draw(st.integers(1, 4))):
        length = draw(st.none() | st.sampled_from([0, 1, 2, 63, 64, 65, 200, 1000]))
        data = None if length is None else DATA[message_id : message_id + length]
        context_id = draw(st.sampled_from([CONTEXT, OTHER_CONTEXT]))
        stream += message_bytes(
            echo_request(message_id) if data is None else store_request(message_id),
            data,
            fragment_bytes=draw(st.sampled_from([1, 7, 64, 100, 5000])),
            fragments_a_pdu=draw(st.integers(1, 5)),
            context_id=context_id,
        )
        expected.append((context_id, message_id, data))
    return stream + encode(ReleaseRequest()), expected


@settings(max_examples=60)
@given(streams(), st.data())
def test_any_split_of_the_bytes_gives_the_same_messages(
    made: tuple[bytes, list[tuple[int, int | None, bytes | None]]], data: st.DataObject
) -> None:
    stream, expected = made
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    buffer_bytes = data.draw(st.sampled_from([16, 64, 512]))

    async def main() -> None:
        with connected() as (link, peer):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_pieces, peer, stream, cuts)
                assert await all_messages(link, buffer_bytes) == expected

    trio.run(main)


async def send_pieces(peer: Wire, stream: bytes, cuts: list[int]) -> None:
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        await peer.send([stream[start:end]])
        await trio.testing.wait_all_tasks_blocked()


async def test_one_byte_at_a_time_gives_the_same_messages() -> None:
    stream = message_bytes(store_request(1), DATA[:300], fragment_bytes=50, fragments_a_pdu=3)
    stream += message_bytes(echo_request(2)) + encode(ReleaseRequest())
    with connected() as (link, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_pieces, peer, stream, list(range(1, len(stream))))
            assert await all_messages(link, 64) == [(CONTEXT, 1, DATA[:300]), (CONTEXT, 2, None)]


@pytest.mark.parametrize("fragments_a_pdu", [1, 3])
@pytest.mark.parametrize("fragment_bytes", [1, 16384 - 6, 131072 - 6])
async def test_data_set_lands_in_its_object_byte_for_byte(
    tmp_path: Path, fragment_bytes: int, fragments_a_pdu: int
) -> None:
    """Also one larger than the 1 MiB buffer, with its end exactly at a buffer's end, and one byte behind it."""
    if fragments_a_pdu > 1 and fragment_bytes == 131072 - 6:
        fragment_bytes = 131072 // 3 - 6
    async with LocalObjectStore(tmp_path, 0, StorageSettings(reserve_bytes=0, buffers=4)) as store:
        with connected() as (link, peer):
            for length in (
                [0, 1, 5000] if fragment_bytes == 1 else [70_000, 1 << 20, (1 << 20) + 1, 3_500_000]
            ):
                data = DATA[:length]
                stream = message_bytes(
                    store_request(), data, fragment_bytes=fragment_bytes, fragments_a_pdu=fragments_a_pdu
                )
                # What comes next must not be taken for more of it.
                stream += message_bytes(echo_request(99))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(peer.send, [stream])
                    incoming = await link.receive_message()
                    with await store.stage(CT, "1.2.3", EXPLICIT_LE, "PEER") as staging:
                        got = await link.receive_data_set(incoming.context_id, staging, limit_bytes=NO_LIMIT)
                        assert got == length
                        stored = (await store.commit(staging, _nothing)).stored
                    raw = StoredObject(tmp_path, stored.key).read_bytes()
                    assert raw[stored.data_offset :] == data
                    await store.remove(stored.key)
                    assert (await link.receive_message()).command.message_id == 99


def _nothing(_: memoryview, __: bool) -> None: ...


async def test_object_whose_end_meets_the_buffers_end(tmp_path: Path) -> None:
    async with LocalObjectStore(tmp_path, 0, StorageSettings(reserve_bytes=0, buffers=4)) as store:
        with connected() as (link, peer):
            for beyond in (-13, -12, -1, 0, 1):
                with await store.stage(CT, "1.2.3", EXPLICIT_LE, "PEER") as staging:
                    data = DATA[: len(staging.view) - staging.position + beyond]
                    stream = message_bytes(store_request(), data) + message_bytes(echo_request(99))
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(peer.send, [stream])
                        incoming = await link.receive_message()
                        await link.receive_data_set(incoming.context_id, staging, limit_bytes=NO_LIMIT)
                        assert (await link.receive_message()).command.message_id == 99
                    stored = (await store.commit(staging, _nothing)).stored
                assert StoredObject(tmp_path, stored.key).read_bytes()[stored.data_offset :] == data
                await store.remove(stored.key)


async def test_identifier_in_many_fragments_is_put_together() -> None:
    with connected() as (link, peer):
        await peer.send([message_bytes(store_request(), DATA[:9000], fragment_bytes=3, fragments_a_pdu=100)])
        incoming = await link.receive_message()
        assert await link.receive_identifier(incoming.context_id) == DATA[:9000]


async def test_first_part_of_a_message_is_acknowledged_while_the_rest_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer with Nagle's algorithm sends an identifier only when its command was acknowledged."""
    calls: list[None] = []
    with connected() as (link, peer):
        monkeypatch.setattr(link.wire, "acknowledge_at_once", lambda: calls.append(None))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.receive_message)
            await trio.testing.wait_all_tasks_blocked()
            assert not calls, "between messages nobody waits for us"
            await peer.send([pdu(pdv(store_request(), command=True, last=True))])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.receive_identifier, CONTEXT)
            await trio.testing.wait_all_tasks_blocked()
            assert len(calls) == 1
            await peer.send([pdu(pdv(DATA[:100], last=True))])


async def test_skipped_data_set_leaves_the_next_message_readable() -> None:
    with connected() as (link, peer):
        stream = message_bytes(store_request(), DATA[:200_000]) + message_bytes(echo_request(7))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, [stream])
            incoming = await link.receive_message()
            await link.skip_data_set(incoming.context_id)
            assert (await link.receive_message()).command.message_id == 7


async def test_cancel_that_has_come_is_seen_without_waiting() -> None:
    with connected() as (link, peer):
        assert not link.pending_message()
        await peer.send([message_bytes(echo_request(3))])
        await link.wait_message()
        assert link.pending_message()
        assert (await link.receive_message()).command.command_field == CommandField.C_ECHO_RQ
        assert not link.pending_message()


# -- slow peers -------------------------------------------------------------------------------------------------------


async def test_slow_peer_is_parked_and_loses_nothing() -> None:
    with connected() as (link, peer):
        stream = message_bytes(store_request(), DATA[:120], fragment_bytes=40)
        sink = Sink(64)

        async def slowly() -> None:
            await peer.send([stream[:-70]])
            with trio.fail_after(10):
                while not sink.parkings:
                    await trio.sleep(0.01)
            assert not len(sink.view), "a parked sink has given its buffer back"
            await peer.send([stream[-70:]])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slowly)
            incoming = await link.receive_message()
            await link.receive_data_set(incoming.context_id, sink, limit_bytes=NO_LIMIT)
        assert sink.data == DATA[:120]
        assert sink.parkings == sink.resumptions > 0


async def test_quick_peer_is_not_parked() -> None:
    with connected() as (link, peer):
        await peer.send([message_bytes(store_request(), DATA[:5000])])
        incoming, sink = await link.receive_message(), Sink(512)
        await link.receive_data_set(incoming.context_id, sink, limit_bytes=NO_LIMIT)
        assert (sink.parkings, sink.data) == (0, DATA[:5000])


async def trickle(peer: Wire, stream: bytes, every_s: float) -> None:
    for at in range(len(stream)):
        await peer.send([stream[at : at + 1]])
        await trio.sleep(every_s)


TRICKLES = {
    "PDU header": (b"", pdu(pdv(store_request(), command=True, last=True))),
    "command": (pdu(pdv(store_request(), command=True, last=True))[:12], store_request() * 10),
    "data set": (message_bytes(store_request(), DATA[:9000], fragment_bytes=9000)[:200], DATA[:9000]),
    "release": (b"", encode(ReleaseRequest())),
}


@pytest.mark.parametrize("what", TRICKLES)
async def test_peer_that_trickles_is_given_up(what: str, autojump_clock: trio.testing.MockClock) -> None:
    """A byte a second, and a byte every 20 s: always within the silence allowed, never within the rate."""
    at_once, slowly = TRICKLES[what]
    for every_s in (1.0, 20.0):
        with connected(minimum_rate_bytes_s=256) as (link, peer):
            await peer.send([at_once])
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trickle, peer, slowly, every_s)
                with pytest.raises((PeerSilent, Released)) as ended:
                    incoming = await link.receive_message()
                    await link.receive_data_set(incoming.context_id, Sink(64), limit_bytes=NO_LIMIT)
                nursery.cancel_scope.cancel()
            # A release is 10 bytes and may be complete before anybody calls it slow.
            assert ended.type is PeerSilent or (what == "release" and every_s == 1.0)
            assert trio.current_time() - began <= 5 + 20 + 1


async def test_peer_that_trickles_is_borne_without_a_minimum_rate(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The control: what the rate forbids is possible without it."""
    with connected(minimum_rate_bytes_s=0) as (link, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, peer, message_bytes(echo_request(5)), 20.0)
            assert (await link.receive_message()).command.message_id == 5


async def test_slow_but_steady_peer_is_not_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """1 KB/s, four times the minimum: a modality on a bad line."""
    stream = message_bytes(store_request(), DATA[:60_000])

    async def steadily(peer: Wire) -> None:
        for at in range(0, len(stream), 1000):
            await peer.send([stream[at : at + 1000]])
            await trio.sleep(1.0)

    with connected(minimum_rate_bytes_s=256) as (link, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steadily, peer)
            incoming, sink = await link.receive_message(), Sink(512)
            await link.receive_data_set(incoming.context_id, sink, limit_bytes=NO_LIMIT)
            assert sink.data == DATA[:60_000]


async def test_silence_between_and_inside_messages_has_its_own_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with connected() as (link, peer):
        link.idle_timeout_s, link.message_timeout_s = 60.0, 30.0
        began = trio.current_time()
        with pytest.raises(PeerSilent):
            await link.receive_message()
        assert trio.current_time() - began == pytest.approx(60, abs=0.1)
        await peer.send([message_bytes(echo_request())[:20]])
        began = trio.current_time()
        with pytest.raises(PeerSilent):
            await link.receive_message()
        assert trio.current_time() - began == pytest.approx(30, abs=0.1)


# -- fairness ---------------------------------------------------------------------------------------------------------


class Turns(trio.abc.Instrument):
    """Counts how often this task lets the loop go on with others."""

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self.count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self.task


FLOODS = {
    "tiny data fragments": message_bytes(store_request(), DATA[:15_000], fragment_bytes=1),
    "tiny fragments in large PDUs": message_bytes(
        store_request(), DATA[:40_000], fragment_bytes=1, fragments_a_pdu=10_000
    ),
}


async def turns_during(flood: bytes) -> int:
    """How often the loop could go on with others while a flood that was there already was received."""
    with connected() as (link, peer):
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with trio.fail_after(5):
            await peer.send([flood])
        incoming = await link.receive_message()
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        await link.receive_data_set(incoming.context_id, Sink(1 << 17), limit_bytes=NO_LIMIT)
        trio.lowlevel.remove_instrument(turns)
        return turns.count


@pytest.mark.parametrize("what", FLOODS)
async def test_peer_that_is_never_out_of_bytes_does_not_keep_the_loop(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await turns_during(FLOODS[what]) >= 1

    async def keep_on(_: Wire) -> None: ...

    # The control: it would, if the link did not give way.
    monkeypatch.setattr(Wire, "give_way", keep_on)
    assert await turns_during(FLOODS[what]) == 0


# -- broken peers -----------------------------------------------------------------------------------------------------

COMMAND = store_request()
BROKEN: dict[str, tuple[bytes, int]] = {
    "PDU over what was agreed": (pdu(pdv(b"x" * 131072, command=True)), 6),
    "PDU of 4 GiB": (b"\x04\x00\xff\xff\xff\xff", 6),
    "PDU without a fragment": (pdu(), 6),
    "PDU too short for a fragment": (b"\x04\x00\x00\x00\x00\x05" + bytes(5), 6),
    "fragment longer than its PDU": (b"\x04\x00\x00\x00\x00\x0a\x00\x00\x00\xff\x01\x03abcd", 6),
    "fragment of 4 GiB": (b"\x04\x00\x00\x00\x00\x0a\xff\xff\xff\xff\x01\x03abcd", 6),
    "fragment of length 0": (b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x00\x01\x03", 6),
    "fragment of length 1": (b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x01\x01\x03", 6),
    "rest of a PDU too short for a fragment": (
        pdu(pdv(COMMAND, command=True, last=True), b"abc") + pdu(pdv(b"", last=True)),
        6,
    ),
    "context that was not accepted": (pdu(pdv(COMMAND, command=True, last=True, context_id=5)), 6),
    "data set first": (pdu(pdv(b"data", last=True)), 2),
    "command over two contexts": (
        pdu(pdv(COMMAND[:20], command=True))
        + pdu(pdv(COMMAND[20:], command=True, last=True, context_id=OTHER_CONTEXT)),
        6,
    ),
    "data set in another context": (
        message_bytes(COMMAND) + pdu(pdv(b"data", last=True, context_id=OTHER_CONTEXT)),
        6,
    ),
    "command where the data set should be": (message_bytes(COMMAND) * 2, 2),
    "command that never ends": (pdu(pdv(bytes(4000), command=True)) * 17, 6),
    "unknown PDU type": (pdu(b"abcd", kind=9), 1),
    "second association request": (pdu(bytes(100), kind=1), 2),
    "association request that does not come": (b"\x01\x00\x00\x03\x00\x00", 2),
    "association accept": (pdu(bytes(100), kind=2), 2),
    "association reject": (encode(AssociateReject(1, 1, 1)), 2),
    "release of the wrong length": (b"\x05\x00\x00\x00\x00\xff", 6),
    "command that is none": (message_bytes(b"\xff" * 100), 6),
    "command longer than it says": (message_bytes(COMMAND[:-4] + b"\xff\xff\xff\xff"), 6),
}


async def one_message(link: DicomLink, limit_bytes: int = NO_LIMIT) -> tuple[Incoming, bytes]:
    incoming, sink = await link.receive_message(), Sink(512)
    await link.receive_data_set(incoming.context_id, sink, limit_bytes=limit_bytes)
    return incoming, sink.data


@pytest.mark.parametrize("what", BROKEN)
async def test_peer_that_breaks_the_standard_is_told_so(what: str) -> None:
    stream, reason = BROKEN[what]
    with connected() as (link, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, [stream])
            with trio.fail_after(5), pytest.raises(PeerError) as broken:
                await one_message(link)
            assert broken.value.abort_reason == reason
            nursery.cancel_scope.cancel()


async def test_good_peer_is_told_nothing() -> None:
    """The control of the list above: the same bytes, unbroken."""
    with connected() as (link, peer):
        await peer.send([message_bytes(COMMAND, b"data")])
        assert (await one_message(link))[1] == b"data"


@given(st.binary(max_size=400), st.integers(0, 3))
def test_random_bytes_end_in_an_expected_error(junk: bytes, sort: int) -> None:
    """Junk, junk in a PDU, in a fragment, and behind a good command."""
    stream = [junk, pdu(junk), pdu(pdv(junk, command=True, last=True)), message_bytes(COMMAND) + junk][sort]

    async def main() -> None:
        with connected() as (link, peer):
            await peer.send([stream])
            peer.close_now()
            with pytest.raises((PeerError, PeerGone, Released, Aborted)):
                while True:
                    await one_message(link)

    trio.run(main)


async def test_data_set_over_the_limit_is_refused_when_its_fragment_says_so() -> None:
    for size, fits in ((1000, True), (1001, False)):
        with connected() as (link, peer):
            await peer.send([message_bytes(COMMAND, DATA[:size], fragment_bytes=300)])
            if fits:
                assert len((await one_message(link, 1000))[1]) == 1000
            else:
                with pytest.raises(PeerError) as over:
                    await one_message(link, 1000)
                assert over.value.abort_reason == 6


async def test_command_and_identifier_have_limits_whatever_their_fragments() -> None:
    for fragment_bytes in (1, 1000):
        with connected() as (link, peer):
            command = message_bytes(
                bytes(LARGEST_COMMAND_BYTES + 1), fragment_bytes=fragment_bytes, fragments_a_pdu=1000
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, [command])
                with pytest.raises(PeerError, match="64 KiB"):
                    await link.receive_message()
                nursery.cancel_scope.cancel()
    with connected() as (link, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, [message_bytes(COMMAND, bytes(LARGEST_IDENTIFIER_BYTES + 1))])
            incoming = await link.receive_message()
            with pytest.raises(PeerError, match="data set over"):
                await link.receive_identifier(incoming.context_id)
            nursery.cancel_scope.cancel()


async def test_abort_in_the_middle_of_a_data_set_ends_the_message() -> None:
    with connected() as (link, peer):
        await peer.send([message_bytes(COMMAND), pdu(pdv(b"some")), encode(Abort(0, 0))])
        with pytest.raises(Aborted):
            await one_message(link)


async def test_connection_that_ends_in_the_middle_is_noticed() -> None:
    stream = message_bytes(COMMAND, DATA[:100], fragment_bytes=50)
    for end in range(len(stream)):
        with connected() as (link, peer):
            await peer.send([stream[:end]])
            peer.close_now()
            with pytest.raises(PeerGone):
                await one_message(link)


def test_local_staging_is_a_sink() -> None:
    """The link and the object store describe the same thing; mypy compares the protocols, this their members."""
    wanted = {name for name in vars(Sink) if not name.startswith("_")} & {"spill", "park", "resume"}
    assert wanted <= set(vars(Staging))
