-- What a policy orders at once is due at the same instant: without the number each taking would sort all of it.
DROP INDEX tier_moves_due;
CREATE INDEX tier_moves_due ON tier_moves (priority, due_at, id) WHERE state IN ('waiting', 'running');
