-- Known AEs besides those of the configuration file.
CREATE TABLE ae_nodes (
    ae_title            text COLLATE "C" PRIMARY KEY CHECK (length(ae_title) BETWEEN 1 AND 16),
    host                text NOT NULL,
    port                integer NOT NULL CHECK (port BETWEEN 0 AND 65535),
    networks            cidr[] NOT NULL DEFAULT '{}',
    tls                 boolean NOT NULL DEFAULT false,
    rights              text[] NOT NULL DEFAULT '{store,find,move,get,commit}'
                        CHECK (rights <@ '{store,find,move,get,commit}'),
    destinations        text[],            -- NULL: any known AE
    transfer_syntaxes   text[] NOT NULL DEFAULT '{}',
    certificate_name    text
);

-- Who did what to whose data, when, from where, with what outcome (PS3.15 A.5).
CREATE TABLE audit_events (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at                  timestamptz NOT NULL DEFAULT clock_timestamp(),
    event               text NOT NULL,
    outcome             text NOT NULL,
    who                 text NOT NULL DEFAULT '',   -- AE title or user
    address             text NOT NULL DEFAULT '',
    patient_id          text NOT NULL DEFAULT '',
    uids                text[] NOT NULL DEFAULT '{}',
    details             jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_patient_id ON audit_events (patient_id) WHERE patient_id <> '';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM PUBLIC, CURRENT_USER;

-- Storage commitment (PS3.4 J): a row is written before the N-ACTION is answered, and taken with SKIP LOCKED.
CREATE TABLE commitment_requests (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_uid     text COLLATE "C" NOT NULL,
    requester           text NOT NULL,
    references_asked    jsonb NOT NULL,
    state               text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'checked', 'reported', 'given up')),
    attempts            integer NOT NULL DEFAULT 0,
    received_at         timestamptz NOT NULL DEFAULT now(),
    next_attempt_at     timestamptz NOT NULL DEFAULT now(),
    result              jsonb,
    UNIQUE (requester, transaction_uid)
);
CREATE INDEX commitment_requests_due ON commitment_requests (next_attempt_at) WHERE state IN ('received', 'checked');
