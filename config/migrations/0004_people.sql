-- People: users, roles, what proves who they are, and what slows down those who guess.

CREATE TABLE roles (
    name                text COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    description         text NOT NULL DEFAULT '',
    actions             text[] NOT NULL DEFAULT '{}',
    scope               jsonb NOT NULL DEFAULT '{"everything": false, "rules": []}'
);

CREATE TABLE users (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username            text NOT NULL CHECK (length(username) BETWEEN 1 AND 128),
    folded              text COLLATE "C" NOT NULL UNIQUE,   -- what names are compared by: case and width do not matter
    display_name        text NOT NULL DEFAULT '',
    email               text NOT NULL DEFAULT '',
    department          text NOT NULL DEFAULT '',
    language            text NOT NULL DEFAULT '',
    enabled             boolean NOT NULL DEFAULT true,
    password_hash       text,               -- NULL: an identity provider knows them
    scope               jsonb,              -- studies besides those of the roles
    issuer              text,               -- of the identity provider, with the name it has for them
    subject             text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    last_login_at       timestamptz,
    UNIQUE (issuer, subject)
);

CREATE TABLE user_roles (
    user_id             bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    role                text COLLATE "C" NOT NULL REFERENCES roles,
    PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_role ON user_roles (role);

-- A login. Its cookie, its access tokens and its refresh tokens end with the row.
CREATE TABLE sessions (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret_hash         bytea NOT NULL UNIQUE,   -- SHA-256 of the cookie
    user_id             bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    address             text NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL DEFAULT now(),
    used_at             timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz NOT NULL
);
CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- Each may be used once; one that comes again was copied, and ends its session.
CREATE TABLE refresh_tokens (
    secret_hash         bytea PRIMARY KEY,
    session_id          bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    used                boolean NOT NULL DEFAULT false,
    expires_at          timestamptz NOT NULL
);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);

CREATE TABLE api_tokens (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret_hash         bytea NOT NULL UNIQUE,
    user_id             bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    actions             text[],             -- NULL: whatever its owner may do
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz NOT NULL,
    used_at             timestamptz
);
CREATE INDEX api_tokens_user_id ON api_tokens (user_id);

CREATE TABLE signing_keys (
    kid                 text COLLATE "C" PRIMARY KEY,
    private_key         text NOT NULL,      -- PEM, PKCS #8
    created_at          timestamptz NOT NULL DEFAULT now(),
    signs_until         timestamptz NOT NULL,
    verifies_until      timestamptz NOT NULL
);

-- Failed logins. The key is a hash: people type passwords where names belong.
CREATE TABLE login_failures (
    key                 bytea PRIMARY KEY,
    failures            integer NOT NULL,
    last_at             timestamptz NOT NULL,
    blocked_until       timestamptz NOT NULL
);
CREATE INDEX login_failures_last_at ON login_failures (last_at);

-- From where somebody has logged in: there a stranger's guesses elsewhere do not lock them out.
CREATE TABLE known_addresses (
    user_id             bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    address             text NOT NULL,
    last_at             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, address)
);

-- A login at an identity provider that is under way.
CREATE TABLE oidc_logins (
    state_hash          bytea PRIMARY KEY,
    nonce               text NOT NULL,
    code_verifier       text NOT NULL,
    return_to           text NOT NULL,
    expires_at          timestamptz NOT NULL
);

INSERT INTO roles (name, description, actions, scope) VALUES
    ('administrator', 'Everything, people and settings included.',
     '{study.search,study.view,study.download,study.store,study.delete,study.share,system.read,nodes.read,nodes.write,people.read,people.write,audit.read,settings.read,settings.write}',
     '{"everything": true, "rules": []}'),
    ('radiologist', 'Reads every study, stores measurements and reports, shares by link.',
     '{study.search,study.view,study.download,study.store,study.share,system.read,nodes.read}',
     '{"everything": true, "rules": []}'),
    ('technologist', 'Acquires, imports and checks studies.',
     '{study.search,study.view,study.download,study.store,system.read,nodes.read}',
     '{"everything": true, "rules": []}'),
    ('referring physician', 'Sees the studies that name them as Referring Physician.',
     '{study.search,study.view,study.download,study.share}',
     '{"everything": false, "rules": [{"own_referring": true}]}'),
    ('registrator', 'Finds studies and their patients, without the images.',
     '{study.search}',
     '{"everything": true, "rules": []}'),
    ('viewer', 'Looks at the studies of their own department.',
     '{study.search,study.view}',
     '{"everything": false, "rules": [{"own_department": true}]}');
