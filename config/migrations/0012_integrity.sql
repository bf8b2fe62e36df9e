-- The integrity of what is stored: who has looked at all of it, how far they are, and what they found.

-- A walk through the archive. One of each kind is open at a time; whoever holds its lease is at it, and what is written here lets
-- anybody go on where a process died.
CREATE TABLE integrity_runs (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                    text NOT NULL CHECK (kind IN ('scrub', 'reconcile')),
    fix                     boolean NOT NULL DEFAULT false,
    asked_by                text NOT NULL DEFAULT '',         -- '': its time had come
    began_at                timestamptz NOT NULL DEFAULT now(),
    ended_at                timestamptz,
    slot                    integer NOT NULL DEFAULT -1,      -- how far it is: everything up to this key of this slot is done
    after_key               text COLLATE "C" NOT NULL DEFAULT '',
    objects                 bigint NOT NULL DEFAULT 0,
    size_bytes              bigint NOT NULL DEFAULT 0,
    found                   bigint NOT NULL DEFAULT 0,
    fixed                   bigint NOT NULL DEFAULT 0,
    problem                 text NOT NULL DEFAULT '',         -- why it ended before its time
    lease                   text NOT NULL DEFAULT '',
    leased_until            timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE UNIQUE INDEX integrity_runs_open ON integrity_runs (kind) WHERE ended_at IS NULL;
CREATE INDEX integrity_runs_ended ON integrity_runs (kind, id) WHERE ended_at IS NOT NULL;

-- What is not as it should be, until it is again. subject: an object's key, a study's UID, a file's path.
CREATE TABLE integrity_findings (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                    text NOT NULL,
    subject                 text COLLATE "C" NOT NULL,
    sop_instance_uid        text COLLATE "C" NOT NULL DEFAULT '',
    indexed                 boolean NOT NULL DEFAULT false,   -- the instance was to be found with this object
    detail                  text NOT NULL DEFAULT '',
    quarantine_key          text COLLATE "C" NOT NULL DEFAULT '',  -- where the object went
    found_by                text NOT NULL,                    -- scrub, reconcile
    found_at                timestamptz NOT NULL DEFAULT now(),
    seen_at                 timestamptz NOT NULL DEFAULT now(),
    settled_at              timestamptz,
    settled                 text NOT NULL DEFAULT ''          -- healed, deleted, gone, aside
);
CREATE UNIQUE INDEX integrity_findings_open ON integrity_findings (kind, subject) WHERE settled_at IS NULL;
CREATE INDEX integrity_findings_newest ON integrity_findings (id) WHERE settled_at IS NULL;
