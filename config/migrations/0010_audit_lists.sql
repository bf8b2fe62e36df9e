-- The audit as a list: sorted by any of its columns, and limited to the studies that somebody may see.

DROP INDEX audit_events_at, audit_events_patient_id;
CREATE INDEX audit_events_at ON audit_events (at, id);
-- Nothing bounds these three, and an index takes no entry of more than some 2700 bytes.
CREATE INDEX audit_events_outcome ON audit_events (left(outcome, 256), id);
CREATE INDEX audit_events_via ON audit_events (left(via, 256), id);
CREATE INDEX audit_events_address ON audit_events (left(address, 256), id);
CREATE INDEX audit_events_patient_id ON audit_events (patient_id, id);
CREATE INDEX audit_events_study ON audit_events ((coalesce(uids[1], '') COLLATE "C"), id);

-- Who may read the whole audit goes on to read that of a study, which is a right of its own from now on.
UPDATE roles SET actions = array_append(actions, 'study.audit')
WHERE actions @> '{audit.read}' AND NOT actions @> '{study.audit}';
UPDATE api_tokens SET actions = array_append(actions, 'study.audit')
WHERE actions @> '{audit.read}' AND NOT actions @> '{study.audit}';
