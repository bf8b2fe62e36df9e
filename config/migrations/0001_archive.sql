-- The archive wing: patients, studies, series, instances, and what keeps them honest.
--
-- Text columns hold decoded values as they are in the data set ('' = absent), so that a malformed value never loses an
-- instance. COLLATE "C" makes comparison, ranges and prefixes exact, whatever the database's locale is.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- The parsed forms of DA, TM, DT and IS/DS: NULL when malformed, so that such a value never matches a range.

CREATE FUNCTION dicom_date(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~ '^[0-9]{4}\.?(0[1-9]|1[0-2])\.?(0[1-9]|[12][0-9]|3[01])$' THEN translate(value, '.', '') COLLATE "C" END
$$;

CREATE FUNCTION dicom_time(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~ '^([01][0-9]|2[0-3])(:?[0-5][0-9](:?([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?$' THEN
        (rpad(split_part(translate(value, ':', ''), '.', 1), 6, '0') || '.' || rpad(split_part(value, '.', 2), 6, '0'))
        COLLATE "C" END
$$;

-- Local time without its offset, as digits to the microsecond.
CREATE FUNCTION dicom_datetime(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~ '^[0-9]{4}((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])(([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?)?)?)?([+-][0-9]{4})?$' THEN
        (SELECT (whole || right('00000101000000', 14 - length(whole)) || '.' || rpad(split_part(bare, '.', 2), 6, '0'))
            COLLATE "C"
         FROM (SELECT regexp_replace(value, '[+-][0-9]{4}$', '') AS bare) b,
              LATERAL (SELECT split_part(bare, '.', 1) AS whole) w) END
$$;

CREATE FUNCTION dicom_number(value text) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~ '^ *[+-]?([0-9]{1,64}(\.[0-9]{0,64})?|\.[0-9]{1,64})([eE][+-]?[0-9]{1,2})? *$'
        THEN trim(value)::numeric END
$$;

CREATE TABLE patients (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id              text COLLATE "C" NOT NULL DEFAULT '',
    issuer_of_patient_id    text COLLATE "C" NOT NULL DEFAULT '',
    -- Without a Patient ID, each study is a patient of its own: strangers must not be taken for one person.
    only_study              text COLLATE "C" NOT NULL DEFAULT '',
    patient_name            text COLLATE "C" NOT NULL DEFAULT '',
    patient_name_alphabetic text COLLATE "C" NOT NULL DEFAULT '',
    patient_name_ideographic text COLLATE "C" NOT NULL DEFAULT '',
    patient_name_phonetic   text COLLATE "C" NOT NULL DEFAULT '',
    patient_birth_date      text COLLATE "C" NOT NULL DEFAULT '',
    patient_birth_time      text COLLATE "C" NOT NULL DEFAULT '',
    patient_sex             text COLLATE "C" NOT NULL DEFAULT '',
    ethnic_group            text COLLATE "C" NOT NULL DEFAULT '',
    patient_comments        text COLLATE "C" NOT NULL DEFAULT '',
    custom                  jsonb NOT NULL DEFAULT '{}',
    UNIQUE (patient_id, issuer_of_patient_id, only_study)
);
CREATE INDEX patients_name_alphabetic ON patients (patient_name_alphabetic);
CREATE INDEX patients_name_ideographic ON patients (patient_name_ideographic) WHERE patient_name_ideographic <> '';
CREATE INDEX patients_name_phonetic ON patients (patient_name_phonetic) WHERE patient_name_phonetic <> '';
CREATE INDEX patients_birth_date ON patients (dicom_date(patient_birth_date));
CREATE INDEX patients_words ON patients USING gin (
    patient_name_alphabetic gin_trgm_ops, patient_name_ideographic gin_trgm_ops, patient_name_phonetic gin_trgm_ops,
    patient_id gin_trgm_ops);

CREATE TABLE studies (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient                 bigint NOT NULL REFERENCES patients (id),
    study_instance_uid      text COLLATE "C" NOT NULL UNIQUE,
    study_date              text COLLATE "C" NOT NULL DEFAULT '',
    study_time              text COLLATE "C" NOT NULL DEFAULT '',
    accession_number        text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician_name text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician_name_alphabetic text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician_name_ideographic text COLLATE "C" NOT NULL DEFAULT '',
    referring_physician_name_phonetic text COLLATE "C" NOT NULL DEFAULT '',
    study_description       text COLLATE "C" NOT NULL DEFAULT '',
    name_of_physicians_reading_study text COLLATE "C" NOT NULL DEFAULT '',
    name_of_physicians_reading_study_alphabetic text COLLATE "C" NOT NULL DEFAULT '',
    name_of_physicians_reading_study_ideographic text COLLATE "C" NOT NULL DEFAULT '',
    name_of_physicians_reading_study_phonetic text COLLATE "C" NOT NULL DEFAULT '',
    admitting_diagnoses_description text COLLATE "C" NOT NULL DEFAULT '',
    patient_age             text COLLATE "C" NOT NULL DEFAULT '',
    patient_size            text COLLATE "C" NOT NULL DEFAULT '',
    patient_weight          text COLLATE "C" NOT NULL DEFAULT '',
    occupation              text COLLATE "C" NOT NULL DEFAULT '',
    additional_patient_history text COLLATE "C" NOT NULL DEFAULT '',
    study_id                text COLLATE "C" NOT NULL DEFAULT '',
    modalities_in_study     text[] NOT NULL DEFAULT '{}',
    sop_classes_in_study    text[] NOT NULL DEFAULT '{}',
    number_of_series        integer NOT NULL DEFAULT 0,
    number_of_instances     integer NOT NULL DEFAULT 0,
    custom                  jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 80);  -- room on the page, so that counting up touches no index
CREATE INDEX studies_patient ON studies (patient);
CREATE INDEX studies_date ON studies (dicom_date(study_date), dicom_time(study_time));
CREATE INDEX studies_accession_number ON studies (accession_number);
CREATE INDEX studies_referring_physician ON studies (referring_physician_name_alphabetic)
    WHERE referring_physician_name_alphabetic <> '';
-- A name without = is looked for in every group: one without an index would cost a walk through the table.
CREATE INDEX studies_referring_physician_ideographic ON studies (referring_physician_name_ideographic)
    WHERE referring_physician_name_ideographic <> '';
CREATE INDEX studies_referring_physician_phonetic ON studies (referring_physician_name_phonetic)
    WHERE referring_physician_name_phonetic <> '';
CREATE INDEX studies_words ON studies USING gin (
    accession_number gin_trgm_ops, study_description gin_trgm_ops, referring_physician_name_alphabetic gin_trgm_ops,
    referring_physician_name_ideographic gin_trgm_ops, referring_physician_name_phonetic gin_trgm_ops);

CREATE TABLE series (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study                   bigint NOT NULL REFERENCES studies (id),
    series_instance_uid     text COLLATE "C" NOT NULL,
    modality                text COLLATE "C" NOT NULL DEFAULT '',
    series_number           text COLLATE "C" NOT NULL DEFAULT '',
    series_description      text COLLATE "C" NOT NULL DEFAULT '',
    series_date             text COLLATE "C" NOT NULL DEFAULT '',
    series_time             text COLLATE "C" NOT NULL DEFAULT '',
    body_part_examined      text COLLATE "C" NOT NULL DEFAULT '',
    protocol_name           text COLLATE "C" NOT NULL DEFAULT '',
    laterality              text COLLATE "C" NOT NULL DEFAULT '',
    manufacturer            text COLLATE "C" NOT NULL DEFAULT '',
    institution_name        text COLLATE "C" NOT NULL DEFAULT '',
    station_name            text COLLATE "C" NOT NULL DEFAULT '',
    institutional_department_name text COLLATE "C" NOT NULL DEFAULT '',
    performing_physician_name text COLLATE "C" NOT NULL DEFAULT '',
    performing_physician_name_alphabetic text COLLATE "C" NOT NULL DEFAULT '',
    performing_physician_name_ideographic text COLLATE "C" NOT NULL DEFAULT '',
    performing_physician_name_phonetic text COLLATE "C" NOT NULL DEFAULT '',
    operators_name          text COLLATE "C" NOT NULL DEFAULT '',
    operators_name_alphabetic text COLLATE "C" NOT NULL DEFAULT '',
    operators_name_ideographic text COLLATE "C" NOT NULL DEFAULT '',
    operators_name_phonetic text COLLATE "C" NOT NULL DEFAULT '',
    manufacturer_model_name text COLLATE "C" NOT NULL DEFAULT '',
    performed_procedure_step_start_date text COLLATE "C" NOT NULL DEFAULT '',
    performed_procedure_step_start_time text COLLATE "C" NOT NULL DEFAULT '',
    request_attributes      jsonb,  -- items of the Request Attributes Sequence in the DICOM JSON model
    number_of_instances     integer NOT NULL DEFAULT 0,
    custom                  jsonb NOT NULL DEFAULT '{}',
    -- A series UID that a broken sender uses in two studies is two series.
    UNIQUE (series_instance_uid, study)
) WITH (fillfactor = 80);
CREATE INDEX series_study ON series (study);

CREATE TABLE instances (
    id                      bigint GENERATED ALWAYS AS IDENTITY,
    series                  bigint NOT NULL REFERENCES series (id),  -- 3 µs a row
    sop_instance_uid        text COLLATE "C" NOT NULL UNIQUE,
    sop_class_uid           text COLLATE "C" NOT NULL,
    transfer_syntax_uid     text COLLATE "C" NOT NULL,
    character_set           text COLLATE "C" NOT NULL DEFAULT '',
    instance_number         text COLLATE "C" NOT NULL DEFAULT '',
    acquisition_date        text COLLATE "C" NOT NULL DEFAULT '',
    acquisition_time        text COLLATE "C" NOT NULL DEFAULT '',
    content_date            text COLLATE "C" NOT NULL DEFAULT '',
    content_time            text COLLATE "C" NOT NULL DEFAULT '',
    image_type              text COLLATE "C" NOT NULL DEFAULT '',
    acquisition_number      text COLLATE "C" NOT NULL DEFAULT '',
    number_of_frames        text COLLATE "C" NOT NULL DEFAULT '',
    rows                    text COLLATE "C" NOT NULL DEFAULT '',
    columns                 text COLLATE "C" NOT NULL DEFAULT '',
    bits_allocated          text COLLATE "C" NOT NULL DEFAULT '',
    object_key              text COLLATE "C" NOT NULL,
    slot                    integer NOT NULL,
    batch                   bigint NOT NULL,
    size_bytes              bigint NOT NULL,
    data_offset             integer NOT NULL,
    digest                  bytea NOT NULL,
    received_at             timestamptz NOT NULL,
    source                  text NOT NULL,
    custom                  jsonb,
    PRIMARY KEY (series, id)
);
CREATE INDEX instances_folder ON instances (slot, batch);

-- A second object under a SOP Instance UID that is taken, with other content: kept aside, never shown.
CREATE TABLE quarantine (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sop_instance_uid        text COLLATE "C" NOT NULL,
    object_key              text COLLATE "C" NOT NULL UNIQUE,
    first_key               text COLLATE "C" NOT NULL,
    digest                  bytea NOT NULL,
    size_bytes              bigint NOT NULL,
    why                     text NOT NULL,
    source                  text NOT NULL,
    address                 text NOT NULL DEFAULT '',
    quarantined_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX quarantine_sop_instance_uid ON quarantine (sop_instance_uid);

-- Everything of a slot in batch folders below ``batch`` is indexed.
CREATE TABLE ingest_mark (
    slot                    integer PRIMARY KEY,
    batch                   bigint NOT NULL
);

-- What the batches of a slot have added: counting fifty million rows on every look at the status page would not do, and one
-- row for all slots would make every batch wait for every other.
CREATE TABLE archive_totals (
    slot                    integer PRIMARY KEY,
    patients                bigint NOT NULL,
    studies                 bigint NOT NULL,
    series                  bigint NOT NULL,
    instances               bigint NOT NULL,
    size_bytes              bigint NOT NULL
) WITH (fillfactor = 20);
