-- Nodes that are gone for good. Their numbers are never given again: keys of objects begin with them.
-- successor: the node that does their part of what is still open
ALTER TABLE archive_nodes ADD COLUMN forgotten_at timestamptz;
ALTER TABLE archive_nodes ADD COLUMN successor smallint;

-- The node that sees to the objects of a slot.
CREATE FUNCTION slot_keeper(slot integer) RETURNS smallint LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((SELECT n.successor FROM archive_nodes n WHERE n.node = slot / 100 AND n.forgotten_at IS NOT NULL),
        (slot / 100)::smallint)
$$;

-- A node that was cut off while it was forgotten adds nothing to the index any more: its indexers wait (53000, as for a database
-- that cannot now), its objects stay on its disk. Asked once a batch.
CREATE FUNCTION refuse_forgotten_nodes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM archive_nodes n WHERE n.node = NEW.slot / 100 AND n.forgotten_at IS NOT NULL) THEN
        RAISE EXCEPTION 'node % is forgotten', NEW.slot / 100 USING ERRCODE = '53000';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ingest_mark_forgotten BEFORE INSERT OR UPDATE ON ingest_mark
    FOR EACH ROW EXECUTE FUNCTION refuse_forgotten_nodes();
