-- Indexes a batch of instances in one round trip. @names@ are filled in by index_function.py from the table of attributes.
--
-- Locks are taken in one order by everybody: new patients, studies, series (each sorted), instances (sorted by UID), then
-- counters of series, studies, patients (each sorted), then the slot's totals and mark. So batches never deadlock, unless two
-- move studies of the same patients; then one runs again.
--
-- A study is its first instance's patient's, until an instance of it says more of who that is: a Patient ID where there was
-- none, an issuer of the same ID. Then the study moves, once, so that the order in which they come makes no difference.
--
-- groups:    JSON, a flat object per group: what its first instance says about patient, study and series. NULL when this
--            process has sent it before; error PA001 asks for it again.
-- epoch:     the number of deletion_epoch since which this process remembers what it has sent; error PA001 if there was a
--            deletion: rows may have been made anew, by others, from less.
-- grp:       for each instance the number of its group, from 1
-- in_*:      for each instance its value; a single element when it is the same for all
-- returns:   NULL: all new, all of the right patient. Else JSON: [[number, outcome, first key, patient mismatch], ...]
CREATE FUNCTION @function@ (
    groups json, study_uids text[], series_uids text[], patients_asked text[], issuers text[], grp integer[],
    @instance_parameters@,
    mark_slot integer, mark_batch bigint, epoch bigint
) RETURNS json LANGUAGE plpgsql
-- Planning anew costs twice what running does. So plans are made once in a connection's life, perhaps while the tables
-- are empty: they must suit full ones.
SET plan_cache_mode TO force_generic_plan
SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off SET enable_bitmapscan TO off
AS $function$
DECLARE
    series_ids bigint[]; study_ids bigint[]; patient_ids bigint[]; mismatched boolean[]; says_more boolean[]; known bigint;
    new_patients bigint[] := '{}'; new_studies bigint[] := '{}'; new_series bigint[] := '{}';
    into_series bigint[]; of_class text[]; counts integer[]; sizes bigint[]; firsts timestamptz[]; senders text[];
    keys text[]; added bigint; added_bytes bigint; left_by bigint[] := '{}'; moved bigint[]; gone_patients bigint[] := '{}';
    answer json;
BEGIN
    @resolve@
    IF epoch IS DISTINCT FROM (SELECT number FROM deletion_epoch) THEN
        RAISE EXCEPTION 'something was deleted' USING ERRCODE = 'PA001';
    END IF;
    IF known < cardinality(study_uids) OR true = ANY (says_more) THEN
        IF groups IS NULL THEN
            RAISE EXCEPTION 'unknown series' USING ERRCODE = 'PA001';
        END IF;
        WITH made AS (
            INSERT INTO patients (@patient_columns@)
            SELECT DISTINCT ON (r.patient_id, r.issuer_of_patient_id, r.only_study) @patient_values@
            FROM @patient_records@ r
            WHERE NOT EXISTS (SELECT FROM studies s JOIN patients q ON q.id = s.patient
                WHERE s.study_instance_uid = r.study_instance_uid AND NOT @says_more@)
            ORDER BY r.patient_id, r.issuer_of_patient_id, r.only_study, r.ordinality
            ON CONFLICT DO NOTHING RETURNING id)
        SELECT coalesce(array_agg(id), '{}') INTO new_patients FROM made;
        WITH made AS (
            INSERT INTO studies (patient, @study_columns@)
            SELECT DISTINCT ON (r.study_instance_uid) p.id, @study_values@
            FROM @study_records@ r
            JOIN patients p ON p.patient_id = r.patient_id AND p.issuer_of_patient_id = r.issuer_of_patient_id
                AND p.only_study = r.only_study
            ORDER BY r.study_instance_uid, r.ordinality
            ON CONFLICT DO NOTHING RETURNING id)
        SELECT coalesce(array_agg(id), '{}') INTO new_studies FROM made;
        WITH made AS (
            INSERT INTO series (study, @series_columns@)
            SELECT DISTINCT ON (r.series_instance_uid, s.id) s.id, @series_values@
            FROM @series_records@ r
            JOIN studies s ON s.study_instance_uid = r.study_instance_uid
            ORDER BY r.series_instance_uid, s.id, r.ordinality
            ON CONFLICT DO NOTHING RETURNING id)
        SELECT coalesce(array_agg(id), '{}') INTO new_series FROM made;
        @resolve@
        IF known < cardinality(study_uids) THEN
            RAISE EXCEPTION 'deleted meanwhile' USING ERRCODE = 'PA001';
        END IF;
    END IF;

    WITH made AS (
        INSERT INTO instances (series, @instance_columns@, custom, received_at)
        SELECT series_ids[i.grp], @instance_values@, nullif(coalesce(i.custom, in_custom[1]), '')::jsonb,
            timestamptz 'epoch' + (coalesce(i.received_ns, in_received_ns[1]) / 1000) * interval '1 microsecond'
        FROM unnest(grp, @instance_arguments@) WITH ORDINALITY i (grp, @instance_names@, ord)
        ORDER BY coalesce(i.sop_instance_uid, in_sop_instance_uid[1]), i.ord
        ON CONFLICT (sop_instance_uid) DO NOTHING
        RETURNING series, sop_class_uid, size_bytes, object_key, received_at, source),
    per AS (
        SELECT series, sop_class_uid, count(*)::integer AS n, sum(size_bytes)::bigint AS bytes,
            min(received_at) AS first, min(source) AS sender
        FROM made GROUP BY series, sop_class_uid)
    SELECT coalesce(array_agg(per.series), '{}'), array_agg(per.sop_class_uid), array_agg(per.n),
        array_agg(per.bytes), array_agg(per.first), array_agg(per.sender),
        (SELECT array_agg(object_key) FROM made), coalesce(sum(per.n), 0), coalesce(sum(per.bytes), 0)
    INTO into_series, of_class, counts, sizes, firsts, senders, keys, added, added_bytes FROM per;

    -- What was made for instances that turned out to be duplicates goes again: nobody else can have seen it.
    IF NOT new_series <@ into_series OR cardinality(new_studies) > 0 OR cardinality(new_patients) > 0 THEN
        DELETE FROM series WHERE id = ANY (new_series) AND NOT id = ANY (into_series);
        new_series := ARRAY (SELECT unnest(new_series) INTERSECT SELECT unnest(into_series));
        WITH gone AS (DELETE FROM studies s WHERE s.id = ANY (new_studies)
            AND NOT EXISTS (SELECT FROM series e WHERE e.study = s.id) RETURNING id)
        SELECT ARRAY (SELECT unnest(new_studies) EXCEPT SELECT id FROM gone) INTO new_studies;
        IF NOT true = ANY (says_more) THEN
            WITH gone AS (DELETE FROM patients p WHERE p.id = ANY (new_patients)
                AND NOT EXISTS (SELECT FROM studies s WHERE s.patient = p.id) RETURNING id)
            SELECT ARRAY (SELECT unnest(new_patients) EXCEPT SELECT id FROM gone) INTO new_patients;
        END IF;
    END IF;

    IF added > 0 THEN
        IF cardinality(series_ids) > 1 THEN
            PERFORM 1 FROM series WHERE id = ANY (series_ids) ORDER BY id FOR NO KEY UPDATE;
        END IF;
        UPDATE series e SET
            number_of_instances = e.number_of_instances + d.n, size_bytes = e.size_bytes + d.bytes,
            revision = e.revision + 1, received_at = least(e.received_at, d.first),
            source = CASE WHEN e.source = '' THEN d.sender ELSE e.source END
        FROM (
            SELECT g.id, sum(g.n) AS n, sum(g.bytes) AS bytes, min(g.first) AS first, min(g.sender) AS sender
            FROM unnest(into_series, counts, sizes, firsts, senders) g (id, n, bytes, first, sender)
            GROUP BY g.id) d
        WHERE e.id = d.id;
    END IF;
    -- A row that this batch made for a single group has nothing to fill in.
    IF groups IS NOT NULL AND cardinality(series_ids) > cardinality(new_series) THEN
        @fill_series@
    END IF;
    IF added > 0 THEN
        IF cardinality(study_ids) > 1 THEN
            PERFORM 1 FROM studies WHERE id = ANY (study_ids) ORDER BY id FOR NO KEY UPDATE;
        END IF;
        UPDATE studies s SET
            number_of_instances = s.number_of_instances + d.n, size_bytes = s.size_bytes + d.bytes,
            number_of_series = s.number_of_series + d.made, received_at = least(s.received_at, d.first),
            modalities_in_study = CASE
                WHEN s.modalities_in_study @> d.modalities THEN s.modalities_in_study
                ELSE ARRAY (SELECT DISTINCT m FROM unnest(s.modalities_in_study || d.modalities) m ORDER BY m) END,
            sop_classes_in_study = CASE
                WHEN s.sop_classes_in_study @> d.classes THEN s.sop_classes_in_study
                ELSE ARRAY (SELECT DISTINCT c FROM unnest(s.sop_classes_in_study || d.classes) c ORDER BY c) END
        FROM (
            SELECT e.study, sum(g.n) AS n, sum(g.bytes) AS bytes, min(g.first) AS first, count(DISTINCT e.id) FILTER (WHERE e.id = ANY (new_series)) AS made,
                coalesce(array_agg(DISTINCT e.modality::text) FILTER (WHERE e.modality <> ''), '{}') AS modalities,
                array_agg(DISTINCT g.class) AS classes
            FROM unnest(into_series, of_class, counts, sizes, firsts) g (id, class, n, bytes, first)
            JOIN series e ON e.id = g.id
            GROUP BY e.study) d
        WHERE s.id = d.study;
    END IF;
    IF groups IS NOT NULL AND cardinality(study_ids) > cardinality(new_studies) THEN
        @fill_studies@
    END IF;
    IF true = ANY (says_more) THEN
        PERFORM 1 FROM studies WHERE id = ANY (study_ids) ORDER BY id FOR NO KEY UPDATE;
        LOOP  -- to a patient, and perhaps on to the same one with an issuer
            -- Only what has come into the index counts, not what lies aside, for nobody can see that.
            WITH better AS (
                SELECT DISTINCT ON (s.id) s.id, s.patient AS worse, p.id AS patient
                FROM (SELECT DISTINCT i.grp FROM unnest(grp, in_object_key) i (grp, key)
                    WHERE coalesce(i.key, in_object_key[1]) = ANY (keys)) i
                JOIN @patient_records@ r ON r.ordinality = i.grp
                JOIN studies s ON s.id = study_ids[i.grp]
                JOIN patients q ON q.id = s.patient
                JOIN patients p ON p.patient_id = r.patient_id AND p.issuer_of_patient_id = r.issuer_of_patient_id
                    AND p.only_study = r.only_study
                WHERE @says_more@
                ORDER BY s.id, r.ordinality),
            changed AS (UPDATE studies s SET patient = b.patient FROM better b WHERE s.id = b.id RETURNING b.worse)
            SELECT array_agg(worse) INTO moved FROM changed;
            EXIT WHEN moved IS NULL;
            left_by := left_by || moved;
        END LOOP;
        -- Whoever else takes the last study but one from a patient waits here, and then sees that it was.
        PERFORM 1 FROM patients WHERE id = ANY (left_by) ORDER BY id FOR UPDATE;
        WITH gone AS (DELETE FROM patients p WHERE p.id = ANY (left_by || new_patients)
            AND NOT EXISTS (SELECT FROM studies s WHERE s.patient = p.id) RETURNING id)
        SELECT coalesce(array_agg(id), '{}') INTO gone_patients FROM gone;
        @resolve@
    END IF;
    IF groups IS NOT NULL AND cardinality(patient_ids) + cardinality(gone_patients) > cardinality(new_patients) THEN
        @fill_patients@
    END IF;

    IF added > 0 THEN
        INSERT INTO archive_totals AS t (slot, patients, studies, series, instances, size_bytes)
        VALUES (coalesce(mark_slot, in_slot[1]), cardinality(new_patients) - cardinality(gone_patients),
            cardinality(new_studies), cardinality(new_series), added, added_bytes)
        ON CONFLICT (slot) DO UPDATE SET patients = t.patients + excluded.patients,
            studies = t.studies + excluded.studies, series = t.series + excluded.series,
            instances = t.instances + excluded.instances, size_bytes = t.size_bytes + excluded.size_bytes;
    END IF;
    IF mark_slot IS NOT NULL THEN
        INSERT INTO ingest_mark AS m (slot, batch) VALUES (mark_slot, mark_batch)
        ON CONFLICT (slot) DO UPDATE SET batch = excluded.batch WHERE m.batch < excluded.batch;
    END IF;

    IF added = cardinality(grp) AND NOT true = ANY (mismatched) THEN
        RETURN NULL;
    END IF;
    SELECT json_agg(json_build_array(u.ord - 1,
        CASE WHEN i.object_key = u.key AND u.key = ANY (keys) THEN 'indexed'
             WHEN i.object_key = u.key THEN 'already'
             WHEN i.digest = u.digest AND i.size_bytes = u.size THEN 'duplicate'
             ELSE 'conflict' END,
        CASE WHEN i.object_key <> u.key THEN i.object_key END, mismatched[u.grp]))
    INTO answer
    FROM (
        SELECT g.ord, g.grp, coalesce(uid, in_sop_instance_uid[1]) AS uid, coalesce(key, in_object_key[1]) AS key,
            coalesce(digest, in_digest[1]) AS digest, coalesce(size, in_size_bytes[1]) AS size
        FROM unnest(grp, in_sop_instance_uid, in_object_key, in_digest, in_size_bytes)
            WITH ORDINALITY g (grp, uid, key, digest, size, ord)) u
    JOIN instances i ON i.sop_instance_uid = u.uid;
    IF json_array_length(answer) IS DISTINCT FROM cardinality(grp) THEN
        -- The one that kept it out was deleted meanwhile: again, it is new now.
        RAISE EXCEPTION 'deleted meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN answer;
END $function$
