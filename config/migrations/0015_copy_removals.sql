-- A key that a copy is being put under is among the removals, too, for a day later: whatever a crash leaves behind is removed.
-- claimed_until: somebody is removing it; from then on nobody may put it, and nobody may note it, until it is gone.
ALTER TABLE copy_removals ADD COLUMN sop_instance_uid text COLLATE "C";
ALTER TABLE copy_removals ADD COLUMN object_digest bytea;
ALTER TABLE copy_removals ADD COLUMN claimed_until timestamptz NOT NULL DEFAULT '-infinity';
CREATE INDEX copy_removals_due ON copy_removals (store, since);

-- What has become of one study's moves.
CREATE INDEX tier_moves_study ON tier_moves (study_instance_uid, id);

-- Whether a deletion that can still be undone has need of a copy.
CREATE INDEX deleted_instances_uid ON deleted_instances (sop_instance_uid);
