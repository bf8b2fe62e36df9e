-- Copies in tier stores are read and compared once in a while, those first that were looked at longest ago.
ALTER TABLE object_copies ADD COLUMN checked_at timestamptz NOT NULL DEFAULT now();
DROP INDEX object_copies_store;
CREATE INDEX object_copies_checked ON object_copies (store, checked_at);

-- Whose turn a store is: one worker of the archive at a time reads its copies.
CREATE TABLE copy_checks (
    store                   text COLLATE "C" PRIMARY KEY,
    lease                   text NOT NULL,
    leased_until            timestamptz NOT NULL
);
