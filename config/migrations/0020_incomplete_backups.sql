-- A backup in which objects are lacking that another node has and no store gave: missing, how many.
ALTER TABLE backups DROP CONSTRAINT backups_state_check;
ALTER TABLE backups ADD CONSTRAINT backups_state_check
    CHECK (state IN ('waiting', 'running', 'done', 'incomplete', 'failed'));
ALTER TABLE backups ADD COLUMN missing bigint NOT NULL DEFAULT 0;
