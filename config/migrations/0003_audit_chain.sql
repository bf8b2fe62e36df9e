-- The audit becomes a chain: rows are numbered without gaps, and each carries the SHA-256 of itself and of the one before.
-- A plain INSERT is enough for whoever has something to tell, in the transaction of what it tells about: as its last
-- statement, because the writers of the audit wait for each other until they commit.

ALTER TABLE audit_events RENAME TO audit_events_unchained;
ALTER TABLE audit_events_unchained RENAME CONSTRAINT audit_events_pkey TO audit_events_unchained_pkey;
DROP INDEX audit_events_at, audit_events_patient_id;

CREATE TABLE audit_events (
    id                  bigint PRIMARY KEY,
    at                  timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(at)),
    recorded_at         timestamptz NOT NULL,
    event               text NOT NULL,
    outcome             text NOT NULL,
    who                 text NOT NULL DEFAULT '',   -- AE title, user, share link, process
    via                 text NOT NULL DEFAULT '',   -- what they were known by: ae, session, token, link, process, command
    address             text NOT NULL DEFAULT '',
    patient_id          text NOT NULL DEFAULT '',
    uids                text[] NOT NULL DEFAULT '{}',
    details             jsonb NOT NULL DEFAULT '{}',
    previous            bytea NOT NULL CHECK (length(previous) = 32),
    hash                bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_event ON audit_events (event, id);
CREATE INDEX audit_events_who ON audit_events (who, id);
CREATE INDEX audit_events_patient_id ON audit_events (patient_id, id) WHERE patient_id <> '';
CREATE INDEX audit_events_uids ON audit_events USING gin (uids);

-- What is hashed; pacs_actors/audit/chain.py computes the same. A text is its length in bytes (int4) and its UTF-8; numbers
-- and times are PostgreSQL's binary forms: big-endian, microseconds since 2000.
CREATE FUNCTION audit_text(value text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8');

CREATE FUNCTION chain_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_id bigint;
    last_hash bytea;
BEGIN
    -- Until the transaction ends: the next writer sees what we wrote, or that we wrote nothing.
    PERFORM pg_advisory_xact_lock(1346456403, 1);
    SELECT id, hash INTO last_id, last_hash FROM audit_events ORDER BY id DESC LIMIT 1;
    -- An index takes no entry of more than some 2700 bytes, and whoever sends long values must not go unaudited.
    NEW.event := left(NEW.event, 256);
    NEW.who := left(NEW.who, 256);
    NEW.patient_id := left(NEW.patient_id, 256);
    NEW.uids := ARRAY (SELECT left(u, 128) FROM unnest(NEW.uids) WITH ORDINALITY t (u, n) ORDER BY n LIMIT 1000);
    NEW.id := coalesce(last_id, 0) + 1;
    NEW.previous := coalesce(last_hash, decode(repeat('00', 32), 'hex'));
    NEW.recorded_at := clock_timestamp();
    NEW.hash := sha256(NEW.previous || int8send(NEW.id) || timestamptz_send(NEW.at) || timestamptz_send(NEW.recorded_at)
        || audit_text(NEW.event) || audit_text(NEW.outcome) || audit_text(NEW.who) || audit_text(NEW.via)
        || audit_text(NEW.address) || audit_text(NEW.patient_id) || int4send(cardinality(NEW.uids))
        || coalesce((SELECT string_agg(audit_text(u), '' ORDER BY n) FROM unnest(NEW.uids) WITH ORDINALITY t (u, n)), '')
        || audit_text(NEW.details::text));
    RETURN NEW;
END $$;

-- Unqualified names must mean these tables, whatever the writer's search_path: a temporary table could pose as the audit.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION chain_audit_event() SET search_path TO pg_catalog, %I, pg_temp', current_schema());
END $$;

-- ALWAYS: also while session_replication_role turns triggers off.
CREATE TRIGGER audit_events_chain BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION chain_audit_event();
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_chain;

INSERT INTO audit_events (at, event, outcome, who, address, patient_id, uids, details)
SELECT at, event, outcome, who, address, patient_id, uids, details FROM audit_events_unchained ORDER BY id;
DROP TABLE audit_events_unchained;

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM PUBLIC, CURRENT_USER;

-- How far each receiver has the audit; who sends holds the row for a while, so that several nodes do not all send.
CREATE TABLE audit_deliveries (
    receiver            text PRIMARY KEY,
    delivered           bigint NOT NULL DEFAULT 0,
    holder              text NOT NULL DEFAULT '',
    held_until          timestamptz NOT NULL DEFAULT '-infinity'
);
