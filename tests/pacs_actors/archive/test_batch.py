from __future__ import annotations

import asyncio

import asyncpg
import pytest

from pacs_actors.archive import key_values as values
from pacs_actors.archive.batch import arguments, cleaned, folder, group
from pacs_actors.archive.columns import LIMIT_NAME, LIMIT_TEXT
from pacs_actors.archive.index_function import CALL_INDEX_FUNCTION
from tests.pacs_actors.archive.entries import entry


def test_entries_are_gathered_by_series_and_patient() -> None:
    batch = group([entry(1), entry(2), entry(1, series=2), entry(3), entry(4, patient="P2")])
    assert batch.group_of == [1, 1, 2, 1, 3]
    assert list(batch.series.values()) == [0, 2, 4]


def test_a_call_has_as_many_arguments_as_the_function_parameters() -> None:
    sent = arguments(group([entry(1), entry(2)]), {}, (0, 1), with_groups=True)
    assert f"${len(sent) + 1})" in CALL_INDEX_FUNCTION, "the epoch of deletions comes last"


def test_series_of_a_study_complete_each_other_and_strangers_do_not() -> None:
    """A report ahead of its images, in one batch: the study's row is made from the first group."""
    report = entry(1, series=1, t00081030="", t00100040="")
    image = entry(1, series=2, t00081030="Thorax", t00100040="F", t0008103E="axial")
    other_study = entry(1, study=2, series=3, t00081030="", t00100040="")
    stranger = entry(1, study=3, series=4, patient="P2", t00081030="", t00100040="")
    said = list(group([report, image, other_study, stranger]).values.values())
    assert [values.get(0x00081030) for values in said] == ["Thorax", "Thorax", None, None]
    assert [values.get(0x00100040) for values in said] == ["F", "F", "F", None]
    assert [values.get(0x0008103E) for values in said] == [None, "axial", None, None]


def test_columns_of_one_value_are_sent_once() -> None:
    batch = group([entry(n) for n in range(10)])
    lengths = {len(column) for column in arguments(batch, {}, None, with_groups=False)[6:-2]}  # type: ignore[arg-type]
    assert lengths == {1, 10}


def test_identities_are_cut_alike_wherever_they_are_sent() -> None:
    (key,) = group([entry(1, patient="x" * 1000, t00100021="y" * 1000)]).series
    assert (len(key[2]), len(key[3])) == (LIMIT_TEXT, LIMIT_TEXT)
    # the widest index entries: two such texts, one folded name; PostgreSQL takes 2704 bytes
    assert max(2 * 4 * LIMIT_TEXT + 64, 4 * LIMIT_NAME) < 2704


def test_cleaning_takes_only_what_cannot_be_stored() -> None:
    found = cleaned(entry(1, t00100010="a\0b\ud800c", t00081030="Größe 王")).scanned.values
    assert found[0x00100010] == "a\ufffdb\ufffdc"
    assert found[0x00081030] == "Größe 王"


@pytest.mark.parametrize(("key", "found"), [("0/00000001/ab.dcm", (0, 1)), ("12/000000ff/ab.dcm", (12, 255))])
def test_folders_are_read_from_keys(key: str, found: tuple[int, int]) -> None:
    assert folder(key) == found


DATES = ["20240229", "2024.02.01", "20241301", "20240132", "2024", "", "2024022x", "2024.0201", " 20240201"]
TIMES = [
    "10",
    "1030",
    "103015",
    "103015.1",
    "103015.123456",
    "10:30:15.5",
    "24",
    "1060",
    "103061",
    "103060",
    "103015.1234567",
]
MOMENTS = [
    "2024",
    "202402",
    "20240229",
    "2024022910",
    "202402291030",
    "20240229103015.5",
    "20240229103015.5+0100",
    "20241301",
    "2024.5",
]
NUMBERS = [
    "1",
    "01",
    "+1",
    "-1.5",
    "1e3",
    ".5",
    "1.",
    "1e99",
    "1e100",
    "x",
    "",
    " 7 ",
    "1_000",
    "9" * 64,
    "9" * 65,
]


def test_sql_and_python_parse_alike(dsn: str) -> None:
    async def check() -> None:
        connection = await asyncpg.connect(dsn)
        for function, parse, texts in (
            ("dicom_date", values.date, DATES),
            ("dicom_time", values.time, TIMES),
            ("dicom_datetime", values.date_time, MOMENTS),
            ("dicom_number", values.number, NUMBERS),
        ):
            for text in texts:
                found = await connection.fetchval(f"SELECT {function}($1)", text)
                assert found == parse(text), (function, text)
        await connection.close()

    asyncio.run(check())
