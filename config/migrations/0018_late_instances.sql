-- Something of a study was in the online store when all of it was found elsewhere, and has not left since: also what came late to a
-- series that had left, whose availability (that of its slowest instance) does not show it.
ALTER TABLE study_copies ADD COLUMN some_online boolean NOT NULL DEFAULT false;
UPDATE study_copies y SET some_online = true FROM studies s
WHERE s.study_instance_uid = y.study_instance_uid AND EXISTS (SELECT FROM series e JOIN instances i ON i.series = e.id
    WHERE e.study = s.id AND i.availability = 'ONLINE');

-- Of a deletion that was undone: objects that could not be brought back.
ALTER TABLE deletions ADD COLUMN lost integer NOT NULL DEFAULT 0;
