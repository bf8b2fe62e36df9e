"""C-FIND matching against PostgreSQL: one small archive, and what each kind of key finds in it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import DatabaseSettings
from pacs_actors.archive import key_values as values
from pacs_actors.archive.catalogue import Catalogue, FindPage
from pacs_actors.archive.criteria import MAX_NAMES
from pacs_actors.archive.matching import MAX_ITEM_KEYS, FindQuery, Root, find_query, plan
from pacs_actors.database import Database
from protocols.dataset.attributes import BY_TAG, INDEXED, Level
from protocols.dataset.identifier import Identifier
from protocols.errors import BadIdentifier
from tests.pacs_actors.archive.entries import CT, MR, entry
from tests.pacs_actors.archive.test_key_values import dicom_wildcard
from tests.postgres_fixture import Server

TAG = {each.keyword: each.tag for each in INDEXED}
STUDY_UID, SERIES_UID = TAG["StudyInstanceUID"], TAG["SeriesInstanceUID"]

REQUESTS = (
    '[{"00400007":{"vr":"LO","Value":["Knee"]},"00401001":{"vr":"SH","Value":["RP1"]}},'
    '{"00400007":{"vr":"LO","Value":["Hip"]},"00401001":{"vr":"SH","Value":["RP2"]}}]'
)

ARCHIVE = [
    entry(1, study=1, patient="P1", t00100010="Doe^John", t00080020="20240101", t00080030="0930",
          t00080050="A%1", t00081030="Head 100%", t00200011="1", t00080090="Müller^Änne", t00400275=REQUESTS),
    entry(2, study=1, series=2, patient="P1", t00100010="Doe^John", sop_class=MR, t00200011="02",
          t00080008="DERIVED\\SECONDARY"),
    entry(1, study=2, patient="P2", t00100010="Wang^XiaoDong=王^小東", t00080020="20240102",
          t00080030="103015.5", t00080050="A_1", t00081030="head"),
    entry(1, study=3, patient="P3", t00100010="MÜLLER^Jörg", t00080020="2024.01.03", t00080030="10:30:59",
          t00080050="A\\1", t00081030="Thorax", t00080008="ORIGINAL\\PRIMARY"),
    entry(1, study=4, patient="V,K;1", t00100010="Yamada^Tarou=山田^太郎=やまだ^たろう", t00080020="garbage",
          t00080030="1099", t00080050="A21", t00081030="O'Brien; DROP TABLE"),
    entry(1, study=5, patient="p1", t00100010="Smyth^Johnathan", t00080020="", t00080030="", t00080050="",
          t00081030=""),
]  # fmt: skip


@pytest.fixture(scope="module")
def archive(postgres: Server, migrated: str) -> str:
    dsn = postgres.create_database(template=migrated)

    async def fill() -> None:
        async with Database(dsn, DatabaseSettings(connections=2)) as database:
            await Catalogue(database).index_batch(ARCHIVE)

    trio.run(fill)
    return dsn


async def ask(dsn: str, query: FindQuery, custom: dict[int, str] | None = None) -> FindPage:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        return await Catalogue(database, custom).find_page(query)


async def studies(dsn: str, **keys: str) -> set[int]:
    """The studies that the keys find, by their number; options without a keyword's capital go to the
    query.
    """
    options: dict[str, Any] = {name: value for name, value in keys.items() if name[0].islower()}
    asked = {TAG[name]: value for name, value in keys.items() if name[0].isupper()}
    page = await ask(dsn, FindQuery(Root.STUDY, Level.STUDY, asked, (STUDY_UID,), **options))
    return {int(row[0].rsplit(".", 1)[1]) for row in page.rows}


ALL = {1, 2, 3, 4, 5}
HEAD_PERCENT = "Head 100%"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        # single value, case-sensitive except for names; every character literal
        ({"PatientID": "P1"}, {1}),
        ({"PatientID": "p1"}, {5}),
        ({"PatientID": "P1 "}, {1}),
        ({"PatientID": "V,K;1"}, {4}),
        ({"AccessionNumber": "A%1"}, {1}),
        ({"AccessionNumber": "A_1"}, {2}),
        ({"StudyDescription": "O'Brien; DROP TABLE"}, {4}),
        ({"StudyDescription": "Head"}, set()),
        # universal: empty, or asterisks alone
        ({"PatientID": "", "AccessionNumber": "*", "StudyDate": "*", "PatientName": "**"}, ALL),
        # wildcards: percent and underscore stay themselves
        ({"AccessionNumber": "A*1"}, {1, 2, 3, 4}),
        ({"AccessionNumber": "A%*"}, {1}),
        ({"AccessionNumber": "*_1"}, {2}),
        ({"AccessionNumber": "A?1"}, {1, 2, 3, 4}),
        ({"AccessionNumber": "A*"}, {1, 2, 3, 4}),
        ({"StudyDescription": "*ea*"}, {1, 2}),
        ({"StudyDescription": "*100%"}, {1}),
        ({"StudyDescription": "*Head*"}, {1}),
        # wildcards are none in a UID or date
        ({"StudyInstanceUID": "1.2.3.*"}, set()),
        ({"StudyDate": "2024*"}, set()),
        # lists
        ({"StudyInstanceUID": "1.2.3.1\\1.2.3.3\\9"}, {1, 3}),
        ({"StudyInstanceUID": "1.2.3.4"}, {4}),
        ({"PatientID": "P1\\P2"}, {1, 2}),
        ({"AccessionNumber": "A%*\\A2?"}, {1, 4}),
        # names: any group, or each group; case and accents fold
        ({"PatientName": "doe^JOHN"}, {1}),
        ({"PatientName": "Doe"}, set()),
        ({"PatientName": "Doe*"}, {1}),
        ({"PatientName": "*John*"}, {1, 5}),
        ({"PatientName": "muller*"}, {3}),
        ({"PatientName": "Müller^jorg"}, {3}),
        ({"PatientName": "王*"}, {2}),
        ({"PatientName": "=王*"}, {2}),
        ({"PatientName": "=王^小東"}, {2}),
        ({"PatientName": "Wang*=王*"}, {2}),
        ({"PatientName": "Wang^XiaoDong=王^小東"}, {2}),
        ({"PatientName": "Doe*=王*"}, set()),
        ({"PatientName": "==やまだ*"}, {4}),
        ({"PatientName": "*太*"}, {4}),
        ({"PatientName": "やまだ^たろう"}, {4}),
        ({"PatientName": "Doe^John\\Wang*"}, {1, 2}),
        ({"PatientName": "D?e^J*"}, {1}),
        ({"PatientName": "*="}, ALL),
        ({"ReferringPhysicianName": "muller^anne"}, {1}),
        # ranges: inclusive, open, malformed values never in one
        ({"StudyDate": "20240101"}, {1}),
        ({"StudyDate": "20240103"}, {3}),
        ({"StudyDate": "20240101-20240102"}, {1, 2}),
        ({"StudyDate": "20240102-"}, {2, 3}),
        ({"StudyDate": "-20240102"}, {1, 2}),
        ({"StudyDate": "-99991231"}, {1, 2, 3}),
        ({"StudyDate": "20240102-20240101"}, set()),
        ({"StudyDate": "garbage"}, {4}),
        ({"StudyTime": "093000"}, {1}),
        ({"StudyTime": "1000-1030"}, {2, 3}),
        ({"StudyTime": "103000-103015.5"}, {2}),
        ({"StudyTime": "-1000"}, {1}),
        ({"StudyTime": "1000-"}, {2, 3}),
        ({"StudyTime": "2300-0100"}, set()),
        # dates and times apart, and together when negotiated
        ({"StudyDate": "20240101-20240103", "StudyTime": "1000-1030"}, {2, 3}),
        ({"StudyDate": "20240101-20240102", "StudyTime": "1000-1030", "combined_datetime": True}, {2}),
        ({"StudyDate": "20240101-20240103", "StudyTime": "0900-1000", "combined_datetime": True}, {1, 2}),
        ({"StudyDate": "20240101-", "StudyTime": "1000-", "combined_datetime": True}, {2, 3}),
        ({"StudyDate": "20240102", "StudyTime": "10-11", "combined_datetime": True}, {2}),
        # arrays and counts
        ({"ModalitiesInStudy": "MR"}, {1}),
        ({"ModalitiesInStudy": "CT"}, ALL),
        ({"ModalitiesInStudy": "MR\\US"}, {1}),
        ({"ModalitiesInStudy": "M*"}, {1}),
        ({"SOPClassesInStudy": MR}, {1}),
        ({"SOPClassesInStudy": f"{MR}\\{CT}"}, ALL),
        ({"NumberOfStudyRelatedSeries": "2"}, {1}),
        ({"NumberOfStudyRelatedInstances": "01"}, {2, 3, 4, 5}),
        ({"NumberOfPatientRelatedInstances": "2"}, {1}),
        # fuzzy: words by their beginning, or alike
        ({"PatientName": "john", "fuzzy": True}, {1, 5}),
        ({"PatientName": "john doe", "fuzzy": True}, {1}),
        ({"PatientName": "smyth", "fuzzy": True}, {5}),
        ({"PatientName": "smith", "fuzzy": True}, {5}),
        ({"PatientName": "jon doe", "fuzzy": True}, {1}),
        ({"PatientName": "*John*", "fuzzy": True}, {1, 5}),
        ({"PatientName": "xyz", "fuzzy": True}, set()),
        ({"PatientName": "d'o%_\\e", "fuzzy": True}, set()),
        ({"PatientName": "=王", "fuzzy": True}, {2}),
        # several keys narrow
        ({"PatientName": "*John*", "ModalitiesInStudy": "MR"}, {1}),
    ],
)
async def test_what_a_key_finds(archive: str, keys: dict[str, Any], found: set[int]) -> None:
    assert await studies(archive, **keys) == found


async def test_series_and_instance_keys(archive: str) -> None:
    async def series(level: Level = Level.SERIES, **keys: str) -> set[str]:
        asked = {TAG[name]: value for name, value in keys.items()}
        unique = SERIES_UID if level is Level.SERIES else TAG["SOPInstanceUID"]
        page = await ask(archive, FindQuery(Root.STUDY, level, asked, (unique,), relational=True))
        return {row[0] for row in page.rows}

    assert await series(SeriesNumber="2", StudyInstanceUID="1.2.3.1") == {"1.2.3.1.2"}
    assert await series(SeriesNumber="01", StudyInstanceUID="1.2.3.1") == {"1.2.3.1.1"}
    assert await series(Modality="MR\\US") == {"1.2.3.1.2"}
    assert await series(PatientName="doe*", Modality="CT") == {"1.2.3.1.1"}
    assert await series(Level.IMAGE, ImageType="SECONDARY") == {"1.2.3.1.2.2"}
    assert await series(Level.IMAGE, ImageType="PRIM*") == {"1.2.3.3.1.1"}
    assert await series(Level.IMAGE, InstanceNumber="2", PatientID="P1") == {"1.2.3.1.2.2"}
    assert await series(Level.IMAGE, SOPInstanceUID="1.2.3.1.2.2\\1.2.3.2.1.1\\7") == {
        "1.2.3.1.2.2",
        "1.2.3.2.1.1",
    }


async def test_a_sequence_matches_within_one_item_and_returns_the_matching_items(archive: str) -> None:
    tag = TAG["RequestAttributesSequence"]

    async def items(keys: dict[int, str]) -> list[str]:
        query = FindQuery(
            Root.STUDY, Level.SERIES, {STUDY_UID: "1.2.3.1"}, (SERIES_UID, tag), {tag: keys}, relational=True
        )
        return [row[1] for row in (await ask(archive, query)).rows]

    (found,) = await items({0x00400007: "Knee", 0x00401001: ""})
    assert "Knee" in found
    assert "Hip" not in found
    assert await items({0x00400007: "Knee", 0x00401001: "RP2"}) == [], "each item by itself"
    assert len(await items({0x00400007: "H*"})) == 1
    assert await items({0x00400007: "knee"}) == []
    both = await items({})
    assert len(both) == 2, "an empty item matches every series"
    assert "Knee" in both[0]
    assert "Hip" in both[0]
    assert both[1] == ""


async def test_rows_have_text_in_the_order_asked_for(archive: str) -> None:
    names = (
        "NumberOfStudyRelatedInstances", "PatientName", "ModalitiesInStudy", "StudyDate", "SOPClassesInStudy",
        "NumberOfPatientRelatedStudies", "StudyDescription", "NumberOfStudyRelatedSeries",
    )  # fmt: skip
    tags = tuple(TAG[name] for name in names)
    page = await ask(archive, FindQuery(Root.STUDY, Level.STUDY, {STUDY_UID: "1.2.3.1"}, tags))
    assert page.returns == tags
    assert page.rows == [("2", "Doe^John", "CT\\MR", "20240101", f"{CT}\\{MR}", "1", "Head 100%", "2")]
    assert page.after is None
    assert page.unsupported == ()
    page = await ask(archive, FindQuery(Root.STUDY, Level.STUDY, {STUDY_UID: "1.2.3.5"}, (TAG["StudyDate"],)))
    assert page.rows == [("",)]


async def test_every_attribute_can_be_returned_at_its_level_and_below(archive: str) -> None:
    for level in Level:
        tags = tuple(BY_TAG)
        page = await ask(archive, FindQuery(Root.PATIENT, level, {}, tags, relational=True))
        assert len(page.rows) in {5, 6}
        assert set(page.returns) | set(page.unsupported) == set(tags)
        order = list(Level)
        assert set(page.returns) == {
            each.tag for each in INDEXED if order.index(each.level) <= order.index(level)
        }
        assert all(isinstance(value, str) for row in page.rows for value in row)


async def test_every_attribute_can_be_matched(archive: str) -> None:
    """With a value that nothing has: the statement must be one that PostgreSQL takes."""
    for attribute in INDEXED:
        if attribute.vr == "SQ":
            continue
        key = {"DA": "19000101-19000102", "TM": "010101-010102"}.get(attribute.vr, "77777")
        query = FindQuery(Root.PATIENT, Level.IMAGE, {attribute.tag: key}, (STUDY_UID,), relational=True)
        assert (await ask(archive, query)).rows == [], attribute.keyword


async def test_pages_follow_each_other_without_gap_or_repeat(archive: str) -> None:
    for level, unique in ((Level.STUDY, STUDY_UID), (Level.IMAGE, TAG["SOPInstanceUID"])):
        seen: list[str] = []
        after = None
        while True:
            query = FindQuery(Root.STUDY, level, {}, (unique,), relational=True, limit=2, after=after)
            page = await ask(archive, query)
            assert len(page.rows) <= 2
            seen += [row[0] for row in page.rows]
            after = page.after
            if after is None:
                break
        assert len(seen) == len(set(seen)) == {Level.STUDY: 5, Level.IMAGE: 6}[level]


async def test_what_is_not_supported_is_reported_and_neither_matched_nor_returned(archive: str) -> None:
    modality, private = TAG["Modality"], 0x00091001
    keys = {modality: "US", private: "x", 0x00080005: "ISO_IR 100", 0x00080201: "+0100", 0x00080054: "OTHER"}
    query = FindQuery(Root.STUDY, Level.STUDY, keys, (*keys, STUDY_UID, 0x00081140), {0x00081140: {}})
    page = await ask(archive, query)
    assert len(page.rows) == 5
    assert page.returns == (STUDY_UID,)
    assert set(page.unsupported) == {modality, private, 0x00081140}


def test_unique_keys_above_the_level_are_required_unless_relational() -> None:
    cases = [
        (Root.STUDY, Level.SERIES, {}),
        (Root.STUDY, Level.IMAGE, {STUDY_UID: "1.2"}),
        (Root.STUDY, Level.SERIES, {STUDY_UID: "1.2\\1.3"}),
        (Root.STUDY, Level.SERIES, {STUDY_UID: "*"}),
        (Root.PATIENT, Level.STUDY, {}),
        (Root.PATIENT, Level.STUDY, {TAG["PatientID"]: "P*"}),
        (Root.PATIENT, Level.SERIES, {STUDY_UID: "1.2"}),
    ]
    for root, level, keys in cases:
        with pytest.raises(BadIdentifier) as refused:
            plan(FindQuery(root, level, keys, ()))
        assert refused.value.dimse_status == 0xA900
        plan(FindQuery(root, level, keys, (), relational=True))
    plan(FindQuery(Root.PATIENT, Level.IMAGE, {TAG["PatientID"]: "P1", STUDY_UID: "1", SERIES_UID: "2"}, ()))


def test_levels_that_the_root_does_not_have_are_refused() -> None:
    for root, text in (
        (Root.STUDY, "PATIENT"),
        (Root.PATIENT_STUDY_ONLY, "SERIES"),
        (Root.STUDY, ""),
        (Root.STUDY, "X"),
    ):
        with pytest.raises(BadIdentifier):
            find_query(Identifier(text, {}, {}, "", ()), root)
    assert find_query(Identifier("STUDY ", {STUDY_UID: ""}, {}, "", (7,)), Root.STUDY).returns == (
        STUDY_UID,
        7,
    )


def test_malformed_ranges_are_refused() -> None:
    for name, key in (("StudyDate", "2024-20250101"), ("StudyTime", "99x-10"), ("StudyDate", "-")):
        with pytest.raises(BadIdentifier):
            plan(FindQuery(Root.STUDY, Level.STUDY, {TAG[name]: key}, ()))


@given(
    st.dictionaries(
        st.sampled_from([each.tag for each in INDEXED]), st.text(min_size=1, max_size=12), max_size=6
    ),
    st.booleans(),
)
def test_no_value_ever_becomes_part_of_the_statement(keys: dict[int, str], fuzzy: bool) -> None:
    marked = {
        tag: f"q7z{value}q7z" for tag, value in keys.items() if BY_TAG[tag].vr not in ("DA", "TM", "SQ")
    }
    found = plan(FindQuery(Root.PATIENT, Level.IMAGE, marked, (), relational=True, fuzzy=fuzzy))
    assert "q7z" not in found.sql
    assert found.sql.count("'") % 2 == 0


def test_equal_forms_make_equal_statements() -> None:
    """Else every query would be planned anew."""
    pairs: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"PatientID": "P1"}, {"PatientID": "another"}),
        ({"PatientName": "Doe*"}, {"PatientName": "Wang*"}),
        (
            {"StudyDate": "20240101-20240201", "ModalitiesInStudy": "CT\\MR"},
            {"StudyDate": "20250101-20250201", "ModalitiesInStudy": "US"},
        ),
        ({"StudyInstanceUID": "1.2\\1.3"}, {"StudyInstanceUID": "1.4\\1.5\\1.6"}),
    ]
    for one, other in pairs:
        texts = {
            plan(FindQuery(Root.STUDY, Level.STUDY, {TAG[k]: v for k, v in keys.items()}, (STUDY_UID,))).sql
            for keys in (one, other)
        }
        assert len(texts) == 1


@pytest.mark.parametrize("key", ["\0", "a\0b*", "\ud800", "Doe\udfff*", "\ud800\\b*"])
async def test_characters_that_text_cannot_hold_match_nothing(archive: str, key: str) -> None:
    assert await studies(archive, PatientName=key) == set()
    assert await studies(archive, AccessionNumber=key) == set()


def test_keys_and_words_are_limited() -> None:
    long = "x" * (values.MAX_VALUE_CHARACTERS + 1)
    for name in ("PatientName", "StudyDescription", "ModalitiesInStudy", "StudyInstanceUID"):
        with pytest.raises(BadIdentifier):
            plan(FindQuery(Root.STUDY, Level.STUDY, {TAG[name]: long}, ()))
    names = "\\".join(f"a{n}*" for n in range(MAX_NAMES + 1))
    item = {0x00400000 + n: "x" for n in range(1, MAX_ITEM_KEYS + 2)}
    with pytest.raises(BadIdentifier):
        plan(FindQuery(Root.STUDY, Level.STUDY, {TAG["PatientName"]: names}, ()))
    with pytest.raises(BadIdentifier):
        plan(
            FindQuery(
                Root.STUDY, Level.SERIES, {STUDY_UID: "1"}, (), {TAG["RequestAttributesSequence"]: item}
            )
        )
    words = " ".join(f"w{n}" for n in range(500))
    found = plan(FindQuery(Root.STUDY, Level.STUDY, {TAG["PatientName"]: words}, (), fuzzy=True))
    assert len(found.parameters) < 60


async def test_custom_attributes_are_matched_and_returned(dsn: str) -> None:
    custom = {0x00189999: "LO", 0x00101000: "LO", 0x00081048: "PN"}
    values_ = {"t00189999": "Blue\\Green", "t00101000": "X-1", "t00081048": "Doe^Jane"}
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        catalogue = Catalogue(database, custom)
        await catalogue.index_batch([entry(1, study=1, **values_), entry(1, study=2, patient="P2")])
        for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
            for tag, key in ((0x00189999, "Gr*"), (0x00101000, "X-1"), (0x00081048, "doe*")):
                query = FindQuery(Root.STUDY, level, {tag: key}, (STUDY_UID, tag), relational=True)
                page = await catalogue.find_page(query)
                assert page.rows == [("1.2.3.1", values_[f"t{tag:08X}"])]
                assert page.unsupported == ()
        page = await catalogue.find_page(FindQuery(Root.PATIENT, Level.PATIENT, {}, (0x00189999, 0x00101000)))
        assert page.unsupported == (0x00189999,)
        assert page.rows == [("X-1",), ("",)]


WORDS = st.text(alphabet="aB%_é*?^ ", min_size=1, max_size=6)


@pytest.mark.timeout(110)
@given(
    patterns=st.lists(WORDS, min_size=20, max_size=20),
    stored=st.lists(WORDS.map(lambda w: w.translate({42: "x", 63: "y"})), min_size=20, max_size=20),
)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_wildcards_find_what_their_definition_says(
    postgres: Server, migrated: str, patterns: list[str], stored: list[str]
) -> None:
    """Random descriptions against random patterns, in PostgreSQL and by the definition."""
    dsn = postgres.create_database(template=migrated)

    async def check() -> None:
        async with Database(dsn, DatabaseSettings(connections=2)) as database:
            catalogue = Catalogue(database)
            await catalogue.index_batch([entry(1, study=n, t00081030=text) for n, text in enumerate(stored)])
            for pattern in patterns:
                query = FindQuery(
                    Root.STUDY, Level.STUDY, {TAG["StudyDescription"]: pattern}, (TAG["StudyDescription"],)
                )
                rows = (await catalogue.find_page(query)).rows
                wanted = pattern.strip(" ")
                found = [
                    text for text in stored if values.is_universal(pattern) or dicom_wildcard(wanted, text)
                ]
                assert sorted(row[0] for row in rows) == sorted(found), pattern

    trio.run(check)
