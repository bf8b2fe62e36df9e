"""Objects opened in another transfer syntax: converted once for all who wait, kept within bounds, closed in the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from pacs_actors.archive import conversions
from pacs_actors.archive.conversions import Conversions
from pacs_actors.archive.objects.interface import ObjectFile, ObjectStore
from pacs_actors.archive.transcoder import CannotTranscode, CannotTranscodeNow, Transcoder
from pacs_actors.archive.web_locate import ServedInstance
from protocols.dataset.part10 import parse_prefix
from protocols.errors import Unavailable

EXPLICIT, RLE, CT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.840.10008.5.1.4.1.1.2"


def instance(number: int = 1) -> ServedInstance:
    return ServedInstance(f"1.2.{number}", CT, RLE, f"key {number}", 10, 4, b"", "1.2", "1.2", "P")


class Store:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "object"
        self.path.write_bytes(b"meta+stored"[:10])

    def open(self, _: str) -> ObjectFile:
        return ObjectFile(os.open(self.path, os.O_RDONLY), 0, 10)


class Converter:
    """Answers when ``allowed``; what it makes is ``size`` bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.size = folder, 0, 100
        self.allowed = trio.Event()
        self.failure: Exception | None = None

    async def convert(self, fd: int, **_: Any) -> tuple[int, int]:
        try:
            self.calls += 1
            await self.allowed.wait()
        finally:
            os.close(fd)
        if self.failure is not None:
            raise self.failure
        path = self.folder / f"made{self.calls}"
        path.write_bytes(b"c" * self.size)
        return os.open(path, os.O_RDONLY), self.size


@pytest.fixture
def converter(tmp_path: Path) -> Converter:
    return Converter(tmp_path)


@pytest.fixture
def made(tmp_path: Path, converter: Converter) -> Iterator[Conversions]:
    before = descriptors(tmp_path)
    made = Conversions(cast(ObjectStore, Store(tmp_path)), cast(Transcoder, converter))
    yield made
    made.close()
    assert descriptors(tmp_path) == before, "all are closed"


def descriptors(folder: Path) -> int:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue
    return sum(link.startswith(str(folder)) for link in links)


async def test_what_is_stored_so_is_given_without_a_conversion(
    made: Conversions, converter: Converter
) -> None:
    with await made.given(instance(), RLE) as opened:
        assert (opened.offset, opened.length, opened.syntax, opened.rest) == (4, 6, RLE, 128)
    assert converter.calls == 0


async def test_all_who_wait_for_a_conversion_share_it(made: Conversions, converter: Converter) -> None:
    lengths: list[int] = []

    async def wait() -> None:
        with await made.given(instance(), EXPLICIT) as opened:
            lengths.append(os.fstat(opened.fd).st_size)
            prefix = parse_prefix(opened.prefix + bytes(200))
            assert (prefix.transfer_syntax_uid, prefix.sop_instance_uid) == (EXPLICIT, "1.2.1")
            assert opened.part10_bytes == len(opened.prefix) + 100

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        converter.allowed.set()
    await wait()
    assert (lengths, converter.calls) == ([100] * 6, 1)


async def test_when_the_first_leaves_the_next_converts(made: Conversions, converter: Converter) -> None:
    first = trio.CancelScope()

    async def leave() -> None:
        with first:
            await made.given(instance(), EXPLICIT)

    async def stay() -> None:
        (await made.given(instance(), EXPLICIT)).close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stay)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        converter.allowed.set()
    assert converter.calls == 2


async def test_what_failed_is_not_tried_again_for_every_frame(
    made: Conversions, converter: Converter, autojump_clock: trio.testing.MockClock
) -> None:
    converter.allowed.set()
    converter.failure = CannotTranscode("it is broken")
    for _ in range(3):
        with pytest.raises(CannotTranscode, match="broken"):
            await made.given(instance(), EXPLICIT)
    assert converter.calls == 1
    await trio.sleep(61)
    converter.failure = None
    (await made.given(instance(), EXPLICIT)).close()
    assert converter.calls == 2


async def test_what_may_go_well_another_time_is_told_to_all_who_wait_and_not_kept(
    made: Conversions, converter: Converter
) -> None:
    converter.failure = CannotTranscodeNow("it takes longer than 1 s")

    async def wait() -> None:
        with pytest.raises(Unavailable, match="longer than"):
            await made.given(instance(), EXPLICIT)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        converter.allowed.set()
    assert converter.calls == 1
    converter.failure = None
    (await made.given(instance(), EXPLICIT)).close()


async def test_what_has_had_its_time_goes_when_anything_is_opened(
    made: Conversions, converter: Converter, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    converter.allowed.set()
    (await made.given(instance(), EXPLICIT)).close()
    assert descriptors(tmp_path) == 1
    await trio.sleep(61)
    made.stored(instance(2)).close()
    assert descriptors(tmp_path) == 0


async def test_no_more_is_kept_than_there_is_room_for(
    made: Conversions, converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "_MOST_BYTES", 250)
    converter.allowed.set()
    for number in range(6):
        (await made.given(instance(number), EXPLICIT)).close()
    assert descriptors(tmp_path) == 2
    converter.size = 10_000
    (await made.given(instance(7), EXPLICIT)).close()
    assert descriptors(tmp_path) == 1, "the newest is kept, however large"
