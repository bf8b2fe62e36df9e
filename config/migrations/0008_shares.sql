-- What AEs may see, and links that open one study without a login.

ALTER TABLE ae_nodes ADD COLUMN scope jsonb;               -- NULL: every study
ALTER TABLE commitment_requests ADD COLUMN scope jsonb;    -- of whoever asked, when they asked; NULL: every study

-- A link shows no more than whoever made it may see while it is used.
CREATE TABLE shares (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret_hash         bytea NOT NULL UNIQUE,      -- SHA-256 of what is in the link
    study_instance_uid  text COLLATE "C" NOT NULL,
    patient_id          text NOT NULL,              -- for the audit
    user_id             bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    actions             text[] NOT NULL,
    note                text NOT NULL DEFAULT '',
    password_hash       text,                       -- NULL: the link is enough
    opened              bigint NOT NULL DEFAULT 0,
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz NOT NULL,
    revoked_at          timestamptz
);
CREATE INDEX shares_study_instance_uid ON shares (study_instance_uid);
CREATE INDEX shares_user_id ON shares (user_id);
CREATE INDEX shares_expires_at ON shares (expires_at);

-- A browser that has opened a link.
CREATE TABLE share_sessions (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret_hash         bytea NOT NULL UNIQUE,      -- SHA-256 of the cookie
    share_id            bigint NOT NULL REFERENCES shares ON DELETE CASCADE,
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz NOT NULL
);
CREATE INDEX share_sessions_share_id ON share_sessions (share_id);
CREATE INDEX share_sessions_expires_at ON share_sessions (expires_at);
