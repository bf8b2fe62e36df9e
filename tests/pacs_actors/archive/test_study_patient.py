"""Whose a study is, when its instances do not all say the same: the answer must not depend on the order in which they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import permutations
from random import Random

import asyncpg
import msgspec
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.archive.catalogue import Catalogue, Outcome, OutcomeKind
from pacs_actors.archive.deleting import Target
from pacs_actors.archive.deletions import Deletions
from pacs_actors.archive.scope import EVERYTHING
from pacs_actors.database import Database
from protocols.dataset.record import IndexEntry
from protocols.messages.audit import Actor
from tests.pacs_actors.archive.entries import entry
from tests.pacs_actors.archive.test_catalogue import assert_counts_exact, fetch

NAMELESS = entry(1, patient="", t00100010="Somebody", t00100040="O")
NAMED = entry(2, series=2, patient="P1")
ISSUED = entry(3, patient="P1", t00100021="X")
IDENTITIES = """SELECT p.patient_id, p.issuer_of_patient_id, p.only_study, p.patient_name,
    array_agg(s.study_instance_uid::text ORDER BY s.study_instance_uid)
    FROM patients p LEFT JOIN studies s ON s.patient = p.id GROUP BY p.id
    ORDER BY p.patient_id, p.issuer_of_patient_id"""


async def index(
    catalogue: Catalogue, entries: Sequence[IndexEntry], *, together: bool = False
) -> list[Outcome]:
    if together:
        return await catalogue.index_batch(entries)
    return [outcome for each in entries for outcome in await catalogue.index_batch([each])]


def of_study(number: int) -> tuple[IndexEntry, ...]:
    """What identifies the patient of a study less and less well; the last one not at all."""
    patient = f"P{number}"
    return (
        entry(3, study=number, patient=patient, t00100021="X"), entry(2, study=number, series=2, patient=patient),
        entry(1, study=number, patient="", t00100010="Somebody", t00100040="O"),
    )  # fmt: skip


@pytest.mark.parametrize("together", [True, False])
async def test_a_study_is_the_patients_that_its_instances_identify_best_in_any_order(
    catalogue: Catalogue, together: bool
) -> None:
    for number, order in enumerate(permutations(range(3)), 1):
        entries = of_study(number)
        outcomes = await index(catalogue, [entries[place] for place in order], together=together)
        assert outcomes == [Outcome(OutcomeKind.INDEXED)] * 3, order
    expected = [(f"P{n}", "X", "", f"Name^P{n}", [f"1.2.3.{n}"]) for n in range(1, 7)]
    assert await fetch(catalogue, IDENTITIES) == expected
    await assert_counts_exact(catalogue)


@pytest.mark.parametrize("together", [True, False])
async def test_one_instance_with_an_id_is_enough_and_the_nameless_patient_is_gone(
    catalogue: Catalogue, together: bool
) -> None:
    for number, order in enumerate(permutations(range(3)), 1):
        entries = (*of_study(number)[1:], entry(4, study=number, patient=""))
        await index(catalogue, [entries[place] for place in order], together=together)
    expected = [(f"P{n}", "", "", f"Name^P{n}", [f"1.2.3.{n}"]) for n in range(1, 7)]
    assert await fetch(catalogue, IDENTITIES) == expected
    await assert_counts_exact(catalogue)


async def test_an_id_in_a_series_that_is_known_moves_the_study_to_a_patient_who_is_known(
    catalogue: Catalogue,
) -> None:
    await index(catalogue, [entry(1, study=2, t00100010=""), NAMELESS])
    later = entry(2, patient="P1", t00100030="19700101")
    assert await index(catalogue, [later]) == [Outcome(OutcomeKind.INDEXED)]
    assert await fetch(catalogue, IDENTITIES) == [("P1", "", "", "Name^P1", ["1.2.3.1", "1.2.3.2"])]
    assert await fetch(catalogue, "SELECT patient_birth_date, patient_sex FROM patients") == [
        ("19700101", "")
    ]
    await assert_counts_exact(catalogue)


async def test_a_patient_who_loses_a_study_to_one_with_an_issuer_keeps_the_others(
    catalogue: Catalogue,
) -> None:
    await index(catalogue, [NAMED, entry(1, study=2, patient="P1"), ISSUED])
    assert await fetch(catalogue, IDENTITIES) == [
        ("P1", "", "", "Name^P1", ["1.2.3.2"]),
        ("P1", "X", "", "Name^P1", ["1.2.3.1"]),
    ]
    await assert_counts_exact(catalogue)


@pytest.mark.parametrize("together", [True, False])
async def test_of_two_ids_the_first_stays_and_the_other_is_told(catalogue: Catalogue, together: bool) -> None:
    outcomes = await index(
        catalogue, [NAMELESS, NAMED, entry(4, patient="P2"), entry(5, patient="")], together=together
    )
    assert [outcome.patient_mismatch for outcome in outcomes] == [False, False, True, False]
    assert await fetch(catalogue, IDENTITIES) == [("P1", "", "", "Name^P1", ["1.2.3.1"])]
    await assert_counts_exact(catalogue)


@pytest.mark.parametrize("together", [True, False])
async def test_what_does_not_come_into_the_index_does_not_say_whose_the_study_is(
    catalogue: Catalogue, together: bool
) -> None:
    taken = entry(9, study=2, patient="P2")
    scanned = msgspec.structs.replace(NAMED.scanned, sop_instance_uid=taken.scanned.sop_instance_uid)
    conflict = msgspec.structs.replace(NAMED, scanned=scanned)
    outcomes = await index(catalogue, [taken, NAMELESS, conflict], together=together)
    assert outcomes[2].kind is OutcomeKind.CONFLICT
    assert await fetch(catalogue, IDENTITIES) == [
        ("", "", "1.2.3.1", "Somebody", ["1.2.3.1"]),
        ("P2", "", "", "Name^P2", ["1.2.3.2"]),
    ]
    await assert_counts_exact(catalogue)


async def test_many_who_send_parts_of_the_same_studies_at_once_find_the_same_patients(dsn: str) -> None:
    studies, writers = range(1, 7), 6
    entries = [
        entry(
            n, series=n % 2, study=study, slot=n % writers, patient="" if n < 7 else f"P{study % 2}",
            t00100021="X" if n == 11 and study < 5 else "",
        )
        for study in studies for n in range(12)
    ]  # fmt: skip
    Random(7).shuffle(entries)
    databases = [Database(dsn, DatabaseSettings(connections=3)) for _ in range(2)]
    async with databases[0], databases[1]:
        catalogues = [Catalogue(databases[n % 2]) for n in range(writers)]

        async def send(number: int) -> None:
            mine = entries[number::writers]
            for at in range(0, len(mine), 3):
                await catalogues[number].index_batch(mine[at : at + 3])

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(writers):
                    nursery.start_soon(send, number)
        found = await fetch(catalogues[0], IDENTITIES)
        whose = {study: row[:3] for row in found for study in row[4]}
        assert whose == {f"1.2.3.{n}": (f"P{n % 2}", "X" if n < 5 else "", "") for n in studies}
        assert len(found) == 4, "patients without a study"
        await assert_counts_exact(catalogues[0])


async def test_a_deletion_tidies_the_patient_that_the_study_has_moved_to_meanwhile(
    catalogue: Catalogue,
) -> None:
    await index(catalogue, [NAMELESS])
    token, locked = trio.lowlevel.current_trio_token(), trio.Event()

    async def move(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            await connection.execute("SELECT FROM studies FOR UPDATE")
            new = await connection.fetchval("INSERT INTO patients (patient_id) VALUES ('P1') RETURNING id")
            await connection.execute("UPDATE studies SET patient = $1", new)
            await connection.execute("DELETE FROM patients WHERE id <> $1", new)
            token.run_sync_soon(locked.set)
            while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(catalogue.database.run, move)
            await locked.wait()
            by = Actor("somebody", "session", "127.0.0.1")
            assert await Deletions(catalogue.database).delete(Target("1.2.3.1"), EVERYTHING, by, undo_s=60)
    assert await fetch(catalogue, IDENTITIES) == []
