-- A patient who is known by a single study has no Patient ID: as soon as an instance of the study brings one, the study moves to
-- the patient of that ID (index_batch.sql), and this one goes.
ALTER TABLE patients ADD CONSTRAINT patients_only_study CHECK (only_study = '' OR patient_id = '');
