-- The audit log: append-only, each entry chained to the one before by its hash. In the catalog's database, so that a
-- commit of the lake and its entries are one transaction: neither exists without the other.
CREATE SCHEMA IF NOT EXISTS audit;

CREATE TABLE IF NOT EXISTS audit.log (
    sequence bigint PRIMARY KEY,
    logged_at timestamptz NOT NULL,
    actor text NOT NULL,       -- operating-system user, or the role that was connected
    process text NOT NULL,     -- the command or flow
    run_id text NOT NULL,      -- the flow run, empty outside of one
    action text NOT NULL,      -- run, read, write, define, maintain, send, approve, undo, export, grant, trim
    object text NOT NULL,      -- a table, a destination
    rows bigint,               -- how many, where that is known
    detail text NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL
);

-- The newest entry once more: without it, entries cut off the end would leave a chain that is whole.
CREATE TABLE IF NOT EXISTS audit.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    sequence bigint NOT NULL,
    hash text NOT NULL
);
INSERT INTO audit.head (sequence, hash)
    SELECT sequence, hash FROM audit.log ORDER BY sequence DESC LIMIT 1 ON CONFLICT DO NOTHING;

-- What the hash of an entry covers; `searchflow audit verify` computes the same from its own text.
CREATE OR REPLACE FUNCTION audit.chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    last record;
    caller text[] := string_to_array(current_setting('application_name'), '|');
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(5927101);
    SELECT l.sequence, l.hash INTO last FROM audit.log l ORDER BY l.sequence DESC LIMIT 1;
    NEW.sequence := coalesce(last.sequence, 0) + 1;
    NEW.previous_hash := coalesce(last.hash, '');
    NEW.logged_at := clock_timestamp();
    NEW.actor := coalesce(nullif(caller[2], ''), session_user::text);
    NEW.process := coalesce(nullif(caller[1], ''), 'unknown');
    NEW.run_id := coalesce(caller[3], '');
    NEW.hash := encode(sha256(convert_to(jsonb_build_array(
        NEW.sequence, extract(epoch FROM NEW.logged_at), NEW.actor, NEW.process, NEW.run_id, NEW.action, NEW.object,
        NEW.rows, NEW.detail, NEW.previous_hash)::text, 'UTF8')), 'hex');
    INSERT INTO audit.head (sequence, hash) VALUES (NEW.sequence, NEW.hash)
        ON CONFLICT (one) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION audit.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit.log is append-only';
END $$;

CREATE OR REPLACE TRIGGER chain BEFORE INSERT ON audit.log FOR EACH ROW EXECUTE FUNCTION audit.chain();
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit.log FOR EACH ROW EXECUTE FUNCTION audit.refuse();
CREATE OR REPLACE TRIGGER never_truncated BEFORE TRUNCATE ON audit.log EXECUTE FUNCTION audit.refuse();

-- The newest entry's number and hash, for the anchors: also for roles that may add to the log but not read it.
CREATE OR REPLACE FUNCTION audit.newest() RETURNS TABLE (sequence bigint, hash text) LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = '' AS 'SELECT h.sequence, h.hash FROM audit.head h';

-- Rows that a snapshot added to a table: in files, and in the catalog itself (small commits are inlined).
CREATE OR REPLACE FUNCTION audit.rows_added(snapshot bigint, of_table bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    total bigint;
    part bigint;
    inlined record;
BEGIN
    SELECT coalesce(sum(record_count), 0) INTO total
    FROM public.ducklake_data_file WHERE begin_snapshot = snapshot AND table_id = of_table;
    FOR inlined IN SELECT table_name FROM public.ducklake_inlined_data_tables WHERE table_id = of_table LOOP
        EXECUTE format('SELECT count(*) FROM public.%I WHERE begin_snapshot = $1', inlined.table_name)
            INTO part USING snapshot;
        total := total + part;
    END LOOP;
    RETURN total;
END $$;

-- Rows that a snapshot took from a table. A delete file replaces the one before it and holds its rows too.
CREATE OR REPLACE FUNCTION audit.rows_removed(snapshot bigint, of_table bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    total bigint;
    part bigint;
    inlined record;
    listed text := 'public.ducklake_inlined_delete_' || of_table;
BEGIN
    SELECT coalesce(sum(CASE WHEN begin_snapshot = snapshot THEN delete_count ELSE -delete_count END), 0) INTO total
    FROM public.ducklake_delete_file WHERE snapshot IN (begin_snapshot, end_snapshot) AND table_id = of_table;
    SELECT total + coalesce(sum(record_count), 0) INTO total
    FROM public.ducklake_data_file WHERE end_snapshot = snapshot AND table_id = of_table;
    IF to_regclass(listed) IS NOT NULL THEN
        EXECUTE format('SELECT count(*) FROM %s WHERE begin_snapshot = $1', listed) INTO part USING snapshot;
        total := total + part;
    END IF;
    FOR inlined IN SELECT table_name FROM public.ducklake_inlined_data_tables WHERE table_id = of_table LOOP
        EXECUTE format('SELECT count(*) FROM public.%I WHERE end_snapshot = $1', inlined.table_name)
            INTO part USING snapshot;
        total := total + part;
    END LOOP;
    RETURN total;
END $$;

-- One entry a table that a commit of the lake touched, whoever committed it, with the commit's message if it has one.
CREATE OR REPLACE FUNCTION audit.lake_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO audit.log (action, object, rows, detail)
    SELECT action, name, greatest(added, removed),
        changed || coalesce(', ' || nullif(removed, 0) || ' rows removed', '') || ', snapshot ' || NEW.snapshot_id
            || coalesce(': ' || NEW.commit_message, '')
    FROM (
    SELECT CASE WHEN bool_or(change ~ 'insert|delete') THEN 'write'
                WHEN bool_or(change ~ 'created|altered|dropped') THEN 'define' ELSE 'maintain' END AS action,
        name,
        CASE WHEN bool_or(change ~ 'insert|delete') AND max(id) IS NOT NULL
             THEN audit.rows_added(NEW.snapshot_id, max(id)) END AS added,
        CASE WHEN bool_or(change ~ 'delete') AND max(id) IS NOT NULL
             THEN audit.rows_removed(NEW.snapshot_id, max(id)) END AS removed,
        string_agg(DISTINCT replace(change, '_', ' '), ', ') AS changed
    FROM (
        SELECT made[1] AS change, made[3]::bigint AS id, coalesce(
            (SELECT s.schema_name || '.' || t.table_name
             FROM public.ducklake_table t JOIN public.ducklake_schema s USING (schema_id)
             WHERE t.table_id = made[3]::bigint ORDER BY t.begin_snapshot DESC LIMIT 1),
            replace(made[2], '"', '')) AS name
        FROM regexp_matches(NEW.changes_made, '(\w+):((\d+)|"[^"]*"(?:\."[^"]*")?)', 'g') AS made
    ) AS changes GROUP BY name) AS entries ORDER BY name;
    RETURN NULL;
END $$;

DO $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'audit_lake_commit') THEN
        CREATE CONSTRAINT TRIGGER audit_lake_commit AFTER INSERT ON public.ducklake_snapshot_changes
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit.lake_commit();
    END IF;
END $$;
