"""The link and the object sender on the way out: no fragment longer than the peer takes, and every byte where it belongs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.archive.objects.buffers import BUFFER_BYTES, BufferPool
from pacs_actors.dicom.link import DicomLink
from pacs_actors.dicom.sender import ObjectDamaged, ObjectSender, Outgoing
from pacs_actors.dicom.wire import PeerGone, PeerSilent, Wire
from pacs_actors.threads import NativePool
from protocols.dimse.commands import CommandField, decode_command
from protocols.ul.pdata import pdvs
from protocols.ul.splitter import PduSplitter
from tests.pacs_actors.dicom.wires import CONTEXT, CT, connected

DATA = bytes(range(251)) * 16000
PDU_BYTES = (128, 4096, 16384, 131072, 2 * BUFFER_BYTES)
"""What peers take: tiny, small, usual, ours, and more than a window."""


async def received_messages(peer: Wire, messages: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """Command set and data set of so many messages, as a stranger puts them together; the length of the longest PDU."""
    splitter = PduSplitter(1 << 30)
    found: list[tuple[bytes, bytes]] = []
    parts, ended, longest = [b"", b""], [False, False], 0
    view = memoryview(bytearray(1 << 16))
    while len(found) < messages:
        got = await peer.receive_into(view)
        assert got, "closed too early"
        for kind, body in splitter.feed(view[:got]):
            assert kind == 4
            longest = max(longest, len(body))
            for one in pdvs(body):
                which = 0 if one.is_command else 1
                assert one.context_id == CONTEXT
                assert not ended[which], "a fragment after the last"
                assert which == 0 or ended[0], "a data set before the end of its command"
                parts[which] += one.data
                ended[which] = one.is_last
                if ended == [True, True]:
                    found.append((parts[0], parts[1]))
                    parts, ended = [b"", b""], [False, False]
    return found, longest


def edges(pdu_bytes: int) -> list[int]:
    """Sizes at which something happens: at a fragment's end, at a window's end, beyond it."""
    room = pdu_bytes - 6
    whole = min(512, BUFFER_BYTES // (room + 12))
    window = whole * room if whole else BUFFER_BYTES - 12
    sizes = {0, 1, room - 1, room, room + 1, window - 1, window, window + 1, 2 * window + 1, BUFFER_BYTES + 1}
    return sorted(size for size in sizes if size <= 3 * BUFFER_BYTES)


@pytest.mark.parametrize("pdu_bytes", PDU_BYTES)
async def test_object_arrives_byte_for_byte_in_fragments_that_the_peer_takes(
    tmp_path: Path, pdu_bytes: int
) -> None:
    file = tmp_path / "object"
    file.write_bytes(b"header" + DATA)
    sizes = edges(pdu_bytes)
    buffers = BufferPool(2)
    with connected(peer_max_pdu=pdu_bytes) as (link, peer):
        found: list[tuple[bytes, bytes]] = []
        async with NativePool(1, "reader") as pool, trio.open_nursery() as nursery:

            async def receive() -> None:
                messages, longest = await received_messages(peer, len(sizes))
                found.extend(messages)
                assert longest <= pdu_bytes

            nursery.start_soon(receive)
            async with ObjectSender(link, pool, buffers) as sender:
                for number, size in enumerate(sizes):
                    fd = os.open(file, os.O_RDONLY)
                    await sender.prepare(Outgoing(fd, 6, size, CT, f"1.2.{number}"), CONTEXT)
                    await sender.send(CONTEXT, number + 1, originator=("MOVER", 7) if number % 2 else None)
    assert [len(data) for _, data in found] == sizes
    for number, (command, data) in enumerate(found):
        assert data == DATA[: sizes[number]]
        store = decode_command(command)
        assert (store.command_field, store.message_id) == (CommandField.C_STORE_RQ, number + 1)
        assert store.affected_sop_instance_uid == f"1.2.{number}"
        assert store.move_originator_ae == ("MOVER" if number % 2 else None)
    assert buffers.statistics.free == 2


@given(st.sampled_from(PDU_BYTES[:3]), st.integers(0, 200_000))
def test_message_of_any_size_is_put_together_again(pdu_bytes: int, size: int) -> None:
    async def main() -> None:
        with connected(peer_max_pdu=pdu_bytes) as (link, peer):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.send_message, CONTEXT, b"command" * 30, DATA[:size])
                messages, longest = await received_messages(peer, 1)
            assert messages == [(b"command" * 30, DATA[:size])]
            assert longest <= pdu_bytes

    trio.run(main)


@pytest.mark.parametrize("pdu_bytes", PDU_BYTES[:3])
async def test_many_answers_in_one_write_are_messages_of_their_own(pdu_bytes: int) -> None:
    answers = [(b"pending", DATA[at : at + at % 400]) for at in range(1000)]
    with connected(peer_max_pdu=pdu_bytes) as (link, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send_messages, CONTEXT, answers)
            messages, longest = await received_messages(peer, len(answers))
        assert messages == answers
        assert longest <= pdu_bytes


async def test_peer_that_is_slow_to_take_an_object_keeps_no_arena_from_others(tmp_path: Path) -> None:
    """There is one arena: a quick peer gets its object while a slow one has begun with its own, which is whole in the end."""
    file = tmp_path / "object"
    file.write_bytes(DATA)
    buffers = BufferPool(1)
    async with NativePool(1, "reader") as pool:
        with connected(peer_max_pdu=16384) as (slow_link, slow_peer), connected() as (quick_link, quick_peer):
            found: dict[str, list[tuple[bytes, bytes]]] = {}

            async def send(link: DicomLink) -> None:
                async with ObjectSender(link, pool, buffers) as sender:
                    fd = os.open(file, os.O_RDONLY)
                    await sender.prepare(Outgoing(fd, 0, len(DATA), CT, "1.2"), CONTEXT)
                    await sender.send(CONTEXT, 1)
                    assert buffers.statistics.free == 1, "nor while it thinks about its answer"

            async def receive(name: str, peer: Wire) -> None:
                found[name] = (await received_messages(peer, 1))[0]

            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(send, slow_link)
                    while not slow_link.wire.sent_bytes:
                        await trio.sleep(0.01)
                    async with trio.open_nursery() as quick:
                        quick.start_soon(send, quick_link)
                        quick.start_soon(receive, "quick", quick_peer)
                    assert "slow" not in found
                    nursery.start_soon(receive, "slow", slow_peer)
    assert [data for _, data in found["quick"] + found["slow"]] == [DATA, DATA]


async def test_file_shorter_than_the_index_says_is_found_out(tmp_path: Path) -> None:
    file = tmp_path / "object"
    file.write_bytes(bytes(1000))
    buffers = BufferPool(1)
    with connected() as (link, _):
        async with NativePool(1, "reader") as pool, ObjectSender(link, pool, buffers) as sender:
            fd = os.open(file, os.O_RDONLY)
            with pytest.raises(ObjectDamaged):
                await sender.prepare(Outgoing(fd, 0, 1001, CT, "1.2"), CONTEXT)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert buffers.statistics.free == 1


SENDS: dict[str, Callable[[DicomLink], object]] = {
    "a message": lambda link: link.send_message(CONTEXT, b"command", bytes(50_000_000)),
    "many answers": lambda link: link.send_messages(CONTEXT, [(b"command", bytes(10_000))] * 5000),
}


@pytest.mark.parametrize("what", SENDS)
async def test_peer_that_takes_nothing_is_given_up(what: str) -> None:
    with connected() as (link, _):
        link.message_timeout_s = 0.2
        with trio.fail_after(10), pytest.raises(PeerSilent):
            await SENDS[what](link)  # type: ignore[misc]


async def test_peer_that_has_gone_is_noticed_while_sending() -> None:
    with connected() as (link, peer):
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await peer.receive_into(memoryview(bytearray(1000)))
                peer.close_now()

            nursery.start_soon(leave)
            with trio.fail_after(10), pytest.raises(PeerGone):
                await link.send_message(CONTEXT, b"command", bytes(50_000_000))
