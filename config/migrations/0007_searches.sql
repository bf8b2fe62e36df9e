-- Searches that people keep, and settings that were changed while the server runs.

CREATE TABLE saved_searches (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id             bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    query               text NOT NULL CHECK (length(query) <= 4096),   -- as the panel writes it in its address
    created_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, name)
);

-- They win over the settings file; environment and command line win over them.
CREATE TABLE settings_overrides (
    key                 text COLLATE "C" PRIMARY KEY,
    value               jsonb NOT NULL,
    changed_by          text NOT NULL,
    changed_at          timestamptz NOT NULL DEFAULT now()
);
