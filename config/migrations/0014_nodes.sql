-- Several nodes on one database: which there are, what each has to do with its own files, and how far copies are behind.
-- A node is the hundreds of a slot: worker W of node N stores in slot 100 N + W.

-- folder: the identity of the data folder that the number belongs to, for the keys of objects begin with it.
CREATE TABLE archive_nodes (
    node                    smallint PRIMARY KEY,
    folder                  text COLLATE "C" NOT NULL,
    since                   timestamptz NOT NULL DEFAULT now(),
    seen_at                 timestamptz NOT NULL DEFAULT now()
);

-- Objects that the index has let go while another node was at work, until their own node removes them. compare: the object was
-- stored on another node again; only what is byte for byte the same is removed, anything else goes to quarantine.
CREATE TABLE object_removals (
    object_key              text COLLATE "C" PRIMARY KEY,
    slot                    integer NOT NULL,
    batch                   bigint NOT NULL,
    sop_instance_uid        text COLLATE "C" NOT NULL,
    digest                  bytea NOT NULL,
    compare                 boolean NOT NULL DEFAULT false,
    since                   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX object_removals_folder ON object_removals (slot, batch);

-- The nodes that have not done their part of what the deletion's state asks for; none: they all have.
ALTER TABLE deletions ADD COLUMN nodes_left smallint[] NOT NULL DEFAULT '{}';
UPDATE deletions d SET nodes_left = coalesce((SELECT array_agg(DISTINCT (i.slot / 100)::smallint) FROM deleted_instances i
    WHERE i.deletion = d.id), '{}') WHERE state IN ('deleted', 'undoing', 'erasing');

-- Who has to go on with a move, because objects lie there that are nowhere else; NULL: anybody.
ALTER TABLE tier_moves ADD COLUMN for_node smallint;

-- Each node walks through its own slots.
ALTER TABLE integrity_runs ADD COLUMN node smallint NOT NULL DEFAULT 0;
DROP INDEX integrity_runs_open;
CREATE UNIQUE INDEX integrity_runs_open ON integrity_runs (kind, node) WHERE ended_at IS NULL;
ALTER TABLE integrity_findings ADD COLUMN node smallint NOT NULL DEFAULT 0;

-- How far a slot's instances have been copied to a store that gets them all: everything in folders below ``batch`` has a copy.
-- patrol: the walk that looks for copies that were lost since. waiting, oldest: what lacks one, as of looked_at.
CREATE TABLE replication (
    slot                    integer NOT NULL,
    store                   text COLLATE "C" NOT NULL,
    patrol                  boolean NOT NULL,
    batch                   bigint NOT NULL DEFAULT 0,
    waiting                 integer NOT NULL DEFAULT 0,
    oldest                  timestamptz,
    problem                 text NOT NULL DEFAULT '',
    looked_at               timestamptz NOT NULL DEFAULT now(),
    began_at                timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (slot, store, patrol)
);
