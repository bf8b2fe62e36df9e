-- What was deleted, and may be brought back until undo_until. Its rows are gone from the index at once; its objects are moved
-- aside afterwards, and erased when their time has come.

CREATE TABLE deletions (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deleted_at              timestamptz NOT NULL DEFAULT now(),
    deleted_by              text NOT NULL,
    level                   text NOT NULL CHECK (level IN ('study', 'series', 'instance')),
    study_instance_uid      text COLLATE "C" NOT NULL,
    series_instance_uid     text COLLATE "C" NOT NULL DEFAULT '',
    sop_instance_uid        text COLLATE "C" NOT NULL DEFAULT '',
    patient_id              text NOT NULL DEFAULT '',
    patient_name            text NOT NULL DEFAULT '',
    study_date              text NOT NULL DEFAULT '',
    study_description       text NOT NULL DEFAULT '',
    instances               integer NOT NULL,
    size_bytes              bigint NOT NULL,
    undo_until              timestamptz NOT NULL,
    state                   text NOT NULL DEFAULT 'deleted'
                            CHECK (state IN ('deleted', 'undoing', 'undone', 'erasing', 'erased')),
    aside                   boolean NOT NULL DEFAULT false,    -- every object has been moved
    leased_until            timestamptz NOT NULL DEFAULT '-infinity',  -- a worker is at it
    settled_at              timestamptz
);
CREATE INDEX deletions_open ON deletions (id) WHERE state IN ('deleted', 'undoing', 'erasing');

-- Their objects, until they are back in the index or erased. Recovery passes them over.
CREATE TABLE deleted_instances (
    deletion                bigint NOT NULL REFERENCES deletions (id) ON DELETE CASCADE,
    object_key              text COLLATE "C" NOT NULL,
    slot                    integer NOT NULL,
    batch                   bigint NOT NULL,
    sop_instance_uid        text COLLATE "C" NOT NULL,
    series_instance_uid     text COLLATE "C" NOT NULL,
    sop_class_uid           text COLLATE "C" NOT NULL,
    size_bytes              bigint NOT NULL,
    digest                  bytea NOT NULL,
    PRIMARY KEY (deletion, object_key)
);
CREATE INDEX deleted_instances_folder ON deleted_instances (slot, batch);

-- Counts deletions. What an indexer remembers of rows that it has filled in holds for one number only.
CREATE TABLE deletion_epoch (
    one                     boolean PRIMARY KEY DEFAULT true CHECK (one),
    number                  bigint NOT NULL
);
INSERT INTO deletion_epoch (number) VALUES (0);
