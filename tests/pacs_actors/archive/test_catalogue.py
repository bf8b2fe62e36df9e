from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.archive.catalogue import Catalogue, Outcome, OutcomeKind, Totals
from pacs_actors.database import Database
from protocols.dataset.attributes import BY_TAG
from tests.pacs_actors.archive.entries import CT, MR, entry


async def fetch(catalogue: Catalogue, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async def unit(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.fetch(sql, *arguments)]

    return await catalogue.database.run(unit)


async def assert_counts_exact(catalogue: Catalogue) -> None:
    """Every counter, list and total says what the rows say."""
    assert not await fetch(
        catalogue,
        """SELECT e.id FROM series e WHERE number_of_instances = 0
            OR number_of_instances <> (SELECT count(*) FROM instances i WHERE i.series = e.id)""",
    )
    assert not await fetch(
        catalogue,
        """SELECT s.id FROM studies s LEFT JOIN LATERAL (
            SELECT count(*) AS series, sum(e.number_of_instances) AS instances,
                array_agg(DISTINCT e.modality::text) FILTER (WHERE e.modality <> '') AS modalities
            FROM series e WHERE e.study = s.id) d ON true
        WHERE (s.number_of_series, s.number_of_instances, s.modalities_in_study)
            IS DISTINCT FROM (d.series, d.instances, coalesce(d.modalities, '{}'))""",
    )
    assert not await fetch(
        catalogue,
        """SELECT s.id FROM studies s WHERE sop_classes_in_study <> ARRAY (
            SELECT DISTINCT i.sop_class_uid::text FROM instances i JOIN series e ON e.id = i.series
            WHERE e.study = s.id ORDER BY 1)""",
    )
    rows = await fetch(
        catalogue,
        """SELECT (SELECT count(*) FROM patients), (SELECT count(*) FROM studies), (SELECT count(*) FROM
        series),
            (SELECT count(*) FROM instances), (SELECT coalesce(sum(size_bytes), 0)::bigint FROM instances)""",
    )
    assert await catalogue.totals() == Totals(*rows[0])


async def test_a_batch_makes_patient_study_series_and_instances(catalogue: Catalogue) -> None:
    entries = [entry(n, series=1 + n % 2, sop_class=(CT, MR)[n % 2]) for n in range(10)]
    assert await catalogue.index_batch(entries) == [Outcome(OutcomeKind.INDEXED)] * 10
    rows = await fetch(
        catalogue,
        """SELECT number_of_series, number_of_instances, modalities_in_study, sop_classes_in_study
        FROM studies""",
    )
    assert rows == [(2, 10, ["CT", "MR"], [CT, MR])]
    await assert_counts_exact(catalogue)


async def test_again_with_the_same_entries_changes_nothing(catalogue: Catalogue) -> None:
    entries = [entry(n) for n in range(5)]
    await catalogue.index_batch(entries)
    again = await catalogue.index_batch([*entries, entry(9)])
    assert [outcome.kind for outcome in again] == [OutcomeKind.ALREADY] * 5 + [OutcomeKind.INDEXED]
    assert all(outcome.first_key is None for outcome in again)
    await assert_counts_exact(catalogue)


@pytest.mark.parametrize("together", [True, False])
async def test_a_second_copy_is_told_from_a_conflict(catalogue: Catalogue, together: bool) -> None:
    first, copy, other = entry(1), entry(1, copy=1), entry(1, content="changed")
    if together:
        outcomes = await catalogue.index_batch([first, copy, other])
    else:
        outcomes = [(await catalogue.index_batch([each]))[0] for each in (first, copy, other)]
    assert outcomes == [
        Outcome(OutcomeKind.INDEXED),
        Outcome(OutcomeKind.DUPLICATE, first.stored.key),
        Outcome(OutcomeKind.CONFLICT, first.stored.key),
    ]
    await assert_counts_exact(catalogue)


async def test_a_conflict_under_another_study_leaves_no_empty_study(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1)])
    stranger = entry(1, study=2, patient="P2", content="x")
    scanned = msgspec.structs.replace(stranger.scanned, sop_instance_uid="1.2.3.1.1.1")
    stolen = msgspec.structs.replace(stranger, scanned=scanned)
    assert (await catalogue.index_batch([stolen]))[0].kind is OutcomeKind.CONFLICT
    assert await fetch(catalogue, "SELECT count(*) FROM studies") == [(1,)]
    assert await fetch(catalogue, "SELECT count(*) FROM patients") == [(1,)]
    await assert_counts_exact(catalogue)
    assert (await catalogue.index_batch([entry(2, study=2, patient="P2")]))[0].kind is OutcomeKind.INDEXED
    await assert_counts_exact(catalogue)


async def test_a_study_of_another_patient_is_reported_and_indexed(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1, patient="P1")])
    outcomes = await catalogue.index_batch(
        [entry(2, patient="P2"), entry(3, patient="P1"), entry(4, patient="")]
    )
    assert [(o.kind, o.patient_mismatch) for o in outcomes] == [
        (OutcomeKind.INDEXED, True), (OutcomeKind.INDEXED, False), (OutcomeKind.INDEXED, False),
    ]  # fmt: skip
    assert await fetch(catalogue, "SELECT patient_id, patient_name FROM patients") == [("P1", "Name^P1")]
    await assert_counts_exact(catalogue)


async def test_without_a_patient_id_two_studies_are_two_patients(catalogue: Catalogue) -> None:
    unnamed = [entry(1, study=n, patient="", t00100010=name) for n, name in ((1, "A"), (2, "B"))]
    await catalogue.index_batch(unnamed)
    rows = await fetch(
        catalogue,
        """SELECT p.patient_name, s.study_instance_uid FROM studies s JOIN patients p ON p.id = s.patient
        ORDER BY 2""",
    )
    assert rows == [("A", "1.2.3.1"), ("B", "1.2.3.2")]


async def test_the_issuer_is_part_of_a_patients_identity(catalogue: Catalogue) -> None:
    same_id = [entry(1, study=1, t00100021="X"), entry(1, study=2, t00100021="Y"), entry(1, study=3)]
    await catalogue.index_batch(same_id)
    assert await fetch(catalogue, "SELECT count(*) FROM patients") == [(3,)]
    await assert_counts_exact(catalogue)


async def test_a_report_ahead_of_its_images_in_one_batch_leaves_nothing_blank(catalogue: Catalogue) -> None:
    report = entry(1, series=1, patient="P1", t00081030="")
    image = entry(1, series=2, patient="P1", t00081030="Thorax", t00080050="A1")
    await catalogue.index_batch([report, image])
    rows = await fetch(catalogue, "SELECT study_description, accession_number FROM studies")
    assert rows == [("Thorax", "A1")]


async def test_the_first_wins_and_later_ones_fill_blanks(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1, series=1, t00081030="", t00100040="F")])
    await catalogue.index_batch([entry(1, series=2, t00081030="Abdomen", t00100040="M", t00101010="031Y")])
    await catalogue.index_batch([entry(1, series=3, t00081030="Thorax", t00100040="O")])
    rows = await fetch(
        catalogue,
        """SELECT study_description, patient_sex, patient_age
        FROM studies s JOIN patients p ON p.id = s.patient""",
    )
    assert rows == [("Abdomen", "F", "031Y")]


async def test_names_are_folded_by_component_group(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1, t00100010="Müller^Änne=王^小東=おう^こと", t00081070="Éa^B\\Çc")])
    rows = await fetch(
        catalogue,
        """SELECT patient_name, patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic
        FROM patients""",
    )
    assert rows == [("Müller^Änne=王^小東=おう^こと", "muller^anne", "王^小東", "おう^こと")]
    assert await fetch(catalogue, "SELECT operators_name_alphabetic FROM series") == [("ea^b\\cc",)]


async def test_nothing_that_a_peer_sends_can_stop_a_batch(catalogue: Catalogue) -> None:
    wide = "\U0001f600" * 5000
    values = {f"t{tag:08X}": wide for tag in BY_TAG if tag not in (0x00100020, 0x00400275)}
    hostile = [
        entry(1, study=1, patient=wide, **values),
        entry(2, study=2, t00100010="NUL\0in^name", t00081030="lone \ud800 surrogate"),
        entry(3, study=3, t00400275='[{"00400007": not json'),
        entry(4, study=4, t00400275='[{"00400007":{"vr":"LO","Value":["\\u0000"]}}]'),
        entry(5, study=5, t00080020="not a date", t00080030="25:99", t00200011="1e9999999", t00200013="-"),
        entry(6, study=6, patient="'; DROP TABLE patients; --"),
    ]
    outcomes = await catalogue.index_batch(hostile)
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.INDEXED] * 6
    await assert_counts_exact(catalogue)


async def test_marks_move_forward_only_unless_on_purpose(catalogue: Catalogue) -> None:
    assert await catalogue.mark(0) == 0
    await catalogue.index_batch([entry(1)], mark=(0, 7))
    await catalogue.index_batch([entry(2)], mark=(0, 5))
    await catalogue.index_batch([], mark=(1, 3))
    assert await catalogue.all_marks() == {0: 7, 1: 3}
    await catalogue.set_mark(0, 0, back=True)
    assert await catalogue.mark(0) == 0


async def test_known_keys_are_those_of_one_folder(catalogue: Catalogue) -> None:
    entries = [entry(n, batch=10 + n % 2, slot=n // 4) for n in range(8)]
    await catalogue.index_batch(entries)
    wanted = {each.stored.key for each in entries if each.stored.key.startswith("1/0000000b/")}
    assert len(wanted) == 2
    assert await catalogue.known_keys(1, 11) == wanted


async def test_a_conflict_is_noted_once_in_quarantine_and_audit(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1)])
    second = entry(1, content="x")
    found = (await catalogue.index_batch([second]))[0]
    for _ in range(2):
        await catalogue.quarantine(second, "quarantine/abc.dcm", found, "127.0.0.1")
    rows = await fetch(
        catalogue, "SELECT sop_instance_uid, object_key, first_key, digest, why, source FROM quarantine"
    )
    uid, key, digest = "1.2.3.1.1.1", "quarantine/abc.dcm", second.stored.digest
    assert rows == [(uid, key, entry(1).stored.key, digest, "conflict", "MODALITY")]
    rows = await fetch(catalogue, "SELECT event, who, address, patient_id, uids FROM audit_events")
    uids = ["1.2.3.1", "1.2.3.1.1", uid]
    assert rows == [("instance_quarantined", "MODALITY", "127.0.0.1", "P1", uids)]
    await catalogue.audit_conflict(second, found, "127.0.0.1", what="patient_mismatch")
    assert await fetch(catalogue, "SELECT count(*) FROM audit_events") == [(2,)]


async def test_what_text_cannot_hold_does_not_stop_the_audit(catalogue: Catalogue) -> None:
    odd = entry(1, patient="P\0\ud800")
    found = Outcome(OutcomeKind.CONFLICT, "first")
    await catalogue.quarantine(odd, "quarantine/x.dcm", found, "::1")
    rows = await fetch(catalogue, "SELECT patient_id, address FROM audit_events")
    assert rows == [("P\ufffd\ufffd", "::1")]


async def test_the_audit_trail_refuses_changes(catalogue: Catalogue) -> None:
    await catalogue.audit_conflict(entry(1), Outcome(OutcomeKind.CONFLICT, "k"), what="x")
    for sql in ("UPDATE audit_events SET who = 'me'", "DELETE FROM audit_events", "TRUNCATE audit_events"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(catalogue, sql)


async def test_exists_wants_class_and_instance_to_agree(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1), entry(2)])
    asked = [(CT, "1.2.3.1.1.1"), (MR, "1.2.3.1.1.1"), (CT, "1.2.3.1.1.9"), (CT, "1.2.3.1.1.2")]
    assert await catalogue.exists(asked) == [True, False, False, True]
    assert await catalogue.exists([]) == []


async def test_recent_studies_come_newest_first(catalogue: Catalogue) -> None:
    for study in range(1, 6):
        await catalogue.index_batch([entry(n, study=study) for n in range(3)])
    recent = await catalogue.recent_studies(2)
    assert [(each.study_instance_uid, each.number_of_instances, each.modalities) for each in recent] == [
        ("1.2.3.5", 3, "CT"), ("1.2.3.4", 3, "CT"),
    ]  # fmt: skip


async def test_a_database_restored_to_an_earlier_state_gets_the_groups_again(catalogue: Catalogue) -> None:
    await catalogue.index_batch([entry(1)])
    await fetch(catalogue, "TRUNCATE patients, studies, series, instances, archive_totals")
    assert (await catalogue.index_batch([entry(2)]))[0].kind is OutcomeKind.INDEXED
    await assert_counts_exact(catalogue)


@pytest.mark.parametrize("shared", ["instances", "series"])
async def test_counts_are_exact_when_many_send_one_study_at_once(dsn: str, shared: str) -> None:
    """Eight writers, the same or interleaved instances, two patients' claims, every order."""
    databases = [Database(dsn, DatabaseSettings(connections=4)) for _ in range(2)]
    async with databases[0], databases[1]:
        catalogues = [Catalogue(databases[n % 2]) for n in range(8)]
        kinds: list[OutcomeKind] = []

        async def send(number: int, catalogue: Catalogue) -> None:
            for step in range(6):
                numbers = range(12) if shared == "instances" else range(number * 100, number * 100 + 12)
                batch = [
                    entry(
                        n, study=1 + (n + step) % 3, series=1 + n % 3, patient=f"P{(n + number) % 2}",
                        copy=number, slot=number % 2,
                    )
                    for n in numbers
                ]  # fmt: skip
                if number % 2:
                    batch.reverse()
                outcomes = await catalogue.index_batch(batch, mark=(number % 2, step))
                kinds.extend(outcome.kind for outcome in outcomes)

        async with trio.open_nursery() as nursery:
            for number, catalogue in enumerate(catalogues):
                nursery.start_soon(send, number, catalogue)
        await assert_counts_exact(catalogues[0])
        rows = await fetch(catalogues[0], "SELECT count(*) FROM instances")
        assert kinds.count(OutcomeKind.INDEXED) == rows[0][0]
        assert OutcomeKind.CONFLICT not in kinds
        assert sum(catalogue.retries for catalogue in catalogues) == 0, "one lock order: no deadlocks"


@pytest.mark.parametrize("together", [True, False])
async def test_blanks_are_filled_by_later_instances_of_a_series_that_is_known(
    catalogue: Catalogue, together: bool
) -> None:
    nameless = entry(1, t00100010="", t00081030="")
    named = entry(2, t00100010="Eight^Senders", t00081030="ABDOMEN")
    for entries in ([nameless, named],) if together else ([nameless], [named]):
        await catalogue.index_batch(entries)
    found = await fetch(
        catalogue,
        "SELECT patient_name::text, patient_name_alphabetic::text, study_description::text "
        "FROM patients p JOIN studies s ON s.patient = p.id",
    )
    assert found == [("Eight^Senders", "eight^senders", "ABDOMEN")]
