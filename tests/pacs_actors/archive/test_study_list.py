"""The list of studies: filters, sorting by every column, pages, totals, scope."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.scope import NOTHING, ScopeRule, StudyScope
from pacs_actors.archive.study_list import SORTS, StudyFilter, StudyList
from tests.pacs_actors.archive.entries import entry


@pytest.fixture
async def studies(catalogue: Catalogue) -> StudyList:
    people = [
        ("Müller^Anna=缪勒^安娜", "CT", "20240101", "HEAD 100%"),
        ("Doe^John", "MR", "20240215", "Knee"),
        ("Smith^John", "CT", "20240215", "Abdomen_x"),
        ("Иванов^Пётр", "US", "", ""),
    ]
    for number, (name, modality, day, what) in enumerate(people, 1):
        await catalogue.index_batch(
            [
                entry(n, study=number, patient=f"P,{number}", t00100010=name, t00080060=modality, t00080020=day,
                      t00081030=what, t00080050=f"ACC{number}", t00080080=f"Clinic {number % 2}")
                for n in range(number)
            ]
        )  # fmt: skip
    return StudyList(catalogue.database)


async def found(studies: StudyList, **asked: object) -> list[str]:
    page = await studies.page(StudyFilter(**asked))  # type: ignore[arg-type]
    assert page.total == len(page.rows) and page.total_exact
    return sorted(row.study_instance_uid[-1] for row in page.rows)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "1234"),
        ({"patient_name": "muller"}, "1"), ({"patient_name": "缪勒"}, "1"), ({"patient_name": "JOHN"}, "23"),
        ({"patient_name": "d*john"}, "2"), ({"patient_name": "петр"}, "4"), ({"patient_id": "p,3"}, "3"),
        ({"study_description": "100%"}, "1"), ({"study_description": "_x"}, "3"), ({"study_description": "%"}, "1"),
        ({"accession_number": "acc"}, "1234"), ({"modalities": ("CT", "US")}, "134"),
        ({"study_date": "20240101"}, "1"), ({"study_date": "20240102-"}, "23"), ({"institution": "clinic 0"}, "24"),
        ({"anything": "john"}, "23"), ({"anything": "knee"}, "2"), ({"anything": "acc4"}, "4"),
        ({"anything": "1.2.3.3"}, "3"), ({"anything": "'; DROP TABLE studies; --"}, ""),
        ({"study_instance_uid": "1.2.3.2"}, "2"), ({"received": (None, datetime(1990, 1, 1, tzinfo=UTC))}, ""),
        ({"availabilities": ("ONLINE", "OFFLINE")}, "1234"), ({"availabilities": ("NEARLINE",)}, ""),
        ({"scope": NOTHING}, ""), ({"scope": StudyScope(rules=(ScopeRule(modalities=("CT",)),))}, "13"),
    ],
)  # fmt: skip
async def test_filters(studies: StudyList, asked: dict[str, object], expected: str) -> None:
    assert "".join(await found(studies, **asked)) == expected


async def test_a_row_says_what_the_index_knows(studies: StudyList) -> None:
    row = await studies.study("1.2.3.3", StudyScope(everything=True))
    assert row is not None
    assert (row.patient_name, row.patient_id, row.modalities, row.institution_name) == (
        "Smith^John", "P,3", ["CT"], "Clinic 1",
    )  # fmt: skip
    assert row.number_of_instances == 3 and row.number_of_series == 1
    assert row.size_bytes == 3 * entry(1).stored.size_bytes and row.received_at is not None
    assert row.source == entry(1).stored.source
    assert row.availability == "ONLINE"
    assert await studies.study("1.2.3.3", NOTHING) is None


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SORTS)
async def test_pages_by_any_column_give_every_study_once(
    studies: StudyList, sort: str, descending: bool
) -> None:
    asked = StudyFilter(sort=sort, descending=descending, limit=4)
    whole = [row.study_instance_uid for row in (await studies.page(asked)).rows]
    assert len(whole) == 4
    one_by_one, after = [], None
    while True:
        page = await studies.page(StudyFilter(sort=sort, descending=descending, limit=1, after=after))
        assert page.total == 4
        one_by_one += [row.study_instance_uid for row in page.rows]
        after = page.after
        if after is None:
            break
    assert one_by_one == whole


async def test_an_inverted_range_and_a_day_that_is_none_find_nothing(studies: StudyList) -> None:
    assert await found(studies, study_date="20250101-20240101") == []
    assert await found(studies, study_date="yesterday") == []
