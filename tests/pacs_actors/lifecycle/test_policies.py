"""Which rules make sense, and which studies they name in a real index."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.deleting import Target, delete_rows
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.scope import EVERYTHING, ScopeRule, StudyScope
from pacs_actors.database import Database
from pacs_actors.lifecycle.lifecycle_scheduler import LifecycleScheduler
from pacs_actors.lifecycle.moves import Moves, Order
from pacs_actors.lifecycle.policies import Rule, When, problems
from pacs_actors.lifecycle.policy_book import NameTaken, PolicyBook
from protocols.messages.audit import Actor
from tests.pacs_actors.archive.entries import MR, entry

TIERS: dict[str, Any] = {"nas": "nearline", "tape": "archive"}
NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(action="copy"), "copy wants to_store"),
        (Rule(action="copy", from_store="online", to_store="nas"), "copy has no from_store"),
        (Rule(action="move", to_store="nas"), "move wants from_store"),
        (Rule(action="move", from_store="nas", to_store="nas"), "the same"),
        (Rule(action="move", from_store="nas", to_store="online"), "by a recall"),
        (Rule(action="copy", to_store="attic"), "no store attic"),
        (Rule(action="remove", from_store="attic"), "no store attic"),
        (Rule(action="remove", from_store="online", form="zstd"), "form is of copies"),
        (Rule(action="delete"), "retention_days"),
        (Rule(action="copy", to_store="nas", retention_days=3), "of deletions"),
        (Rule(action="copy", to_store="nas", when=When(at_least_bytes=3, at_most_bytes=2)), "at_most_bytes"),
        (Rule(action="copy", to_store="nas", when=When(labels=("a",), without_labels=("a",))), "label"),
    ],
)
def test_a_rule_that_cannot_be_had_says_why(rule: Rule, why: str) -> None:
    assert why in "; ".join(problems(rule, TIERS))


@pytest.mark.parametrize(
    "rule",
    [
        Rule(action="copy", to_store="nas"),
        Rule(action="move", from_store="online", to_store="tape", form="zstd"),
        Rule(action="move", from_store="nas", to_store="tape"),
        Rule(action="remove", from_store="online"),
        Rule(action="delete", retention_days=3650),
    ],
)
def test_a_rule_that_can_be_had_has_no_problems(rule: Rule) -> None:
    assert problems(rule, TIERS) == []


@pytest.mark.parametrize(
    "wrong", [{"action": "burn"}, {"action": "copy", "when": {"older": 3}}, {"when": {}}]
)
def test_a_rule_of_another_shape_is_no_rule(wrong: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(wrong), type=Rule)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Study 1: CT, 400 days old, of 2 instances. 2: MR, 10 days. 3: CT, 10 days, with a Study Date of long ago."""
    async with Database(dsn, DatabaseSettings(connections=4)) as database:
        catalogue = Catalogue(database)
        await catalogue.index_batch([entry(1), entry(2), entry(1, study=2, sop_class=MR), entry(1, study=3)])

        async def unit(connection: asyncpg.Connection) -> None:
            for study, days, date, modality in (
                (1, 400, "20281120", "CT"),
                (2, 10, "20291220", "MR"),
                (3, 10, "19990101", "CT"),
            ):
                await connection.execute(
                    "UPDATE studies SET received_at = $2, study_date = $3, modalities_in_study = ARRAY[$4], size_bytes = $5 "
                    "WHERE study_instance_uid = $1",
                    f"1.2.3.{study}", NOW - days * DAY, date, modality, 1000 * study,
                )  # fmt: skip

        await database.run(unit)
        yield database


async def execute(database: Database, statement: str, *arguments: object) -> list[Any]:
    async def unit(connection: asyncpg.Connection) -> list[Any]:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]

    return await database.run(unit)


async def named(database: Database, rule: Rule) -> list[int]:
    """Numbers of the studies that it names."""
    preview = await PolicyBook(database).preview(rule, NOW, 10, EVERYTHING)
    assert preview.studies == len(preview.some)
    return sorted(int(one.study_instance_uid.rpartition(".")[2]) for one in preview.some)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (When(), [1, 2, 3]),
        (When(received_before_days=30), [1]),
        (When(study_before_days=365), [1, 3]),
        (When(unused_for_days=9), [1, 2, 3]),
        (When(modalities=("MR", "XA")), [2]),
        (When(at_least_bytes=2000), [2, 3]),
        (When(at_most_bytes=2000), [1, 2]),
        (When(modalities=("CT",), received_before_days=30), [1]),
        (When(labels=("teaching",)), [3]),
        (When(without_labels=("teaching",)), [1, 2]),
        (When(workflow_states=("final",)), [3]),
        (When(patient_classes=("I", "E")), [3]),
        (When(patient_classes=("O",)), []),
        (When(stations=("nowhere",)), []),
        (When(sources=("SENDER",), body_parts=("HEAD",)), []),
    ],
)
async def test_conditions_name_the_studies_that_meet_all_of_them(
    database: Database, when: When, expected: list[int]
) -> None:
    await PolicyBook(database).label("1.2.3.3", ["teaching", "rare"], "final", "I")
    assert await named(database, Rule(action="copy", to_store="nas", when=when)) == expected


async def test_what_was_looked_at_is_not_unused(database: Database) -> None:
    await execute(
        database,
        "INSERT INTO study_storage (study_instance_uid, accessed_at) VALUES ($1, $2)",
        "1.2.3.1",
        NOW - DAY,
    )
    rule = Rule(action="copy", to_store="nas", when=When(unused_for_days=5))
    assert await named(database, rule) == [2, 3]


async def test_a_hold_and_a_move_under_way_keep_a_study_out(database: Database) -> None:
    book = PolicyBook(database)
    await book.hold("1.2.3.1", "A court asks for it.", "admin")
    await execute(
        database,
        "INSERT INTO tier_moves (study_instance_uid, to_store, why) VALUES ('1.2.3.2', 'nas', 'test')",
    )
    rule = Rule(action="copy", to_store="nas")
    assert await named(database, rule) == [3]
    await book.lift("1.2.3.1", "admin")
    assert await named(database, rule) == [1, 3]
    assert [hold.lifted_by for hold in await book.holds("1.2.3.1")] == ["admin"]


async def test_a_deletion_waits_for_arrival_and_study_date_to_be_old_enough(database: Database) -> None:
    assert await named(database, Rule(action="delete", retention_days=365)) == [1]
    assert await named(database, Rule(action="delete", retention_days=1000)) == []
    await execute(database, "UPDATE studies SET study_date = '' WHERE study_instance_uid = '1.2.3.1'")
    assert await named(database, Rule(action="delete", retention_days=365)) == [], (
        "nobody knows how old it is"
    )


async def test_what_is_all_there_is_not_copied_again(database: Database) -> None:
    rule = Rule(action="copy", to_store="nas")
    await execute(
        database,
        "INSERT INTO study_copies (study_instance_uid, store, instances, stored_bytes) VALUES ('1.2.3.1', 'nas', 2, 9)",
    )
    assert await named(database, rule) == [2, 3]
    await Catalogue(database).index_batch([entry(3)])
    assert await named(database, rule) == [1, 2, 3], "one has come since"


async def test_names_of_policies_are_taken_once(database: Database) -> None:
    book, rule = PolicyBook(database), Rule(action="copy", to_store="nas")
    first = await book.write(None, name="A", enabled=True, priority=1, rule=rule, by="admin")
    with pytest.raises(NameTaken):
        await book.write(None, name="A", enabled=True, priority=1, rule=rule, by="admin")
    assert first is not None and (await book.policies()) == [first]


class Desk:
    """A scheduler with a clock of its own."""

    def __init__(self, database: Database, free: float = 50.0, cache_bytes: int = 0) -> None:
        self.now, self.free = NOW, free
        self.looked = self.deleted = 0
        self.scheduler = LifecycleScheduler(
            database, Deletions(database), TIERS, free_percent=lambda: self.free, look=self._look,
            deleted=self._deleted, undo_s=lambda: 60.0, every_s=1, cache_bytes=cache_bytes, most_jump_days=7,
            history_days=30, clock=self._clock,
        )  # fmt: skip

    def _clock(self) -> float:
        return self.now.timestamp()

    def _look(self) -> None:
        self.looked += 1

    def _deleted(self) -> None:
        self.deleted += 1


async def write(database: Database, rule: Rule, name: str = "P", enabled: bool = True) -> None:
    await PolicyBook(database).write(None, name=name, enabled=enabled, priority=1, rule=rule, by="admin")


async def orders(database: Database) -> list[str]:
    return sorted(
        move.study_instance_uid for move in await Moves(database).listed(["waiting"], before=None, most=99)
    )


async def test_an_enabled_policy_orders_moves_once(database: Database) -> None:
    desk = Desk(database)
    await write(
        database, Rule(action="move", from_store="online", to_store="nas", when=When(modalities=("CT",)))
    )
    await write(database, Rule(action="copy", to_store="tape"), "off", enabled=False)
    await desk.scheduler.run_once()
    assert await orders(database) == ["1.2.3.1", "1.2.3.3"] and desk.looked == 1
    await desk.scheduler.run_once()
    assert len(await orders(database)) == 2


async def test_a_policy_of_free_space_waits_until_there_is_little(database: Database) -> None:
    desk = Desk(database, free=50)
    await write(
        database,
        Rule(
            action="move",
            from_store="online",
            to_store="nas",
            studies_a_run=1,
            when=When(online_free_below_percent=20),
        ),
    )
    await desk.scheduler.run_once()
    assert await orders(database) == []
    desk.free = 10
    await desk.scheduler.run_once()
    assert await orders(database) == ["1.2.3.1"], "the one that was longest unused"


async def test_a_policy_deletes_as_people_do(database: Database) -> None:
    desk = Desk(database)
    await write(database, Rule(action="delete", retention_days=365), "Retention")
    ran = await desk.scheduler.run_once()
    assert ran is not None and len(ran.deleting) == 1 and desk.deleted == 1
    [[by, state]] = await execute(database, "SELECT deleted_by, state FROM deletions")
    assert (by, state) == ("policy Retention", "deleted")


@pytest.mark.parametrize("jump", [timedelta(days=3650), timedelta(days=-3650), timedelta(hours=-2)])
async def test_a_clock_that_jumps_expires_nothing_until_somebody_confirms_it(
    database: Database, jump: timedelta
) -> None:
    """F25."""
    desk = Desk(database)
    await write(database, Rule(action="delete", retention_days=365))
    await write(
        database, Rule(action="copy", to_store="nas", when=When(modalities=("MR",))), "Q", enabled=False
    )
    await execute(database, "UPDATE studies SET study_date = '20291220', received_at = $1", NOW - DAY)
    await desk.scheduler.run_once()
    desk.now += jump
    assert await desk.scheduler.run_once() is None
    assert await desk.scheduler.doubted_since() == desk.now
    desk.now += timedelta(minutes=1)
    assert await desk.scheduler.run_once() is None, "it does not believe itself after a while"
    assert await execute(database, "SELECT count(*) FROM deletions") == [(0,)]
    await desk.scheduler.believe()
    assert await desk.scheduler.doubted_since() is None
    assert await desk.scheduler.run_once() is not None


async def test_a_clock_that_goes_on_is_not_doubted(database: Database) -> None:
    desk = Desk(database)
    for _ in range(4):
        assert await desk.scheduler.run_once() is not None
        desk.now += timedelta(days=6)


async def test_recalled_studies_leave_when_they_take_too_much(database: Database) -> None:
    """Those longest unused first; sizes are 1000, 2000 and 3000."""
    desk = Desk(database, cache_bytes=4500)
    for study, hours in ((1, 1), (2, 2), (3, 3)):
        uid = f"1.2.3.{study}"
        await execute(
            database,
            "INSERT INTO study_storage (study_instance_uid, recalled_at, accessed_at) VALUES ($1, $2, $2)",
            uid, NOW - timedelta(hours=hours),
        )  # fmt: skip
        await execute(
            database,
            "INSERT INTO study_copies (study_instance_uid, store, instances, stored_bytes) VALUES ($1, 'nas', 1, 9)",
            uid,
        )
    await desk.scheduler.run_once()
    assert await orders(database) == ["1.2.3.3"]


async def test_a_policy_whose_store_is_gone_says_so_and_moves_nothing(database: Database) -> None:
    await write(database, Rule(action="copy", to_store="attic"))
    await Desk(database).scheduler.run_once()
    book = PolicyBook(database)
    [policy] = await book.policies()
    [run] = await book.runs(policy.id)
    assert "no store attic" in run.problem and await orders(database) == []


async def test_a_study_that_is_being_looked_at_stays_however_large_it_is(database: Database) -> None:
    desk = Desk(database, cache_bytes=1)
    await execute(
        database, "INSERT INTO study_storage (study_instance_uid, recalled_at, accessed_at) VALUES ('1.2.3.1', now(), now())"
    )  # fmt: skip
    await execute(database, "INSERT INTO study_copies VALUES ('1.2.3.1', 'nas', 2, 9)")
    await desk.scheduler.run_once()
    assert await orders(database) == []
    await execute(database, "UPDATE study_storage SET accessed_at = now() - interval '1 hour'")
    await desk.scheduler.run_once()
    assert await orders(database) == ["1.2.3.1"]


async def test_a_dry_run_counts_all_and_shows_what_its_caller_may_see(database: Database) -> None:
    scope = StudyScope(rules=(ScopeRule(studies=("1.2.3.2",)),))
    preview = await PolicyBook(database).preview(Rule(action="copy", to_store="nas"), NOW, 10, scope)
    assert preview.studies == 3
    assert [one.study_instance_uid for one in preview.some] == ["1.2.3.2"]


async def test_what_cannot_be_moved_keeps_nobody_from_his_turn(database: Database) -> None:
    rule, moves = Rule(action="copy", to_store="nas"), Moves(database)
    await moves.order([Order("1.2.3.1", "", "nas", "a policy"), Order("1.2.3.2", "nas", "", "another")])
    for _ in range(2):
        move = await moves.take(["nas"], 60)
        assert move is not None
        await moves.end(move, "failed", "no good copy")
    await execute(database, "UPDATE tier_moves SET ended_at = $1", NOW - timedelta(hours=1))
    assert await named(database, rule) == [2, 3]
    await execute(database, "UPDATE tier_moves SET ended_at = $1", NOW - timedelta(hours=25))
    assert await named(database, rule) == [1, 2, 3]


async def test_what_came_after_a_study_was_moved_is_moved_too(database: Database) -> None:
    move = Rule(action="move", from_store="online", to_store="nas", when=When(modalities=("MR",)))
    await execute(database, "UPDATE series SET availability = 'NEARLINE'")
    await execute(database, "UPDATE studies SET availability = 'NEARLINE'")
    await execute(database, "INSERT INTO study_copies VALUES ('1.2.3.2', 'nas', 1, 9)")
    assert await named(database, move) == []
    await Catalogue(database).index_batch([entry(2, study=2, sop_class=MR)])
    assert await named(database, move) == [2]


async def test_a_hold_is_there_before_a_deletion_or_is_none(database: Database) -> None:
    """It waits for a deletion that has begun: nobody is told that a study is kept that goes."""
    book, deleting, placed = PolicyBook(database), trio.Event(), list[object]()
    release = threading.Event()

    async def unit(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            by = Actor("who", "test")
            assert await delete_rows(connection, Target("1.2.3.1"), EVERYTHING, by, 60)
            trio.from_thread.run_sync(deleting.set, trio_token=token)
            await asyncio.to_thread(release.wait, 60)

    async def hold() -> None:
        await deleting.wait()
        placed.append(await book.hold("1.2.3.1", "a court", "who"))

    async def let_go() -> None:
        await deleting.wait()
        while not await execute(
            database, "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%deletion_epoch%'"
        ):  # fmt: skip
            if placed:
                break
            await trio.sleep(0.01)
        release.set()

    token = trio.lowlevel.current_trio_token()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            nursery.start_soon(let_go)
            await database.run(unit, within_s=60)
    assert placed == [None]
