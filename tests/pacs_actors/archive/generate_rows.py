"""Fills a migrated database with made-up rows, in SQL: for measuring plans and sizes at scale.

python -m tests.pacs_actors.archive.generate_rows DSN STUDIES [SERIES_PER_STUDY [INSTANCES_PER_SERIES]]
"""

from __future__ import annotations

import asyncio
import sys
import time

import asyncpg

_FAMILIES = "{smith,muller,garcia,nguyen,kim,rossi,ivanov,silva,dubois,kowalski,larsen,haddad,okafor,suzuki,cohen,jansen}"
_GIVEN = "{anna,john,maria,peter,li,fatima,carlos,elena,omar,ines,yuki,noah,chloe,ivan,lars,amara,sara,hugo,mei,david}"

_STATEMENTS = (
    # Every patient has four studies on average.
    """INSERT INTO patients (patient_id, patient_name, patient_name_alphabetic, patient_birth_date,
    patient_sex) SELECT 'PAT' || lpad(n::text, 8, '0'), upper(name), name,
        to_char(date '1930-01-01' + (n * 37 % 30000)::integer, 'YYYYMMDD'), CASE n % 2 WHEN 0 THEN 'F' ELSE
        'M' END
    FROM (SELECT n, ($2::text[])[1 + n * 7 % 16] || (n % 997)::text || '^' || ($3::text[])[1 + n * 13 % 20] AS
    name
          FROM generate_series(1, greatest(1, $1 / 4)) n) made""",
    """INSERT INTO studies (patient, study_instance_uid, study_date, study_time, accession_number,
    study_description,
        referring_physician_name, referring_physician_name_alphabetic, modalities_in_study,
        sop_classes_in_study, number_of_series, number_of_instances, study_id)
    SELECT 1 + n % greatest(1, $1 / 4), '1.2.826.0.1.3680043.10.543.' || n, to_char(date '2015-01-01' + n %
    3650,
        'YYYYMMDD'), lpad((n * 17 % 24)::text, 2, '0') || lpad((n * 31 % 60)::text, 2, '0') || '00',
        'ACC' || lpad(n::text, 9, '0'), (ARRAY['Head', 'Thorax', 'Abdomen', 'Knee', 'Spine'])[1 + n % 5] || '
        ' || n % 211, 'REF^DOC' || n % 500, 'ref^doc' || n % 500, ARRAY[(ARRAY['CT', 'MR', 'CR', 'US'])[1 + n
        % 4]], ARRAY['1.2.840.10008.5.1.4.1.1.2'], $2::integer, $2::integer * $3::integer, n::text
    FROM generate_series(1, $1) n""",
    """INSERT INTO series (study, series_instance_uid, modality, series_number, series_description,
    number_of_instances) SELECT s.id, s.study_instance_uid || '.' || k, s.modalities_in_study[1], k::text,
    'Series ' || k, $2::integer FROM studies s, generate_series(1, $1) k""",
    """INSERT INTO instances (series, sop_instance_uid, sop_class_uid, transfer_syntax_uid, instance_number,
    image_type,
        rows, columns, bits_allocated, object_key, slot, batch, size_bytes, data_offset, digest, received_at,
        source)
    SELECT e.id, e.series_instance_uid || '.' || k, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1',
    k::text,
        'ORIGINAL\\PRIMARY\\AXIAL', '512', '512', '16', '0/' || lpad(to_hex(e.id / 80), 8, '0') || '/'
        || md5(e.series_instance_uid || k) || '.dcm', 0, e.id / 80, 526000, 400, decode(md5(k::text || e.id),
        'hex'), now(), 'MODALITY'
    FROM series e, generate_series(1, $1) k""",
    """INSERT INTO archive_totals SELECT 0, (SELECT count(*) FROM patients), (SELECT count(*) FROM studies),
        (SELECT count(*) FROM series), (SELECT count(*) FROM instances), (SELECT count(*) FROM instances) *
        526000""",
)


async def generate(
    connection: asyncpg.Connection, studies: int, series: int = 2, instances: int = 25
) -> None:
    """Make ``studies`` with ``series`` each with ``instances`` each, in an empty database."""
    patients_sql, studies_sql, series_sql, instances_sql, totals_sql = _STATEMENTS
    await connection.execute(patients_sql, studies, _FAMILIES[1:-1].split(","), _GIVEN[1:-1].split(","))
    await connection.execute(studies_sql, studies, series, instances)
    if series:
        await connection.execute(series_sql, series, instances)
    if instances:
        await connection.execute(instances_sql, instances)
    await connection.execute(totals_sql)
    await connection.execute("VACUUM ANALYZE")


async def main(dsn: str, counts: list[int]) -> None:
    connection = await asyncpg.connect(dsn)
    began = time.monotonic()
    await generate(connection, *counts)
    rows = await connection.fetchval("SELECT instances FROM archive_totals")
    size = await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    print(f"{rows} instances, {size}, {time.monotonic() - began:.0f} s")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], [int(number) for number in sys.argv[2:]]))
