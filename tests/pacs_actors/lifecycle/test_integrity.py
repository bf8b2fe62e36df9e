"""Reading at a pace, what is wrong with an object, and runs that several processes share."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.local import LocalObjectStore
from pacs_actors.database import Database
from pacs_actors.lifecycle.integrity_book import IntegrityBook
from pacs_actors.lifecycle.integrity_compare import disagreement
from pacs_actors.lifecycle.integrity_damage import DamageKeeper
from pacs_actors.lifecycle.integrity_reading import (
    Condition,
    Head,
    Pace,
    Stopped,
    page_aligned,
    read_object,
)
from pacs_actors.lifecycle.integrity_rows import IntegrityRows, Row
from pacs_actors.lifecycle.integrity_runs import IntegrityRuns, LeaseLost
from pacs_actors.lifecycle.integrity_spans import read_some, spans
from pacs_actors.lifecycle.integrity_walk import Cursor, stretches
from pacs_actors.lifecycle.scrubbing import Damage, Portion, scrub
from pacs_actors.threads import NativePool
from protocols.dataset.part10 import ObjectRecord
from protocols.dataset.record import IndexEntry
from protocols.messages.audit import Actor
from tests.pacs_actors.archive.conftest import dsn, migrated
from tests.pacs_actors.archive.objects.helpers import data_set, open_store, put, scan

__all__ = ["dsn", "migrated"]

ADMIN = Actor("admin", "session")


# -- pace -------------------------------------------------------------------------------------------------------------------
class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Waits:
    """Stands in for the event that a pace waits on: notes how long it would have."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.waited = clock, list[float]()

    def wait(self, wait_s: float) -> bool:
        self.waited.append(round(wait_s, 6))
        self.clock.now += wait_s
        return False

    def is_set(self) -> bool:
        return False


def paced(rate: float | None) -> tuple[Pace, Waits]:
    clock = Clock()
    pace = Pace(rate, clock=clock)
    waits = Waits(clock)
    pace._stopped = waits  # type: ignore[assignment]
    return pace, waits


def test_a_pace_lets_no_more_through_than_its_rate() -> None:
    pace, waits = paced(1000.0)
    for _ in range(4):
        pace.take(500)
    assert waits.waited == [0.5, 0.5, 0.5]


def test_who_gives_way_takes_a_tenth() -> None:
    pace, waits = paced(1000.0)
    pace.gives_way = True
    pace.take(500)
    pace.take(500)
    assert waits.waited == [5.0]


def test_without_a_rate_nobody_waits() -> None:
    pace, waits = paced(None)
    for _ in range(100):
        pace.take(10**9)
    assert waits.waited == []


def test_whoever_waits_for_a_pace_is_released_when_it_stops() -> None:
    pace, told = Pace(1.0), threading.Event()
    pace.take(1000)  # the next would wait for a quarter of an hour

    def wait() -> None:
        try:
            pace.take(1)
        except Stopped:
            told.set()

    thread = threading.Thread(target=wait)
    thread.start()
    pace.stop()
    thread.join(30)
    assert told.is_set()


# -- objects ----------------------------------------------------------------------------------------------------------------
@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalObjectStore]:
    async with open_store(tmp_path / "data") as store:
        yield store


def flip(store: LocalObjectStore, key: str, offset: int) -> None:
    file = store.open(key)
    path = Path(f"/proc/self/fd/{file.fd}").readlink()
    os.close(file.fd)
    with path.open("r+b") as opened:
        opened.seek(file.start + offset)
        (byte,) = opened.read(1)
        opened.seek(file.start + offset)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("payload_bytes", [10, 4096, 3_000_000], ids=["tiny", "a block", "several pieces"])
async def test_an_object_is_intact_until_any_byte_of_it_changes(
    store: LocalObjectStore, payload_bytes: int
) -> None:
    stored = (await put(store, "1.2.3.5", data_set("1.2.3.5", payload_bytes))).stored
    buffer, pace = page_aligned(), Pace(None)
    whole = read_object(store, stored.key, buffer, pace, stored.digest)
    assert (whole.condition, whole.size_bytes, whole.sop_instance_uid) == (
        Condition.INTACT, stored.size_bytes, "1.2.3.5",
    )  # fmt: skip
    for offset in (140, stored.size_bytes // 2, stored.size_bytes - 1):
        flip(store, stored.key, offset)
        assert read_object(store, stored.key, buffer, pace).condition is Condition.CORRUPT, offset
        flip(store, stored.key, offset)
    assert read_object(store, stored.key, buffer, pace).condition is Condition.INTACT


async def test_another_object_than_the_one_indexed_is_corrupt(store: LocalObjectStore) -> None:
    stored = (await put(store, "1.2.3.5", data_set("1.2.3.5"))).stored
    reading = read_object(store, stored.key, page_aligned(), Pace(None), bytes(16))
    assert (reading.condition, reading.why) == (Condition.CORRUPT, "it is not the object that was indexed")


async def test_what_is_not_there_is_lost_and_what_the_disk_does_not_give_is_unreadable(
    store: LocalObjectStore,
) -> None:
    class Failing:
        def open(self, key: str) -> ObjectFile:
            raise OSError(5, "Input/output error")

    key = (await put(store, "1.2.3.5", data_set("1.2.3.5"))).stored.key
    await store.remove(key)
    assert read_object(store, key, page_aligned(), Pace(None)).condition is Condition.LOST
    reading = read_object(Failing(), key, page_aligned(), Pace(None))
    assert (reading.condition, reading.why) == (Condition.UNREADABLE, "Input/output error")


async def test_what_a_second_look_finds_whole_is_whole(store: LocalObjectStore) -> None:
    """A bit that fell over in memory, on the way, is no reason to move an object."""
    stored = (await put(store, "1.2.3.5", data_set("1.2.3.5"))).stored

    class Flickering:
        looks = 0

        def open(self, key: str) -> ObjectFile:
            self.looks += 1
            if self.looks == 1:
                raise OSError(5, "Input/output error")
            return store.open(key)

    assert read_some(Flickering(), deque(spans([stored.key])), {}, Pace(None)) == (1, stored.size_bytes, [])


def test_a_row_and_a_record_that_differ_say_in_what() -> None:
    record = ObjectRecord(b"d" * 16, 0, "X", 1000, 400)
    head = Head("k", 1000, record, "")
    assert disagreement(Row("k", "1.2", 1000, b"d" * 16, 400), head) == ""
    assert disagreement(Row("k", "1.2", 1000, b"d" * 16), head) == "", "what is not known cannot differ"
    for row in (
        Row("k", "1.2", 999, b"d" * 16, 400), Row("k", "1.2", 1000, b"e" * 16, 400), Row("k", "1.2", 1000, b"d" * 16, 401),
    ):  # fmt: skip
        assert disagreement(row, head)
    assert disagreement(Row("k", "1.2", 1000, b"d" * 16, 400), Head("k", 999, record, ""))
    assert disagreement(Row("k", "1.2", 1000, b"d" * 16, 400), Head("k", 1000, None, ""))


# -- walks ------------------------------------------------------------------------------------------------------------------
@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    async with Database(dsn, DatabaseSettings(connections=4)) as database:
        yield database


async def execute(database: Database, sql: str, *arguments: object) -> None:
    async def unit(connection: asyncpg.Connection) -> None:
        await connection.execute(sql, *arguments)

    await database.run(unit)


async def value(database: Database, sql: str, *arguments: object) -> object:
    async def unit(connection: asyncpg.Connection) -> object:
        return await connection.fetchval(sql, *arguments)

    return await database.run(unit)


async def index(database: Database, store: LocalObjectStore, *uids: str) -> dict[str, str]:
    """Store and index; UID -> key."""
    entries = []
    for uid in uids:
        data = data_set(uid)
        stored = (await put(store, uid, data)).stored
        scanned = scan(memoryview(data), "1.2.840.10008.1.2.1", True)
        entries.append(IndexEntry(scanned, stored))
    await Catalogue(database).index_batch(entries)
    return {entry.scanned.sop_instance_uid: entry.stored.key for entry in entries}


async def scrubbed(store: LocalObjectStore, database: Database, begin: Cursor | None = None) -> list[Portion]:
    portions: list[Portion] = []

    async def tell(portion: Portion) -> None:
        portions.append(portion)

    async with NativePool(2, "test") as pool:
        await scrub(store, IntegrityRows(database), pool, Pace(None), begin or Cursor(), tell)
    return portions


async def test_a_scrub_finds_the_corrupt_and_the_lost_by_their_uids(
    store: LocalObjectStore, database: Database
) -> None:
    keys = await index(database, store, "1.2.3.1", "1.2.3.2", "1.2.3.3")
    flip(store, keys["1.2.3.1"], 200)
    await store.remove(keys["1.2.3.2"])
    portions = await scrubbed(store, database)
    found = {(one.condition, one.sop_instance_uid) for portion in portions for one in portion.damages}
    assert found == {(Condition.CORRUPT, "1.2.3.1"), (Condition.LOST, "1.2.3.2")}
    assert sum(portion.objects for portion in portions) == 1


async def test_a_scrub_goes_on_behind_its_cursor(store: LocalObjectStore, database: Database) -> None:
    keys = sorted((await index(database, store, "1.2.3.1", "1.2.3.2", "1.2.3.3")).values())
    (rest,) = await scrubbed(store, database, Cursor(0, keys[1]))
    assert (rest.objects, rest.cursor) == (1, Cursor(0, keys[2]))


async def test_stretches_meet_every_object_and_every_row_once(
    store: LocalObjectStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs_actors.lifecycle.integrity_rows.STRETCH_OBJECTS", 2)
    monkeypatch.setattr("pacs_actors.lifecycle.integrity_walk.STRETCH_OBJECTS", 2)
    keys = set((await index(database, store, *(f"1.2.3.{n}" for n in range(7)))).values())
    for slot, batch in ((0, 900), (0, 901), (7, 3)):  # rows of folders that are gone, and of a slot that is
        await execute(
            database,
            """INSERT INTO instances (series, sop_instance_uid, sop_class_uid, transfer_syntax_uid, object_key, slot, batch,
                    size_bytes, data_offset, digest, received_at, source) SELECT series, $1, sop_class_uid, transfer_syntax_uid,
                    $2, $3, $4, size_bytes, data_offset, digest, received_at, source FROM instances LIMIT 1""",
            f"1.9.{slot}.{batch}", f"{slot}/{batch:08x}/{'a' * 32}.dcm", slot, batch,
        )  # fmt: skip
    met: list[str] = []
    rows: list[str] = []
    async with NativePool(1, "test") as pool:
        async for stretch in stretches(store, pool, IntegrityRows(database), Cursor()):
            met += stretch.keys
            rows += stretch.rows
    assert sorted(met) == sorted(keys)
    assert len(rows) == len(set(rows)) == len(keys) + 3


# -- damage -----------------------------------------------------------------------------------------------------------------
class OtherCopies:
    """Has a copy of everything, and gives it a new object."""

    def __init__(self, store: LocalObjectStore, database: Database) -> None:
        self.store, self.database, self.asked = store, database, list[str]()

    async def heal(self, sop_instance_uid: str) -> bool:
        self.asked.append(sop_instance_uid)
        stored = (await put(self.store, sop_instance_uid, data_set(sop_instance_uid))).stored
        await execute(
            self.database,
            "UPDATE instances SET object_key = $2, availability = 'ONLINE' WHERE sop_instance_uid = $1",
            sop_instance_uid, stored.key,
        )  # fmt: skip
        return True


async def damage_of(store: LocalObjectStore, database: Database) -> Damage:
    (portion,) = (one for one in await scrubbed(store, database) if one.damages)
    (damage,) = portion.damages
    return damage


AVAILABILITY = "SELECT s.availability FROM studies s"
OPEN = "SELECT string_agg(kind, ',') FROM integrity_findings WHERE settled_at IS NULL"


async def test_a_corrupt_object_is_moved_noted_once_and_its_study_is_not_to_be_had(
    store: LocalObjectStore, database: Database
) -> None:
    keys = await index(database, store, "1.2.3.1", "1.2.3.2")
    flip(store, keys["1.2.3.1"], 200)
    damage, book = await damage_of(store, database), IntegrityBook(database)
    keeper = DamageKeeper(store, book)
    for _ in range(2):  # a process that died in between does it again
        assert not await keeper.keep(damage, "scrub", quarantine=True)
    assert not await store.exists(keys["1.2.3.1"])
    assert await value(database, "SELECT count(*) FROM quarantine WHERE why = 'damaged'") == 1
    assert await value(database, "SELECT count(*) FROM audit_events WHERE event = 'object_damaged'") == 1
    assert await value(database, AVAILABILITY) == "UNAVAILABLE"
    assert await value(database, OPEN) == "corrupt"


async def test_a_corrupt_object_is_healed_from_another_copy(
    store: LocalObjectStore, database: Database
) -> None:
    keys = await index(database, store, "1.2.3.1")
    flip(store, keys["1.2.3.1"], 200)
    healer = OtherCopies(store, database)
    keeper = DamageKeeper(store, IntegrityBook(database), healer)
    assert await keeper.keep(await damage_of(store, database), "scrub", quarantine=True)
    assert healer.asked == ["1.2.3.1"]
    assert await value(database, OPEN) is None
    assert await value(database, AVAILABILITY) == "ONLINE"
    assert [portion.damages for portion in await scrubbed(store, database)] == [[]]


async def test_what_a_process_found_and_had_not_moved_when_it_died_is_moved(
    store: LocalObjectStore, database: Database
) -> None:
    keys = await index(database, store, "1.2.3.1")
    flip(store, keys["1.2.3.1"], 200)
    book = IntegrityBook(database)
    await book.damaged(await damage_of(store, database), "scrub")
    await DamageKeeper(store, book).go_on(await book.unmoved())
    assert not await store.exists(keys["1.2.3.1"])
    assert await book.unmoved() == []


async def test_what_comes_back_by_itself_is_online_again(store: LocalObjectStore, database: Database) -> None:
    """A disk that was not mounted, say."""
    await index(database, store, "1.2.3.1")
    book, runs = IntegrityBook(database), IntegrityRuns(database)
    (row,) = (await rows_of(store, database)).values()
    await book.damaged(Damage(Condition.LOST, row.key, row.sop_instance_uid, "", row), "scrub")
    assert await value(database, AVAILABILITY) == "UNAVAILABLE"
    run = await runs.ask("scrub", ADMIN)
    assert await book.settle_what_is_gone(run.id) == 1
    assert await value(database, AVAILABILITY) == "ONLINE"


async def rows_of(store: LocalObjectStore, database: Database) -> dict[str, Row]:
    return await IntegrityRows(database).of_stretch(store.slot, 0, 2**32 - 1)


# -- runs -------------------------------------------------------------------------------------------------------------------
async def test_a_run_is_one_processes_until_its_lease_runs_out(database: Database) -> None:
    runs = IntegrityRuns(database)
    asked = await runs.ask("scrub", ADMIN)
    assert (await runs.ask("scrub", ADMIN)).id == asked.id, "one at a time"
    work = await runs.take("scrub", "first")
    assert work is not None and work.run == asked.id
    assert await runs.take("scrub", "second") is None
    work.cursor, work.objects = Cursor(0, "0/00000001/x"), 5
    await runs.renew(work)
    await execute(database, "UPDATE integrity_runs SET leased_until = now() - interval '1 s'")
    other = await runs.take("scrub", "second")
    assert other is not None and (other.cursor, other.objects) == (work.cursor, 5), (
        "it goes on where that was"
    )
    with pytest.raises(LeaseLost):
        await runs.renew(work)
    await runs.finish(work)
    assert (await runs.runs("scrub"))[0] is not None, "who has lost the lease ends nothing"
    await runs.finish(other)
    assert (await runs.runs("scrub"))[0] is None


async def test_a_cycle_begins_when_its_time_has_come_and_not_before(database: Database) -> None:
    runs = IntegrityRuns(database)
    assert await runs.take("scrub", "a") is None, "never by itself"
    work = await runs.take("scrub", "a", every_s=1000)
    assert work is not None
    await runs.finish(work)
    assert await runs.take("scrub", "a", every_s=1000) is None
    await execute(database, "UPDATE integrity_runs SET began_at = now() - interval '1001 s'")
    assert await runs.take("scrub", "a", every_s=1000) is not None


@pytest.mark.parametrize("jump", [timedelta(days=3650), timedelta(days=-3650)], ids=["forwards", "backwards"])
async def test_a_clock_that_jumps_begins_one_cycle_and_breaks_no_lease_for_good(
    database: Database, jump: timedelta
) -> None:
    """F25: what the clock said before the jump is ten years off now."""
    runs = IntegrityRuns(database)
    work = await runs.take("scrub", "a", every_s=86_400)
    assert work is not None
    await execute(
        database,
        "UPDATE integrity_runs SET began_at = began_at - $1::interval, leased_until = leased_until - $1",
        jump,
    )
    taken = await runs.take("scrub", "b", every_s=86_400)
    assert taken is not None and taken.run == work.run
    await runs.finish(taken)
    await execute(database, "UPDATE integrity_runs SET began_at = now() - $1::interval", jump)
    again = await runs.take("scrub", "b", every_s=86_400)
    assert again is not None and again.run != work.run
    await runs.finish(again)
    assert await runs.take("scrub", "b", every_s=86_400) is None, "and then it goes on as before"
