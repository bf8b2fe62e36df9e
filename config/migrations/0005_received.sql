-- What the web asks of studies and series besides DICOM attributes: when they began to arrive, from whom, how large they are.
-- ``revision`` counts the changes of a series' set of instances: what was made of it before is stale.

ALTER TABLE series
    ADD COLUMN source text COLLATE "C" NOT NULL DEFAULT '',    -- AE title or user that sent its first instance
    ADD COLUMN received_at timestamptz,                        -- of the first instance
    ADD COLUMN size_bytes bigint NOT NULL DEFAULT 0,
    ADD COLUMN revision bigint NOT NULL DEFAULT 0;
ALTER TABLE studies
    ADD COLUMN received_at timestamptz,
    ADD COLUMN size_bytes bigint NOT NULL DEFAULT 0;

UPDATE series e SET source = d.source, received_at = d.received_at, size_bytes = d.size_bytes, revision = 1
FROM (
    SELECT series, (array_agg(source ORDER BY id))[1] AS source, min(received_at) AS received_at, sum(size_bytes) AS size_bytes
    FROM instances GROUP BY series) d
WHERE e.id = d.series;
UPDATE studies s SET received_at = d.received_at, size_bytes = d.size_bytes
FROM (SELECT study, min(received_at) AS received_at, sum(size_bytes) AS size_bytes FROM series GROUP BY study) d
WHERE s.id = d.study;

CREATE INDEX studies_received_at ON studies (received_at, id);
-- Studies that somebody may see by where they come from.
CREATE INDEX series_institution ON series (institution_name, study) WHERE institution_name <> '';
CREATE INDEX series_source ON series (source, study) WHERE source <> '';
