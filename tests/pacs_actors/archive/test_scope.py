"""Which studies a scope lets somebody see: by query at every level, by counts, and by retrieval."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from config.settings import DatabaseSettings
from pacs_actors.archive.catalogue import Catalogue, FindPage
from pacs_actors.archive.matching import FindQuery, Root
from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule, StudyScope, both
from pacs_actors.database import Database
from protocols.dataset.attributes import INDEXED, Level
from protocols.dataset.identifier import Identifier
from protocols.dataset.record import IndexEntry
from tests.pacs_actors.archive.entries import MR, entry
from tests.postgres_fixture import Server

TAG = {each.keyword: each.tag for each in INDEXED}


def sent_by(source: str, made: IndexEntry) -> IndexEntry:
    return IndexEntry(made.scanned, msgspec.structs.replace(made.stored, source=source))


# Patient P1 has studies 1 and 2, P2 has 3, P3 has 4.
ARCHIVE = [
    sent_by("CT1", entry(1, study=1, t00080080="North", t00081040="Trauma", t00080090="House^Gregory")),
    sent_by("MR1", entry(2, study=1, series=2, sop_class=MR, t00080080="South", t00081040="Cardiology")),
    sent_by("CT1", entry(1, study=2, t00080080="South", t00080090="Müller^Änne=ミュラー")),
    sent_by("CT1", entry(2, study=2, t00080080="South")),
    sent_by("MR1", entry(1, study=3, patient="P2", sop_class=MR, t00080080="South", t00081040="Trauma")),
    sent_by("XA", entry(1, study=4, patient="P3", t00080080="N%rth", t00080090="house^gregory")),
]


@pytest.fixture(scope="module")
def archive(postgres: Server, migrated: str) -> str:
    dsn = postgres.create_database(template=migrated)

    async def fill() -> None:
        async with Database(dsn, DatabaseSettings(connections=1)) as database:
            await Catalogue(database).index_batch(ARCHIVE)

    trio.run(fill)
    return dsn


async def ask(dsn: str, level: Level, scope: StudyScope, *returns: str, **keys: str) -> FindPage:
    async with Database(dsn, DatabaseSettings(connections=1)) as database:
        asked = {TAG[name]: value for name, value in keys.items()}
        tags = tuple(TAG[name] for name in returns)
        query = FindQuery(Root.PATIENT, level, asked, tags, relational=True, scope=scope)
        return await Catalogue(database).find_page(query)


async def studies(dsn: str, *rules: ScopeRule) -> set[int]:
    page = await ask(dsn, Level.STUDY, StudyScope(rules=rules), "StudyInstanceUID")
    return {int(row[0].rsplit(".", 1)[1]) for row in page.rows}


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        (ScopeRule(modalities=("CT",)), {1, 2, 4}),
        (ScopeRule(modalities=("MR",)), {1, 3}),
        (ScopeRule(modalities=("PT", "MR")), {1, 3}),
        (ScopeRule(sources=("MR1",)), {1, 3}),
        (ScopeRule(sources=("mr1",)), set()),
        (ScopeRule(institutions=("South",)), {1, 2, 3}),
        (ScopeRule(institutions=("N%rth",)), {4}),
        (ScopeRule(departments=("Trauma",)), {1, 3}),
        (ScopeRule(departments=("Cardiology", "Trauma")), {1, 3}),
        (ScopeRule(referring_physicians=("HOUSE^GREGORY",)), {1, 4}),
        (ScopeRule(referring_physicians=("muller^anne",)), {2}),
        (ScopeRule(referring_physicians=("ミュラー",)), {2}),
        (ScopeRule(referring_physicians=("House",)), set()),
        (ScopeRule(studies=("1.2.3.2", "1.2.3.4", "1.2.3.99")), {2, 4}),
    ],
)
async def test_a_rule_shows_the_studies_that_meet_it(archive: str, rule: ScopeRule, seen: set[int]) -> None:
    assert await studies(archive, rule) == seen


async def test_every_list_of_a_rule_must_be_met(archive: str) -> None:
    assert await studies(archive, ScopeRule(modalities=("CT",), institutions=("South",))) == {1, 2}
    assert await studies(
        archive, ScopeRule(departments=("Trauma",), sources=("MR1",), modalities=("CT",))
    ) == {1}
    assert await studies(archive, ScopeRule(studies=("1.2.3.3",), modalities=("CT",))) == set()


async def test_one_rule_of_several_is_enough(archive: str) -> None:
    rules = (ScopeRule(studies=("1.2.3.4",)), ScopeRule(modalities=("MR",), institutions=("South",)))
    assert await studies(archive, *rules) == {1, 3, 4}


async def test_two_scopes_show_what_both_show(archive: str) -> None:
    ct, south = (
        StudyScope(rules=(rule,))
        for rule in (ScopeRule(modalities=("CT",)), ScopeRule(institutions=("South",)))
    )
    house = StudyScope(rules=(ScopeRule(referring_physicians=("House^Gregory",)),))
    for scope, seen in (
        (both(ct, south), {1, 2}),
        (both(south, ct), {1, 2}),
        (both(both(ct, south), house), {1}),
        (both(house, both(ct, south)), {1}),
        (both(ct, EVERYTHING), {1, 2, 4}),
        (both(EVERYTHING, ct), {1, 2, 4}),
        (both(ct, ct), {1, 2, 4}),
        (both(EVERYTHING, EVERYTHING), {1, 2, 3, 4}),
        (both(NOTHING, EVERYTHING), set()),
        (both(EVERYTHING, NOTHING), set()),
        (both(ct, NOTHING), set()),
    ):
        page = await ask(archive, Level.STUDY, scope, "StudyInstanceUID")
        assert {int(row[0].rsplit(".", 1)[1]) for row in page.rows} == seen, scope


async def test_an_empty_rule_shows_nothing_and_hides_nothing(archive: str) -> None:
    assert await studies(archive, ScopeRule()) == set()
    assert await studies(archive, ScopeRule(), ScopeRule(sources=("XA",))) == {4}


@pytest.mark.parametrize("level", list(Level))
async def test_no_rule_shows_nothing_and_everything_shows_all_at_every_level(
    archive: str, level: Level
) -> None:
    key = {Level.PATIENT: "PatientID", Level.STUDY: "StudyInstanceUID", Level.SERIES: "SeriesInstanceUID"}
    returns = key.get(level, "SOPInstanceUID")
    assert (await ask(archive, level, NOTHING, returns)).rows == []
    everything = {Level.PATIENT: 3, Level.STUDY: 4, Level.SERIES: 5, Level.IMAGE: 6}
    assert len((await ask(archive, level, EVERYTHING, returns)).rows) == everything[level]


@pytest.mark.parametrize(
    ("level", "returns", "seen"),
    [
        (Level.PATIENT, "PatientID", {"P1", "P2"}),
        (Level.SERIES, "SeriesInstanceUID", {"1.2.3.1.1", "1.2.3.1.2", "1.2.3.3.1"}),
        (Level.IMAGE, "SOPInstanceUID", {"1.2.3.1.1.1", "1.2.3.1.2.2", "1.2.3.3.1.1"}),
    ],
)
async def test_a_study_that_may_be_seen_is_seen_whole_at_every_level(
    archive: str, level: Level, returns: str, seen: set[str]
) -> None:
    scope = StudyScope(rules=(ScopeRule(modalities=("MR",)),))
    assert {row[0] for row in (await ask(archive, level, scope, returns)).rows} == seen


async def test_a_key_does_not_reach_beyond_the_scope(archive: str) -> None:
    scope = StudyScope(rules=(ScopeRule(sources=("MR1",)),))
    page = await ask(archive, Level.STUDY, scope, "StudyInstanceUID", PatientID="P1")
    assert [row[0] for row in page.rows] == ["1.2.3.1"]
    assert (await ask(archive, Level.STUDY, scope, "StudyInstanceUID", StudyInstanceUID="1.2.3.4")).rows == []


async def test_the_counts_of_a_patient_are_of_what_may_be_seen(archive: str) -> None:
    counts = (
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    )
    seen = StudyScope(rules=(ScopeRule(studies=("1.2.3.2",)),))
    for level in (Level.PATIENT, Level.STUDY):
        page = await ask(archive, level, seen, *counts, PatientID="P1")
        assert page.rows == [("1", "1", "2")]
    all_of_them = await ask(archive, Level.PATIENT, EVERYTHING, *counts, PatientID="P1")
    assert all_of_them.rows == [("2", "3", "4")]


async def test_a_count_as_a_key_counts_what_may_be_seen(archive: str) -> None:
    keys: dict[str, Any] = {"PatientID": "P1", "NumberOfPatientRelatedStudies": "1"}
    seen = StudyScope(rules=(ScopeRule(studies=("1.2.3.2",)),))
    assert len((await ask(archive, Level.PATIENT, seen, "PatientID", **keys)).rows) == 1
    assert (await ask(archive, Level.PATIENT, EVERYTHING, "PatientID", **keys)).rows == []


async def test_retrieval_locates_only_what_may_be_seen(archive: str) -> None:
    scope = StudyScope(rules=(ScopeRule(modalities=("MR",)),))

    async def located(level: str, **keys: str) -> set[str]:
        identifier = Identifier(level, {TAG[name]: value for name, value in keys.items()}, {}, "", ())
        async with Database(archive, DatabaseSettings(connections=1)) as database:
            found = await Catalogue(database).locate(
                identifier, root=Root.PATIENT, relational=True, scope=scope
            )
            return {each.sop_instance_uid for each in found}

    assert await located("PATIENT", PatientID="P1") == {"1.2.3.1.1.1", "1.2.3.1.2.2"}
    assert await located("STUDY", StudyInstanceUID="1.2.3.1\\1.2.3.2\\1.2.3.3") == {
        "1.2.3.1.1.1", "1.2.3.1.2.2", "1.2.3.3.1.1",
    }  # fmt: skip
    assert await located("STUDY", StudyInstanceUID="1.2.3.4") == set()
    assert await located("SERIES", SeriesInstanceUID="1.2.3.2.1") == set()
    assert await located("IMAGE", SOPInstanceUID="1.2.3.4.1.1") == set()
    assert await located("IMAGE", SOPInstanceUID="1.2.3.3.1.1") == {"1.2.3.3.1.1"}
