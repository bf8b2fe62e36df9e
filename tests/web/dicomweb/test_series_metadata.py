"""Series metadata over a real index: made once, by whoever stays; somebody else's is not there."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.metadata_making import MetadataMaker
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule, StudyScope
from pacs_actors.archive.series_metadata import SeriesMetadata
from pacs_actors.archive.web_locate import WebLocator
from pacs_actors.dicom.facilities import Facilities
from protocols.dataset.record import IndexEntry
from protocols.messages.audit import Actor
from tests.pacs_actors.archive.entries import MR, entry
from web.context import WebContext

BASE = "https://pacs.example/dicom-web"


class Objects:
    """Objects whose data sets say nothing but the number of their instance."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.opened = folder, 0

    def put(self, made: IndexEntry) -> IndexEntry:
        text = made.scanned.sop_instance_uid.encode()
        text += b"\0" * (len(text) & 1)
        data = b"\x08\0\x18\0UI" + len(text).to_bytes(2, "little") + text
        (self.folder / made.stored.key.replace("/", "-")).write_bytes(bytes(400) + data)
        stored = msgspec.structs.replace(made.stored, size_bytes=400 + len(data))
        return IndexEntry(made.scanned, stored)

    def open(self, key: str) -> ObjectFile:
        self.opened += 1
        try:
            fd = os.open(self.folder / key.replace("/", "-"), os.O_RDONLY)
            return ObjectFile(fd, 0, os.fstat(fd).st_size)
        except FileNotFoundError:
            raise ObjectMissing(key) from None


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    (tmp_path / "objects").mkdir()
    return Objects(tmp_path / "objects")


@pytest.fixture
async def made(context: WebContext, objects: Objects, tmp_path: Path) -> SeriesMetadata:
    """Study 1 has a series of forty, study 2 one of two of MR."""
    entries = [objects.put(entry(n)) for n in range(1, 41)]
    entries += [objects.put(entry(n, study=2, sop_class=MR)) for n in (1, 2)]
    archive: Facilities = context.archive
    await archive.catalogue.index_batch(entries)
    locator = WebLocator(archive.catalogue, archive.progress, catch_up_s=1)
    store: Any = objects
    return SeriesMetadata(
        archive.catalogue, archive.progress, locator, store, archive.native, tmp_path / "cache",
        limit_bytes=1 << 24, catch_up_s=1,
    )  # fmt: skip


def uids(packed: bytes) -> list[str]:
    return [one["00080018"]["Value"][0] for one in json.loads(gzip.decompress(packed))]


async def test_a_series_is_made_once_and_kept_beyond_the_workers_memory(
    made: SeriesMetadata, objects: Objects, context: WebContext, tmp_path: Path
) -> None:
    _, [state] = await made.states(EVERYTHING, "1.2.3.1")
    first = await made.of(EVERYTHING, state, BASE)
    assert uids(first) == [f"1.2.3.1.1.{n}" for n in range(1, 41)]
    assert await made.of(EVERYTHING, state, BASE) == first
    archive = context.archive
    locator = WebLocator(archive.catalogue, archive.progress, catch_up_s=1)
    store: Any = objects
    another = SeriesMetadata(
        archive.catalogue, archive.progress, locator, store, archive.native, tmp_path / "cache",
        limit_bytes=1 << 24, catch_up_s=1,
    )  # fmt: skip
    assert await another.of(EVERYTHING, state, BASE) == first
    assert (made.made, another.made, objects.opened) == (1, 0, 40)


async def test_those_who_ask_at_once_share_the_making(made: SeriesMetadata, objects: Objects) -> None:
    _, [state] = await made.states(EVERYTHING, "1.2.3.1")
    got: list[bytes] = []

    async def ask() -> None:
        got.append(await made.of(EVERYTHING, state, BASE))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert len(got) == 20 and len(set(got)) == 1
    assert (made.made, objects.opened) == (1, 40)


async def test_when_the_first_leaves_the_next_makes_it(
    made: SeriesMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [state] = await made.states(EVERYTHING, "1.2.3.1")
    native = made._native
    begun, original = trio.Event(), native.run

    async def slow(function: Any, *arguments: Any, **options: Any) -> Any:
        if getattr(function, "__func__", None) is MetadataMaker.add and not begun.is_set():
            begun.set()
            await trio.sleep_forever()
        return await original(function, *arguments, **options)

    monkeypatch.setattr(native, "run", slow)
    got: list[bytes] = []

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            got.append(await made.of(EVERYTHING, state, BASE))

    async with trio.open_nursery() as nursery:
        first, second = trio.CancelScope(), trio.CancelScope()
        nursery.start_soon(ask, first)
        await begun.wait()
        nursery.start_soon(ask, second)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
    assert len(got) == 1 and len(uids(got[0])) == 40


async def test_series_that_are_made_at_once_take_turns_on_one_thread(
    made: SeriesMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = made._native
    original, at_work, makers = native.run, list[MetadataMaker](), set[int]()

    async def watched(function: Any, *arguments: Any, **options: Any) -> Any:
        if getattr(function, "__func__", None) is not MetadataMaker.add:
            return await original(function, *arguments, **options)
        at_work.append(function.__self__)
        assert len(at_work) == 1, "two would only take the interpreter from each other, and from the loop"
        makers.add(id(function.__self__))
        try:
            return await original(function, *arguments, **options)
        finally:
            at_work.pop()

    monkeypatch.setattr(native, "run", watched)
    _, [large] = await made.states(EVERYTHING, "1.2.3.1")
    _, [small] = await made.states(EVERYTHING, "1.2.3.2")
    async with trio.open_nursery() as nursery:
        for state in (large, small):
            nursery.start_soon(made.of, EVERYTHING, state, BASE)
    assert len(makers) == 2


async def test_another_root_or_revision_is_another_text(
    made: SeriesMetadata, objects: Objects, context: WebContext
) -> None:
    _, [state] = await made.states(EVERYTHING, "1.2.3.2")
    assert state.name(BASE) != state.name("http://other/dicom-web")
    before = await made.of(EVERYTHING, state, BASE)
    await context.archive.catalogue.index_batch([objects.put(entry(3, study=2, sop_class=MR))])
    _, [later] = await made.states(EVERYTHING, "1.2.3.2")
    assert later.revision > state.revision and later.name(BASE) != state.name(BASE)
    assert len(uids(before)) == 2 and len(uids(await made.of(EVERYTHING, later, BASE))) == 3


async def test_what_lacks_an_object_is_given_and_not_kept(made: SeriesMetadata, objects: Objects) -> None:
    for path in sorted(objects.folder.iterdir())[:1]:
        path.rename(path.with_suffix(".away"))
    total = 0
    for study in ("1.2.3.1", "1.2.3.2"):
        _, [state] = await made.states(EVERYTHING, study)
        total += len(uids(await made.of(EVERYTHING, state, BASE)))
    assert total == 41
    for path in objects.folder.glob("*.away"):
        path.rename(path.with_suffix(".dcm"))
    for study in ("1.2.3.1", "1.2.3.2"):
        _, [state] = await made.states(EVERYTHING, study)
        total += len(uids(await made.of(EVERYTHING, state, BASE)))
    assert total == 41 + 42


async def test_what_has_changed_while_it_was_made_is_not_kept_for_others(made: SeriesMetadata) -> None:
    _, [state] = await made.states(EVERYTHING, "1.2.3.1")
    assert uids(await made.of(NOTHING, state, BASE)) == [], "whose right to the study has just ended"
    assert len(uids(await made.of(EVERYTHING, state, BASE))) == 40


async def test_what_is_deleted_while_it_is_made_is_not_kept(
    made: SeriesMetadata, context: WebContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [state] = await made.states(EVERYTHING, "1.2.3.2")
    locate = made._locator.instances
    deletions = Deletions(context.archive.catalogue.database)

    async def deleted_meanwhile(*arguments: Any) -> Any:
        found = await locate(*arguments)
        assert await deletions.delete(Target("1.2.3.2"), EVERYTHING, Actor("a", "session"), undo_s=0)
        return found

    monkeypatch.setattr(made._locator, "instances", deleted_meanwhile)
    assert len(uids(await made.of(EVERYTHING, state, BASE))) == 2, "who asked before has it"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


async def test_somebody_elses_study_has_no_series(made: SeriesMetadata) -> None:
    mr = StudyScope(rules=(ScopeRule(modalities=("MR",)),))
    patient, states = await made.states(mr, "1.2.3.2")
    assert (patient, [state.instances for state in states]) == ("P1", [2])
    assert await made.states(mr, "1.2.3.1") == ("", [])
    assert await made.states(NOTHING, "1.2.3.2") == ("", [])
    assert await made.states(EVERYTHING, "1.2.3.2", "1.2.3.1.1") == ("", [])
