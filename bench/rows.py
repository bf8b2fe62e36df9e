"""Fills the index with millions of instances without objects, for queries at sizes that take hours to store.

    python -m bench.rows --data FOLDER --instances 5000000
    python -m bench.run --port 11112 --aet PACS --suite find --studies 50000 --population NAME

FOLDER is a server's data folder, running or not; --url instead names a PostgreSQL of its own. The studies are
those of ``population``, so find checks its answers here too. Retrieving them fails: throw the database away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import trio

from bench.population import Run
from bench.templates import SHAPES
from config.settings import DatabaseSettings, ServerSettings, Settings
from pacs_actors.migrations import migrate
from protocols.dataset.names import fold
from protocols.errors import PacsError
from supervisors.database_access import on_connection

if TYPE_CHECKING:
    import asyncpg

_SLOT: Final = 1_000_000  # no worker has it, so that no recovery looks for these objects
_STUDIES_AT_ONCE: Final = 500
_COLUMNS: Final = (
    "number",
    "patient_id",
    "patient_name",
    "patient_name_alphabetic",
    "study_date",
    "accession_number",
    "study_instance_uid",
    "series_instance_uid",
)
_TEXTS: Final = ", ".join(f'{name} text COLLATE "C"' for name in _COLUMNS[1:])
_TEMPORARY: Final = f"CREATE TEMPORARY TABLE made (number integer, {_TEXTS})"
_PATIENTS: Final = """
    INSERT INTO patients (patient_id, patient_name, patient_name_alphabetic, patient_birth_date, patient_sex)
    SELECT patient_id, patient_name, patient_name_alphabetic, '19600314', 'O' FROM made
"""
_STUDIES: Final = """
    INSERT INTO studies (patient, study_instance_uid, study_date, study_time, accession_number,
        study_description, study_id, modalities_in_study, sop_classes_in_study,
        number_of_series, number_of_instances)
    SELECT p.id, m.study_instance_uid, m.study_date, '081500', m.accession_number,
        'CT THORAX', '1', ARRAY['CT'], ARRAY[$1::text], 1, $2
    FROM made m JOIN patients p USING (patient_id)
"""
_SERIES: Final = """
    INSERT INTO series (study, series_instance_uid, modality, series_number, series_description, series_date,
        series_time, body_part_examined, manufacturer, institution_name, number_of_instances)
    SELECT s.id, m.series_instance_uid, 'CT', '1', 'CT STANDARD', m.study_date,
        '081730', 'CHEST', 'GENERATED', 'GENERAL HOSPITAL', $1
    FROM made m JOIN studies s USING (study_instance_uid)
"""
_INSTANCES: Final = """
    INSERT INTO instances (series, sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number,
        acquisition_date, content_date, image_type, rows, columns, bits_allocated,
        object_key, slot, batch, size_bytes, data_offset, digest, received_at, source)
    SELECT e.id, u.uid, $1, '1.2.840.10008.1.2.1', i::text,
        m.study_date, m.study_date, 'ORIGINAL\\PRIMARY\\AXIAL', '512', '512', '16',
        'none/' || u.uid, $2, 1, 526052, 348, decode(md5(u.uid), 'hex'), now(), 'ROWS'
    FROM made m JOIN studies s USING (study_instance_uid) JOIN series e ON e.study = s.id,
        generate_series(1, $3::integer) i,
        LATERAL (SELECT $4 || '.3' || lpad(m.number::text, 9, '0') || lpad(i::text, 9, '0') AS uid) u
"""
_TOTALS: Final = """
    INSERT INTO archive_totals AS t (slot, patients, studies, series, instances, size_bytes)
    VALUES ($1, $2, $2, $2, $3, $3::bigint * 526052)
    ON CONFLICT (slot) DO UPDATE SET patients = t.patients + excluded.patients,
        studies = t.studies + excluded.studies, series = t.series + excluded.series,
        instances = t.instances + excluded.instances, size_bytes = t.size_bytes + excluded.size_bytes
"""


async def fill(
    run: Run,
    studies: int,
    per_study: int,
    say: Callable[[int], None],
    connection: asyncpg.Connection[Any],
) -> None:
    """Add studies of one series each, ``say`` how many instances there are after every few.

    Migrates an empty database first; each few studies are one transaction.
    raises: what asyncpg raises
    """
    await migrate(connection)
    await connection.execute(_TEMPORARY)
    class_uid = SHAPES["ct"].sop_class_uid
    rows = _rows(run, studies)
    done = 0
    while some := list(islice(rows, _STUDIES_AT_ONCE)):
        async with connection.transaction():
            await connection.execute("TRUNCATE made")
            await connection.copy_records_to_table("made", records=some, columns=_COLUMNS)
            await connection.execute(_PATIENTS)
            await connection.execute(_STUDIES, class_uid, per_study)
            await connection.execute(_SERIES, per_study)
            await connection.execute(_INSTANCES, class_uid, _SLOT, per_study, run.uid_root)
            await connection.execute(_TOTALS, _SLOT, len(some), len(some) * per_study)
        done += len(some)
        say(done * per_study)
    await connection.execute("DROP TABLE made")
    await connection.execute("VACUUM ANALYZE patients, studies, series, instances")


def _rows(run: Run, studies: int) -> Iterator[tuple[object, ...]]:
    for number in range(studies):
        study = run.study(number)
        yield (
            number,
            study.patient_id,
            study.patient_name,
            fold(study.patient_name),
            study.study_date,
            study.accession_number,
            study.study_uid,
            study.series_uid,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.rows", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--data", help="data folder of a server with an embedded database")
    place.add_argument("--url", help="PostgreSQL URL")
    parser.add_argument("--instances", type=int, default=5_000_000, help="how many (default %(default)s)")
    parser.add_argument("--per-study", type=int, default=100, help="of one study (default %(default)s)")
    options = parser.parse_args()
    settings = Settings(
        server=ServerSettings(data=options.data or "pacs-data"), database=DatabaseSettings(url=options.url)
    )
    run, studies = Run.new(), max(1, options.instances // options.per_study)

    def say(instances: int) -> None:
        print(f"\r{instances:,} instances", end="", flush=True)

    try:
        trio.run(on_connection, settings, partial(fill, run, studies, options.per_study, say))
    except PacsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{studies:,} studies; for bench.run: --suite find --studies {studies} --population {run.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
