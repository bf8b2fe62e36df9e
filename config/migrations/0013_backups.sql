-- Backups: what has become of objects since the last one, and what was made where.

-- Keys of objects that left their place for good, or went aside. The number of the transaction, not of the row, tells what is new:
-- rows become visible in the order of their commits. A backup reads what it lacks from here; a restore reads here what not to
-- bring back.
CREATE TABLE object_changes (
    xid                     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    object_key              text COLLATE "C" NOT NULL,
    at                      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX object_changes_xid ON object_changes (xid);
CREATE INDEX object_changes_key ON object_changes (object_key);

-- From which transaction on object_changes is whole.
CREATE TABLE object_changes_floor (
    one                     boolean PRIMARY KEY DEFAULT true CHECK (one),
    xid                     xid8 NOT NULL DEFAULT pg_current_xact_id()
);
INSERT INTO object_changes_floor DEFAULT VALUES;

CREATE FUNCTION note_object_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO object_changes (object_key) SELECT object_key FROM changed;
    RETURN NULL;
END $$;
CREATE FUNCTION note_object_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO object_changes (object_key) VALUES (OLD.object_key);
    RETURN NULL;
END $$;
-- Deleted, and kept for a while; erased or brought back under another key; set aside.
CREATE TRIGGER deleted_instances_added AFTER INSERT ON deleted_instances REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_object_changes();
CREATE TRIGGER deleted_instances_removed AFTER DELETE ON deleted_instances REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_object_changes();
CREATE TRIGGER quarantine_added AFTER INSERT ON quarantine REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION note_object_changes();
-- Healed by another object, recalled as another one, or moved to another tier.
CREATE TRIGGER instances_moved AFTER UPDATE OF object_key, availability ON instances FOR EACH ROW
    WHEN (OLD.object_key <> NEW.object_key OR OLD.availability = 'ONLINE' AND NEW.availability <> 'ONLINE')
    EXECUTE FUNCTION note_object_change();

INSERT INTO object_changes (object_key) SELECT object_key FROM deleted_instances;

-- Backups that were asked for, are being made, or were made. name: of the folder; leased_until: whoever makes it is alive.
CREATE TABLE backups (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind                    text NOT NULL CHECK (kind IN ('full', 'incremental', 'differential')),
    state                   text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    asked_by                text NOT NULL DEFAULT '',      -- '': its time had come
    asked_at                timestamptz NOT NULL DEFAULT now(),
    began_at                timestamptz,
    ended_at                timestamptz,
    place                   text NOT NULL DEFAULT '',
    name                    text NOT NULL DEFAULT '',
    parent                  text NOT NULL DEFAULT '',
    objects                 bigint NOT NULL DEFAULT 0,
    size_bytes              bigint NOT NULL DEFAULT 0,
    stored_bytes            bigint NOT NULL DEFAULT 0,
    encrypted               boolean NOT NULL DEFAULT false,
    verified                boolean NOT NULL DEFAULT false,
    damaged                 integer NOT NULL DEFAULT 0,
    problem                 text NOT NULL DEFAULT '',
    leased_until            timestamptz NOT NULL DEFAULT '-infinity'
);
CREATE INDEX backups_open ON backups (id) WHERE state IN ('waiting', 'running');
