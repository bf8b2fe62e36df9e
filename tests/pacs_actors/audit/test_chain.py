"""Whatever is done to the audit behind its back is found, and the row is named."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.audit.chain import GENESIS, MOST_FINDINGS, Anchor, Finding, Link, Verifier, link_hash
from pacs_actors.audit.trail import Trail
from pacs_actors.database import Database
from pacs_actors.migrations import bundled, migrate
from protocols.messages.audit import AuditEvent
from tests.pacs_actors.audit.rows import event, execute, stored_links, tamper, verified
from tests.postgres_fixture import Server

ROWS = 9
THEN = datetime(2025, 5, 5, 5, 5, 5, 123456, tzinfo=UTC)


@pytest.fixture
async def chained(trail: Trail) -> None:
    for number in range(ROWS):
        await trail.append([event(number, uids=(f"1.2.{number}", "1.3"), details={"n": number})])


async def anchor(dsn: str, number: int) -> Anchor:
    link = (await stored_links(dsn))[number - 1]
    return Anchor("2026-01-01T00:00:00+00:00", link.id, link.hash.hex())


async def test_an_untouched_chain_is_whole_and_begins_at_the_beginning(owner_dsn: str, chained: None) -> None:
    found = await stored_links(owner_dsn)
    assert [link.id for link in found] == list(range(1, ROWS + 1))
    assert found[0].previous == GENESIS
    verifier = await verified(owner_dsn, [await anchor(owner_dsn, 4), await anchor(owner_dsn, ROWS)])
    assert (verifier.rows, verifier.anchors, verifier.findings) == (ROWS, 2, [])


COLUMNS = {
    "at": "at + interval '1 microsecond'", "recorded_at": "recorded_at - interval '1 hour'", "event": "'query'",
    "outcome": "'failure'", "who": "who || ' '", "via": "'session'", "address": "''", "patient_id": "'P2'",
    "uids": "uids[1:1]", "details": "details || '{\"n\": 100}'", "previous": "sha256('')", "hash": "sha256('')",
}  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
async def test_an_edit_of_any_column_is_found(owner_dsn: str, chained: None, column: str) -> None:
    await tamper(owner_dsn, f"UPDATE audit_events SET {column} = {COLUMNS[column]} WHERE id = 5")
    assert (await verified(owner_dsn)).findings[0] == Finding(5, "it is not what was written")


async def test_every_column_of_the_table_is_covered(owner_dsn: str, trail: Trail) -> None:
    async def unit(connection: asyncpg.Connection) -> set[str]:
        sql = "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_events'::regclass AND attnum > 0 AND NOT attisdropped"
        return {record[0] for record in await connection.fetch(sql)}

    assert await trail.database.run(unit) == {*COLUMNS, "id"} == set(Link.__struct_fields__)


async def test_an_edit_with_a_fitting_hash_breaks_the_row_after_it(owner_dsn: str, chained: None) -> None:
    forged = msgspec.structs.replace((await stored_links(owner_dsn))[4], who="SOMEBODY")
    new_hash = link_hash(forged).hex()
    await tamper(
        owner_dsn,
        f"UPDATE audit_events SET who = 'SOMEBODY', hash = decode('{new_hash}', 'hex') WHERE id = 5",
    )
    assert [each.row for each in (await verified(owner_dsn)).findings] == [6]


async def test_a_deletion_in_the_middle_is_found(owner_dsn: str, chained: None) -> None:
    await tamper(owner_dsn, "DELETE FROM audit_events WHERE id IN (3, 4)")
    assert (await verified(owner_dsn)).findings == [Finding(3, "rows 3 to 4 are missing")]


async def test_a_deletion_closed_by_new_numbers_is_found(owner_dsn: str, chained: None) -> None:
    await tamper(
        owner_dsn, "DELETE FROM audit_events WHERE id = 3", "UPDATE audit_events SET id = id - 1 WHERE id > 3"
    )
    assert (await verified(owner_dsn)).findings[0].row == 3


async def test_reordered_rows_are_found(owner_dsn: str, chained: None) -> None:
    swap = "UPDATE audit_events SET id = CASE id WHEN {0} THEN {1} ELSE {0} END WHERE id IN ({0}, {1})"
    await tamper(
        owner_dsn,
        "ALTER TABLE audit_events DROP CONSTRAINT audit_events_pkey",
        swap.format(3, 4),
        "ALTER TABLE audit_events ADD PRIMARY KEY (id)",
    )
    assert {each.row for each in (await verified(owner_dsn)).findings} >= {3, 4}


async def test_a_row_put_in_between_is_found(owner_dsn: str, chained: None) -> None:
    await tamper(
        owner_dsn,
        "UPDATE audit_events SET id = -id - 1 WHERE id >= 5",
        "UPDATE audit_events SET id = -id WHERE id < 0",
        "INSERT INTO audit_events SELECT 5, at, recorded_at, event, outcome, 'NOBODY', via, address, patient_id, uids, "
        "details, previous, hash FROM audit_events WHERE id = 4",
    )
    found = await verified(owner_dsn)
    assert found.findings[0].row == 5
    assert found.found == ROWS + 1 - 4


async def test_a_cut_end_is_found_by_its_anchor(owner_dsn: str, chained: None) -> None:
    known = [await anchor(owner_dsn, 4), await anchor(owner_dsn, 8)]
    await tamper(owner_dsn, "DELETE FROM audit_events WHERE id > 6")
    (finding,) = (await verified(owner_dsn, known)).findings
    assert finding == Finding(7, f"rows 7 to 8 are missing, says the anchor of {known[1].at}")
    assert (await verified(owner_dsn)).findings == [], "nobody else can know"


async def test_an_audit_that_was_emptied_is_found_by_its_anchor(owner_dsn: str, chained: None) -> None:
    known = [await anchor(owner_dsn, ROWS)]
    await tamper(owner_dsn, "TRUNCATE audit_events")
    assert (await verified(owner_dsn, known)).findings[0].row == 1


async def test_a_chain_written_anew_from_the_middle_is_found_by_its_anchor(
    owner_dsn: str, trail: Trail, chained: None
) -> None:
    known = [await anchor(owner_dsn, 8)]
    await tamper(owner_dsn, "DELETE FROM audit_events WHERE id > 5")
    for number in range(5, ROWS):
        await trail.append([event(number, who="FORGED")])
    assert (await verified(owner_dsn)).findings == [], "in itself it is a chain"
    assert [each.row for each in (await verified(owner_dsn, known)).findings] == [8]


def test_what_is_found_is_counted_but_not_kept_without_end() -> None:
    verifier = Verifier()
    link = Link(1, *[THEN] * 2, *[""] * 6, (), "{}", GENESIS, b"")
    for _ in range(10 * MOST_FINDINGS):
        verifier.feed(link)
    assert len(verifier.findings) == MOST_FINDINGS
    assert verifier.found >= 10 * MOST_FINDINGS


def test_anchors_that_contradict_each_other_are_found() -> None:
    assert [each.row for each in Verifier([Anchor("a", 3, "00"), Anchor("b", 3, "01")]).findings] == [3]


async def test_many_writers_make_one_chain(owner_dsn: str, dsn: str) -> None:
    writers, batches, size = 4, 10, 20

    async def write(number: int) -> None:
        async with Database(dsn, DatabaseSettings(connections=2)) as database:
            await database.wait_ready(10)
            own = Trail(database)
            for batch in range(batches):
                await own.append([event(number, details={"batch": batch, "n": n}) for n in range(size)])

    async with trio.open_nursery() as nursery:
        for number in range(writers):
            nursery.start_soon(write, number)
    found = await verified(owner_dsn)
    assert (found.rows, found.findings) == (writers * batches * size, [])
    of_one = [link.details for link in await stored_links(owner_dsn) if link.who == "CT2"]
    assert of_one == [f'{{"n": {n}, "batch": {batch}}}' for batch in range(batches) for n in range(size)]


async def test_a_transaction_that_fails_leaves_no_gap(owner_dsn: str, trail: Trail) -> None:
    await trail.append([event(1)])

    async def fails(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            await connection.execute("INSERT INTO audit_events (event, outcome) VALUES ('a', 'b')")
            await connection.execute("SELECT 1/0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await trail.database.run(fails)
    await trail.append([event(2)])
    found = await verified(owner_dsn)
    assert (found.rows, found.findings) == (2, [])


HOSTILE = [
    "",
    "\0",
    "\ud800",
    "a\nb",
    "'; DROP TABLE audit_events; --",
    "\\",
    '"',
    "Ünïcödé 漢字 👩‍⚕️",
    "x" * 100_000,
]
HOSTILE.append(
    "".join(chr(0x10000 + 37 * n) for n in range(5000))
)  # more than an index takes, even compressed


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
async def test_whatever_a_peer_sends_is_written_and_hashed_alike_on_both_sides(
    owner_dsn: str, trail: Trail, text: str
) -> None:
    await trail.append(
        [AuditEvent(text, text, text, text, text, (text, text), {"k" + text: text, "big": 10**30}, text, 1.5)]
    )
    found = await verified(owner_dsn)
    assert (found.rows, found.findings) == (1, [])
    (link,) = await stored_links(owner_dsn)
    assert len(link.who) <= 256


async def test_rows_from_before_the_chain_are_chained_in_their_order(postgres: Server) -> None:
    dsn = postgres.create_database()

    async def earlier() -> None:
        connection = await asyncpg.connect(dsn)
        await migrate(connection, bundled()[:2])
        for number in (1, 2, 3):
            await connection.execute(
                "INSERT INTO audit_events (event, outcome, who, at, uids) VALUES ('store', 'success', $1, $2, '{1.2}')",
                f"CT{number}", THEN,
            )  # fmt: skip
            await connection.execute(
                "BEGIN; INSERT INTO audit_events (event, outcome) VALUES ('a', 'b'); ROLLBACK"
            )
        await migrate(connection, bundled()[:3])
        await connection.close()

    await trio.to_thread.run_sync(lambda: asyncio.run(earlier()))
    assert [(link.id, link.who, link.at) for link in await stored_links(dsn)] == [
        (number, f"CT{number}", THEN) for number in (1, 2, 3)
    ]
    assert (await verified(dsn)).findings == []
    await execute(dsn, "INSERT INTO audit_events (event, outcome) VALUES ('a', 'b')")
    assert (await verified(dsn)).rows == 4
