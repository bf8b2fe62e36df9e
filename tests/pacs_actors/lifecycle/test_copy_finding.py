"""Copies that the index does not know any more are found by what they say themselves, and so is what is only there."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
from xxhash import xxh3_128_digest

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.lifecycle import copy_checks
from pacs_actors.lifecycle.carrier import Carrier
from pacs_actors.lifecycle.copies import Form
from pacs_actors.lifecycle.copy_adoptions import CopyAdoptions
from pacs_actors.lifecycle.copy_checks import CopyChecks
from pacs_actors.lifecycle.copy_comparing import CopyComparison
from pacs_actors.lifecycle.copy_finding import CopyFinder, Searched
from pacs_actors.lifecycle.copy_reading import CopyReader
from pacs_actors.lifecycle.packing import pack
from pacs_actors.lifecycle.recoding import Recoder
from pacs_actors.lifecycle.reconciling import Trouble
from pacs_actors.lifecycle.stores.copy_keys import Compression, object_key, told_by
from tests.pacs_actors.lifecycle.moving import FAR, NEAR, STUDY, Archive, damage, open_archive
from tests.stored_objects import StoredObject

UIDS = ("1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3")
TIERS: dict[str, Any] = {NEAR: "nearline", FAR: "archive"}
COMPRESSIONS: tuple[Compression, ...] = ("", "gz", "zst", "lz4")
EVERYTHING = "instances, series, studies, patients, archive_totals, ingest_mark, object_copies, study_copies, study_storage"


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path, dsn) as archive:
        yield archive


@asynccontextmanager
async def finder(
    archive: Archive, *, most_bytes: int = 1_000_000, node: int = 0
) -> AsyncIterator[CopyFinder]:
    async with Transcoder(folder=archive.root) as transcoder:
        threads = archive.online.threads
        reader = CopyReader(
            Recoder(transcoder, threads, archive.root), threads, archive.root, most_bytes=most_bytes, custom={}
        )  # fmt: skip
        yield CopyFinder(archive.copies, Catalogue(archive.database), reader, archive.stores, TIERS, node)


async def searched(archive: Archive, *, most_bytes: int = 1_000_000, node: int = 0) -> list[Searched]:
    async with finder(archive, most_bytes=most_bytes, node=node) as found:
        return await found.search()


def stored_object(archive: Archive, key: str) -> StoredObject:
    return StoredObject(archive.root / "data", key)


async def forget_everything(archive: Archive) -> None:
    """As if the database were gone."""
    await archive.sql(f"TRUNCATE {EVERYTHING}")


def found(results: list[Searched]) -> dict[str, tuple[int, int]]:
    assert [one.problem for one in results] == ["", ""]
    return {one.store: (one.copies, one.instances) for one in results}


async def test_what_is_only_in_a_store_is_in_the_index_again_and_comes_back(archive: Archive) -> None:
    await archive.store(*UIDS)
    before = [await archive.held(uid) for uid in UIDS]
    await archive.moved("online", NEAR)
    await forget_everything(archive)
    assert found(await searched(archive)) == {NEAR: (3, 3), FAR: (0, 0)}
    for was in before:
        held = await archive.held(was.sop_instance_uid)
        assert (held.digest, held.size_bytes, held.availability) == (was.digest, was.size_bytes, "NEARLINE")
        assert (held.source, held.transfer_syntax_uid) == (was.source, was.transfer_syntax_uid)
        key = await archive.carrier.bring_in(held)
        assert await archive.online.verify(key)
    assert await archive.sql("SELECT number_of_instances, availability FROM studies") == [(3, "ONLINE")]
    assert found(await searched(archive)) == {NEAR: (0, 0), FAR: (0, 0)}


async def test_the_quickest_store_says_how_available_it_is(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("", FAR)
    await archive.moved("online", NEAR)
    (near, *_) = archive.copies_in(NEAR)
    near.unlink()
    await forget_everything(archive)
    assert found(await searched(archive)) == {NEAR: (2, 2), FAR: (3, 1)}
    rows = await archive.sql("SELECT availability, count(*) FROM instances GROUP BY 1 ORDER BY 1")
    assert rows == [("NEARLINE", 2), ("OFFLINE", 1)]
    complete = "SELECT c.store FROM study_copies c JOIN studies s USING (study_instance_uid) WHERE instances = number_of_instances"
    assert await archive.sql(complete) == [(FAR,)]


async def test_of_what_is_online_only_the_copy_is_noted(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("", NEAR)
    await archive.sql("TRUNCATE object_copies, study_copies")
    assert found(await searched(archive)) == {NEAR: (3, 0), FAR: (0, 0)}
    held = await archive.held(UIDS[0])
    assert held.online and list(held.copies) == [NEAR]
    assert await archive.carrier.is_good(held, NEAR)


async def test_an_index_that_was_emptied_and_not_its_book_of_copies_is_filled_too(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("online", NEAR)
    await archive.sql("TRUNCATE instances, series, studies, patients, archive_totals, ingest_mark")
    assert found(await searched(archive)) == {NEAR: (3, 3), FAR: (0, 0)}


@pytest.mark.parametrize("form", ["gzip", "zstd", "lz4", "jpeg-ls", "htj2k"])
async def test_every_form_is_told_from_the_copy_itself(archive: Archive, form: Form) -> None:
    await archive.store(*UIDS)
    held = [await archive.held(uid) for uid in UIDS]
    async with Transcoder(folder=archive.root) as transcoder:
        recoder = Recoder(transcoder, archive.online.threads, archive.root)
        carrier = Carrier(
            archive.online, archive.stores, archive.copies, archive.carrier.progress, recoder=recoder,
            scratch=archive.root,
        )  # fmt: skip
        made = [(one, await carrier.copy_out(STUDY, one, NEAR, form)) for one in held]
        await archive.copies.add(NEAR, made)
        await archive.copies.take_offline(held, "NEARLINE", [NEAR], 0)
        noted = await archive.sql("SELECT key, form, stored_digest FROM object_copies ORDER BY key")
        await forget_everything(archive)
        assert found(await searched(archive)) == {NEAR: (3, 3), FAR: (0, 0)}
        assert await archive.sql("SELECT key, form, stored_digest FROM object_copies ORDER BY key") == noted
        again = await archive.held(UIDS[0])
        assert await archive.online.verify(await carrier.bring_in(again))


class Killed(BaseException):
    pass


async def test_a_search_killed_at_any_step_loses_nothing_and_the_next_one_ends_it(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.store(*UIDS)
    await archive.moved("online", NEAR)
    await archive.mover.remove_forgotten()
    copies, run = archive.copies_in(NEAR), archive.database.run
    finished = False
    for steps in range(1, 100):
        await forget_everything(archive)
        left = steps

        async def run_some(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            done = await run(*arguments, **named)
            left -= 1
            if not left:
                raise Killed
            return done

        async with finder(archive) as found:
            with monkeypatch.context() as patched:
                patched.setattr(archive.database, "run", run_some)
                try:
                    await found.search()
                    finished = True
                except Killed:
                    pass
        await archive.sql("UPDATE copy_removals SET since = now() - interval '1 second'")
        await archive.mover.remove_forgotten()
        assert archive.copies_in(NEAR) == copies, f"after {steps} steps"
        await searched(archive)
        rows = await archive.sql("SELECT availability, count(*) FROM instances GROUP BY 1")
        assert rows == [("NEARLINE", 3)], f"after {steps} steps"
        if finished:
            break
    assert finished and steps > 5


async def test_keys_of_what_is_only_in_stores_are_spread_over_batch_folders(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs_actors.lifecycle.copy_finding._CHUNK", 1)
    monkeypatch.setattr("pacs_actors.lifecycle.copy_finding._FOLDER_OBJECTS", 2)
    uids = [f"1.2.3.4.{number}" for number in range(1, 6)]
    await archive.store(*uids)
    await archive.moved("online", NEAR)
    await forget_everything(archive)
    (archive.root / NEAR).rename(archive.root / "all")
    (archive.root / NEAR).mkdir()
    for copy in sorted(path for path in (archive.root / "all").rglob("*.dcm")):
        there = archive.root / NEAR / copy.relative_to(archive.root / "all")
        there.parent.mkdir(parents=True, exist_ok=True)
        copy.rename(there)
        if len(archive.copies_in(NEAR)) in (3, 5):
            await searched(archive)
    rows = await archive.sql("SELECT batch, count(*) FROM instances WHERE slot = 99 GROUP BY 1 ORDER BY 1")
    assert rows == [(0, 2), (1, 1), (2, 2)]


async def test_what_is_not_what_its_key_says_is_told_and_left_alone(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("online", NEAR)
    rotten, good, empty = archive.copies_in(NEAR)
    damage(rotten)
    empty.write_bytes(b"")
    await forget_everything(archive)
    near, _ = await searched(archive)
    assert (near.copies, near.instances, len(near.unusable)) == (1, 1, 2)
    assert archive.copies_in(NEAR) == [rotten, good, empty]
    assert await archive.sql("SELECT count(*) FROM instances") == [(1,)]


async def test_whatever_lies_in_a_store_under_keys_of_objects_ends_no_search(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("online", NEAR)
    (copy,) = archive.copies_in(NEAR)
    good, chance = copy.read_bytes(), Random(7)
    await forget_everything(archive)
    strange = [
        b"",
        bytes(132),
        good[:128],
        chance.randbytes(700),
        bytes(128) + b"DICM" + chance.randbytes(700),
    ]
    for _ in range(60):
        spoilt = bytearray(good[: chance.randrange(132, len(good))] if chance.random() < 0.3 else good)
        for _ in range(4):
            spoilt[chance.randrange(128, len(spoilt))] = chance.randrange(256)
        strange.append(bytes(spoilt))
    for number, content in enumerate(strange):
        for compression in COMPRESSIONS:
            digest = xxh3_128_digest(content[128:])
            packed = gzip.compress(content) if compression == "gz" else content
            (copy.parent / Path(object_key(STUDY, f"1.9.{number}", digest, compression)).name).write_bytes(
                packed
            )
    near, _ = await searched(archive)
    assert near.problem == "" and near.copies == 1
    assert len(near.unusable) == 4 * len(strange)


async def test_a_copy_of_other_bytes_than_the_index_has_is_told(archive: Archive) -> None:
    await archive.store(UIDS[0])
    held = await archive.held(UIDS[0])
    await archive.moved("online", NEAR)
    await archive.sql("UPDATE instances SET digest = $1", b"x" * 16)
    await archive.sql("TRUNCATE object_copies, study_copies")
    near, _ = await searched(archive)
    assert (near.copies, list(near.unusable)) == (0, [object_key(STUDY, UIDS[0], held.digest)])


async def test_a_copy_under_the_key_of_another_study_is_not_taken(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("online", NEAR)
    (copy,) = archive.copies_in(NEAR)
    elsewhere = copy.with_name(copy.name.replace(copy.name[:8], "0" * 8, 1))
    copy.rename(elsewhere)
    await forget_everything(archive)
    near, _ = await searched(archive)
    assert near.copies == 0 and "another key" in next(iter(near.unusable.values()))


async def test_a_copy_that_makes_too_much_of_itself_is_refused(archive: Archive, tmp_path: Path) -> None:
    bomb, packed = tmp_path / "bomb", tmp_path / "packed"
    bomb.write_bytes(bytes(3_000_000))
    with bomb.open("rb") as source, packed.open("wb") as target:
        pack(ObjectFile(source.fileno(), 0, 3_000_000), "zstd", target.fileno())
    key = object_key(STUDY, UIDS[0], b"d" * 16, "zst")
    with packed.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        await archive.stores[NEAR].put(key, ObjectFile(file.fileno(), 0, size))
    near, _ = await searched(archive, most_bytes=1_000_000)
    assert list(near.unusable) == [key]


async def test_a_store_that_is_away_is_told_and_the_next_is_searched(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("online", FAR)
    await forget_everything(archive)
    (archive.root / NEAR).rename(archive.root / "gone")
    near, far = await searched(archive)
    assert near.problem and not far.problem
    assert far.instances == 3


async def test_another_nodes_search_gives_keys_of_its_own(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("online", NEAR)
    await forget_everything(archive)
    assert found(await searched(archive, node=7)) == {NEAR: (1, 1), FAR: (0, 0)}
    assert (await archive.held(UIDS[0])).key.startswith("799/00000000/")


def test_only_keys_of_objects_tell_of_objects() -> None:
    for compression in COMPRESSIONS:
        assert told_by(object_key("1.2", "1.2.3", b"x" * 16, compression)) == (b"x" * 16, compression)
    whole = object_key("1.2", "1.2.3", b"x" * 16)
    for other in (
        "",
        "ab/cd",
        whole + ".xz",
        whole.upper(),
        whole + "\n",
        "../" + whole,
        whole.replace("-", "_"),
    ):
        assert told_by(other) is None


async def compared(
    archive: Archive, *, fix: bool = False
) -> tuple[list[tuple[str, str, bool]], dict[str, str]]:
    """(kind, last part of the subject, fixed) of all that is found; problems"""
    told: list[Trouble] = []

    async def say(trouble: Trouble) -> None:
        told.append(trouble)

    async with finder(archive) as found:
        comparison = CopyComparison(
            archive.copies,
            CopyChecks(archive.database),
            archive.stores,
            archive.online,
            found if fix else None,
            say,
        )
        problems = await comparison.run()
    return sorted((one.kind.value, one.subject.rpartition("/")[2], one.fixed) for one in told), problems


async def test_stores_and_book_that_agree_are_left_alone(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("", FAR)
    await archive.moved("online", NEAR)
    assert await compared(archive, fix=True) == ([], {})


async def test_what_only_the_store_or_only_the_book_knows_is_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, with what is missing in the middle and at both ends."""
    monkeypatch.setattr("pacs_actors.lifecycle.stores.folder.PAGE_KEYS", 2, raising=False)
    monkeypatch.setattr("pacs_actors.lifecycle.copy_comparing._PAGE", 1)
    uids = [f"1.2.3.4.{number}" for number in range(1, 8)]
    await archive.store(*uids)
    await archive.moved("", NEAR)
    files = archive.copies_in(NEAR)
    for lost in (files[0], files[3], files[6]):
        lost.unlink()
    await archive.sql("DELETE FROM object_copies WHERE key LIKE '%' || $1", files[4].name)
    expected = sorted(
        [("copy_lost", files[at].name, False) for at in (0, 3, 6)] + [("copy_unknown", files[4].name, False)]
    )
    assert await compared(archive) == (expected, {})
    assert await compared(archive) == (expected, {}), "nothing was changed"
    assert await compared(archive, fix=True) == ([(kind, name, True) for kind, name, _ in expected], {})
    assert await compared(archive) == ([], {})
    rows = await archive.sql("SELECT count(*) FROM object_copies WHERE store = $1", NEAR)
    assert rows == [(4,)]


async def test_the_book_is_read_from_one_key_to_another_and_no_further(archive: Archive) -> None:
    async def plan(connection: asyncpg.Connection) -> str:
        async with connection.transaction():
            await connection.execute(
                "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
            )
            await connection.execute(f"PREPARE noted (text, text, text, integer) AS {copy_checks._NOTED}")
            rows = await connection.fetch("EXPLAIN (COSTS OFF) EXECUTE noted ('nas', '1/2', '2/3', 1000)")
            await connection.execute("DEALLOCATE noted")
        return "\n".join([row[0] for row in rows])

    steps = await archive.database.run(plan)
    (bounds,) = (line for line in steps.splitlines() if "Index Cond" in line)
    assert "store = $1" in bounds and ">=" in bounds and "<=" in bounds, steps


async def test_the_last_copy_that_is_gone_stays_noted(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("online", NEAR)
    gone = archive.copies_in(NEAR)[0]
    gone.unlink()
    assert await compared(archive, fix=True) == ([("copy_lost", gone.name, False)], {})
    assert await archive.sql("SELECT count(*) FROM object_copies") == [(3,)]


async def test_a_lost_copy_of_a_damaged_object_stays_noted(archive: Archive) -> None:
    await archive.store(UIDS[0])
    await archive.moved("", NEAR)
    archive.copies_in(NEAR)[0].unlink()
    held = await archive.held(UIDS[0])
    stored_object(archive, held.key).flip(900)
    [(kind, _, fixed)], _ = await compared(archive, fix=True)
    assert (kind, fixed) == ("copy_lost", False)


async def test_a_store_that_is_away_has_lost_nothing(archive: Archive) -> None:
    await archive.store(*UIDS)
    await archive.moved("", NEAR)
    (archive.root / NEAR).rename(archive.root / "gone")
    told, problems = await compared(archive, fix=True)
    assert told == [] and list(problems) == [NEAR]


async def test_a_copy_that_is_removed_while_it_is_compared_is_not_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archive.store(*UIDS)
    await archive.moved("", NEAR)
    gone = archive.copies_in(NEAR)[1]
    unknown = CopyAdoptions.unknown

    async def removed_first(self: CopyAdoptions, store: str, keys: list[str]) -> list[str]:
        await archive.sql("DELETE FROM object_copies WHERE key LIKE '%' || $1", gone.name)
        gone.unlink(missing_ok=True)
        return await unknown(self, store, keys)

    monkeypatch.setattr(CopyAdoptions, "unknown", removed_first)
    assert await compared(archive) == ([], {})
