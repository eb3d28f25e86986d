-- The audit log: append-only, each entry chained to the one before by its hash. In the catalog's database, so that a
-- commit of the lake and its entries are one transaction: neither exists without the other.
CREATE SCHEMA IF NOT EXISTS audit;

CREATE TABLE IF NOT EXISTS audit.log (
    sequence bigint PRIMARY KEY,
    logged_at timestamptz NOT NULL,
    actor text NOT NULL,       -- who was connected, as the server found out (audit.account)
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

-- Decisions of people are entered by roles that make them (`searchflow roles create` says which); everything else by each role that
-- may insert. The owner is not bound by this.
ALTER TABLE audit.log ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS no_decisions ON audit.log;
CREATE POLICY no_decisions ON audit.log FOR INSERT
    WITH CHECK (action IN ('run', 'read', 'write', 'define', 'maintain', 'send', 'export', 'trim'));

-- Who is connected, as the server found out and not as the client says: the role that logged in, which SET ROLE does not
-- change. Over a Unix socket with `peer` it asked the operating system; the embedded server has one role for everything.
DO $$
DECLARE
    account text := 'session_user::text';
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        account := $sql$CASE WHEN system_user NOT LIKE 'peer:%' THEN session_user::text
            WHEN session_user = pg_get_userbyid(10) OR session_user = substr(system_user, 6) THEN substr(system_user, 6)
            ELSE substr(system_user, 6) || ' as ' || session_user END$sql$;
    END IF;
    EXECUTE format('CREATE OR REPLACE FUNCTION audit.account() RETURNS text LANGUAGE sql STABLE
        SET search_path = pg_catalog, pg_temp AS %L', 'SELECT coalesce(' || account || ', session_user::text)');
END $$;

-- What the hash of an entry covers; `searchflow audit verify` computes the same from its own text.
-- A function that runs with the owner's rights, as this one, reads and calls only what the owner alone can define.
CREATE OR REPLACE FUNCTION audit.chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last record;
    caller text[] := string_to_array(current_setting('application_name'), '|');
    claimed text := nullif(caller[2], '');
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock(5927101);
    SELECT l.sequence, l.hash INTO last FROM audit.log l ORDER BY l.sequence DESC LIMIT 1;
    NEW.sequence := coalesce(last.sequence, 0) + 1;
    NEW.previous_hash := coalesce(last.hash, '');
    NEW.logged_at := clock_timestamp();
    NEW.actor := audit.account();
    IF claimed <> split_part(NEW.actor, ' as ', 1) THEN  -- of several accounts that share a role, the client may tell which
        NEW.detail := NEW.detail || ' [the client says: ' || claimed || ']';
    END IF;
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
    SET search_path = pg_catalog, pg_temp AS 'SELECT h.sequence, h.hash FROM audit.head h';

-- A table of the catalog by its name, if rows of it may be counted: an ordinary table that the lake's owner or the role that
-- is at work has made. The names come from tables that every writing role may fill, and what another role has made may run
-- that role's functions with our rights. Null: there is none; 0: it may not be counted.
CREATE OR REPLACE FUNCTION audit.countable(named text) RETURNS regclass LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN c.relkind = 'r' AND c.relowner IN (me.oid, owner.relowner)
        THEN c.oid::regclass ELSE 0::regclass END
    FROM pg_class c, pg_class owner, pg_roles me
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname = named AND owner.oid = 'audit.log'::regclass
        AND me.rolname = current_user
$$;

-- Rows of a table that begin or end with a snapshot; null when they may not be counted.
CREATE OR REPLACE FUNCTION audit.counted(named text, boundary text, snapshot bigint) RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    place regclass := audit.countable(named);
    found bigint;
BEGIN
    IF place IS NULL THEN
        RETURN 0;
    ELSIF place = 0::regclass THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT count(*) FROM %s WHERE %I = $1', place, boundary) INTO found USING snapshot;
    RETURN found;
END $$;

-- Rows that a snapshot added to a table: in files, and in the catalog itself (small commits are inlined). Null: not known.
CREATE OR REPLACE FUNCTION audit.rows_added(snapshot bigint, of_table bigint) RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint;
    inlined record;
BEGIN
    SELECT coalesce(sum(record_count), 0) INTO total
    FROM public.ducklake_data_file WHERE begin_snapshot = snapshot AND table_id = of_table;
    FOR inlined IN SELECT table_name FROM public.ducklake_inlined_data_tables WHERE table_id = of_table LOOP
        total := total + audit.counted(inlined.table_name, 'begin_snapshot', snapshot);
    END LOOP;
    RETURN total;
END $$;

-- Rows that a snapshot took from a table. A delete file replaces the one before it and holds its rows too.
CREATE OR REPLACE FUNCTION audit.rows_removed(snapshot bigint, of_table bigint) RETURNS bigint LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint;
    inlined record;
BEGIN
    SELECT coalesce(sum(CASE WHEN begin_snapshot = snapshot THEN delete_count ELSE -delete_count END), 0) INTO total
    FROM public.ducklake_delete_file WHERE snapshot IN (begin_snapshot, end_snapshot) AND table_id = of_table;
    SELECT total + coalesce(sum(record_count), 0) INTO total
    FROM public.ducklake_data_file WHERE end_snapshot = snapshot AND table_id = of_table;
    total := total + audit.counted('ducklake_inlined_delete_' || of_table, 'begin_snapshot', snapshot);
    FOR inlined IN SELECT table_name FROM public.ducklake_inlined_data_tables WHERE table_id = of_table LOOP
        total := total + audit.counted(inlined.table_name, 'end_snapshot', snapshot);
    END LOOP;
    RETURN total;
END $$;

-- One entry a table that a commit of the lake touched, from any process, with the commit's message if it has one. With the
-- rights of the role that commits.
CREATE OR REPLACE FUNCTION audit.lake_commit() RETURNS trigger LANGUAGE plpgsql SECURITY INVOKER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO audit.log (action, object, rows, detail)
    SELECT action, name,
        CASE WHEN (adds AND added IS NULL) OR (removes AND removed IS NULL) THEN NULL ELSE greatest(added, removed) END,
        changed || coalesce(', ' || nullif(removed, 0) || ' rows removed', '') || ', snapshot ' || NEW.snapshot_id
            || coalesce(': ' || NEW.commit_message, '')
    FROM (
    SELECT CASE WHEN bool_or(change ~ 'insert|delete') THEN 'write'
                WHEN bool_or(change ~ 'created|altered|dropped') THEN 'define' ELSE 'maintain' END AS action,
        name,
        bool_or(change ~ 'insert|delete') AND max(id) IS NOT NULL AS adds,
        bool_or(change ~ 'delete') AND max(id) IS NOT NULL AS removes,
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

-- DuckLake reads the tables that its catalog names, and every writing role may name some: no session of this database follows
-- a name to a view, whose functions would run with that session's rights. Older servers do not know the setting.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind') THEN
        EXECUTE format('ALTER DATABASE %I SET restrict_nonsystem_relation_kind = %L', current_database(), 'view, foreign-table');
    END IF;
END $$;
