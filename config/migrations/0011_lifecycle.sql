-- The lifecycle wing: where else objects are, what moves them, and what keeps them where they are.

-- How quickly an instance can be had (Instance Availability, PS3.3 C.4.23.1.1); of a series and a study: as its slowest instance.
ALTER TABLE instances ADD COLUMN availability text COLLATE "C" NOT NULL DEFAULT 'ONLINE';
ALTER TABLE series ADD COLUMN availability text COLLATE "C" NOT NULL DEFAULT 'ONLINE';
ALTER TABLE studies ADD COLUMN availability text COLLATE "C" NOT NULL DEFAULT 'ONLINE';

CREATE FUNCTION availability_rank(availability text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_position(ARRAY['ONLINE', 'NEARLINE', 'OFFLINE', 'UNAVAILABLE'], availability)
$$;

-- Copies of objects outside of the online store. A copy belongs to the bytes, not to the row in instances, so that it is still
-- known when a deletion is undone.
CREATE TABLE object_copies (
    sop_instance_uid        text COLLATE "C" NOT NULL,
    object_digest           bytea NOT NULL,          -- as instances.digest
    store                   text COLLATE "C" NOT NULL,
    key                     text COLLATE "C" NOT NULL,
    form                    text COLLATE "C" NOT NULL DEFAULT 'plain',  -- or how it is compressed or coded there
    transfer_syntax_uid     text COLLATE "C" NOT NULL,  -- of the object, whatever the copy is coded in
    stored_bytes            bigint NOT NULL,         -- as it lies there
    stored_digest           bytea NOT NULL,          -- xxh3-128 of all of that
    verified_at             timestamptz NOT NULL,    -- when it was last read back and found whole
    PRIMARY KEY (sop_instance_uid, object_digest, store)
);
CREATE INDEX object_copies_store ON object_copies (store, verified_at);

-- Copies that nothing refers to any more, until they are removed.
CREATE TABLE copy_removals (
    store                   text COLLATE "C" NOT NULL,
    key                     text COLLATE "C" NOT NULL,
    since                   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (store, key)
);

-- Of which studies all instances have a copy in a store, as far as they are still as many.
CREATE TABLE study_copies (
    study_instance_uid      text COLLATE "C" NOT NULL,
    store                   text COLLATE "C" NOT NULL,
    instances               integer NOT NULL,
    stored_bytes            bigint NOT NULL,
    since                   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (study_instance_uid, store)
);
CREATE INDEX study_copies_store ON study_copies (store, since);

-- What policies ask of a study besides what is in its images.
CREATE TABLE study_storage (
    study_instance_uid      text COLLATE "C" PRIMARY KEY,
    accessed_at             timestamptz,             -- last retrieved or viewed
    recalled_at             timestamptz,             -- last brought back online: then what is online is a cached copy
    labels                  text[] NOT NULL DEFAULT '{}',
    workflow_state          text COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX study_storage_recalled ON study_storage (recalled_at) WHERE recalled_at IS NOT NULL;

CREATE TABLE legal_holds (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_instance_uid      text COLLATE "C" NOT NULL,
    reason                  text NOT NULL,
    placed_by               text NOT NULL,
    placed_at               timestamptz NOT NULL DEFAULT now(),
    lifted_by               text NOT NULL DEFAULT '',
    lifted_at               timestamptz
);
CREATE UNIQUE INDEX legal_holds_in_force ON legal_holds (study_instance_uid) WHERE lifted_at IS NULL;

CREATE TABLE lifecycle_policies (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                    text NOT NULL UNIQUE,
    enabled                 boolean NOT NULL DEFAULT false,
    priority                smallint NOT NULL DEFAULT 100,  -- the lowest number is asked first
    rule                    jsonb NOT NULL,
    changed_by              text NOT NULL,
    changed_at              timestamptz NOT NULL DEFAULT now()
);

-- What a policy has done, and when.
CREATE TABLE lifecycle_runs (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy                  bigint NOT NULL REFERENCES lifecycle_policies (id) ON DELETE CASCADE,
    at                      timestamptz NOT NULL DEFAULT now(),
    studies                 integer NOT NULL,
    size_bytes              bigint NOT NULL,
    problem                 text NOT NULL DEFAULT ''
);
CREATE INDEX lifecycle_runs_policy ON lifecycle_runs (policy, id);

-- Work on one study at a time. from_store and to_store: 'online', the name of a store, or nothing: with both it moves, with
-- to_store only it copies (or recalls), with from_store only it removes what is elsewhere too.
CREATE TABLE tier_moves (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    study_instance_uid      text COLLATE "C" NOT NULL,
    from_store              text COLLATE "C" NOT NULL DEFAULT '',
    to_store                text COLLATE "C" NOT NULL DEFAULT '',
    form                    text COLLATE "C" NOT NULL DEFAULT 'plain',
    why                     text NOT NULL,           -- a policy's name, or what asked for it
    asked_by                text NOT NULL DEFAULT '',
    priority                smallint NOT NULL DEFAULT 100,
    state                   text NOT NULL DEFAULT 'waiting'
                            CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    asked_at                timestamptz NOT NULL DEFAULT now(),
    begun_at                timestamptz,
    ended_at                timestamptz,
    due_at                  timestamptz NOT NULL DEFAULT now(),
    leased_until            timestamptz NOT NULL DEFAULT '-infinity',
    attempts                integer NOT NULL DEFAULT 0,
    instances               integer NOT NULL DEFAULT 0,
    done                    integer NOT NULL DEFAULT 0,
    size_bytes              bigint NOT NULL DEFAULT 0,
    done_bytes              bigint NOT NULL DEFAULT 0,
    problem                 text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX tier_moves_once ON tier_moves (study_instance_uid, from_store, to_store) WHERE state IN ('waiting', 'running');
CREATE INDEX tier_moves_due ON tier_moves (priority, due_at) WHERE state IN ('waiting', 'running');
CREATE INDEX tier_moves_ended ON tier_moves (ended_at) WHERE ended_at IS NOT NULL;

-- The newest study whose patient's priors have been looked for.
CREATE TABLE prefetched (
    one                     boolean PRIMARY KEY DEFAULT true CHECK (one),
    last_study              bigint NOT NULL
);

-- Who may change settings may say where studies are kept.
UPDATE roles SET actions = array_append(actions, 'storage.write')
WHERE actions @> '{settings.write}' AND NOT actions @> '{storage.write}';

-- The wall clock as the scheduler last saw it: what jumps must not expire anything.
CREATE TABLE lifecycle_clock (
    one                     boolean PRIMARY KEY DEFAULT true CHECK (one),
    seen_at                 timestamptz NOT NULL,
    doubted_since           timestamptz              -- it has jumped, and nobody has said yet that it is right
);
