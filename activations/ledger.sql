-- The ledger's tables, safe to run again. `activations.ledger` runs it when its text is not the one that ran last.
CREATE SCHEMA IF NOT EXISTS activation;

-- One row per sync and key that the destination holds, as far as it told us.
CREATE TABLE IF NOT EXISTS activation.sent (
    sync text NOT NULL, key text NOT NULL, hash uuid NOT NULL, row text, run_id text NOT NULL,
    sent_at timestamp NOT NULL, PRIMARY KEY (sync, key));
ALTER TABLE activation.sent ADD COLUMN IF NOT EXISTS sequence bigint;  -- the batch that wrote it
-- The last write's entry of the log stays with the row, until the next write moves it to `row_log`: a first run writes one
-- table instead of two. Null where it is in `row_log` (an earlier version wrote it) or too old to be kept.
ALTER TABLE activation.sent ADD COLUMN IF NOT EXISTS kind text;
ALTER TABLE activation.sent ADD COLUMN IF NOT EXISTS before text;
ALTER TABLE activation.sent ADD COLUMN IF NOT EXISTS before_hash uuid;

-- Rows that are not tried again until they change.
CREATE TABLE IF NOT EXISTS activation.rejected (
    sync text NOT NULL, key text NOT NULL, hash uuid NOT NULL, reason text NOT NULL, run_id text NOT NULL,
    rejected_at timestamp NOT NULL, PRIMARY KEY (sync, key, hash));

-- One row per acknowledged batch.
CREATE TABLE IF NOT EXISTS activation.batches (
    sync text NOT NULL, sequence bigint NOT NULL, run_id text NOT NULL, operation text NOT NULL, sent integer NOT NULL,
    rejected integer NOT NULL, repeated integer NOT NULL, acknowledged_at timestamp NOT NULL,
    PRIMARY KEY (sync, sequence));
ALTER TABLE activation.batches ADD COLUMN IF NOT EXISTS seen_at timestamp;  -- a reconciliation found it there

-- What was done with each row of each batch, and what was there before, unless it is the row's last write (see `sent`).
CREATE TABLE IF NOT EXISTS activation.row_log (
    run_id text NOT NULL, sync text NOT NULL, key text NOT NULL, kind text NOT NULL, status text NOT NULL, reason text,
    before text, logged_at timestamp NOT NULL);
ALTER TABLE activation.row_log ADD COLUMN IF NOT EXISTS sequence bigint;
ALTER TABLE activation.row_log ADD COLUMN IF NOT EXISTS before_hash uuid;  -- also where the row may not be kept
CREATE INDEX IF NOT EXISTS row_log_of_key ON activation.row_log (key);
CREATE INDEX IF NOT EXISTS row_log_of_run ON activation.row_log USING brin (run_id);  -- runs lie one after the other
DROP INDEX IF EXISTS activation.row_log_by_key, activation.row_log_by_run;

-- The whole log: undo, reconciliation and explanations read it.
CREATE OR REPLACE VIEW activation.all_rows AS
    SELECT run_id, sync, key, kind, status, reason, before, logged_at, sequence, before_hash FROM activation.row_log
    UNION ALL
    SELECT run_id, sync, key, kind, 'sent'::text, NULL::text, before, sent_at, sequence, before_hash
    FROM activation.sent WHERE kind IS NOT NULL;

-- Runs from before this moment have left the log (`activations.retention`).
CREATE TABLE IF NOT EXISTS activation.horizon (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), kept_from timestamp NOT NULL);

-- Syncs of which a run was undone: they wait until a user approves.
CREATE TABLE IF NOT EXISTS activation.holds (
    sync text PRIMARY KEY, run_id text NOT NULL, held_by text NOT NULL, held_at timestamp NOT NULL);

-- Keys that a run set out to write, one row per batch. When it is killed, no one knows what the destination holds of those
-- it has no record of. An earlier version had one row per key, under the number of the run's first batch.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('activation.in_flight') AND attname = 'key') THEN
        ALTER TABLE activation.in_flight RENAME TO in_flight_by_key;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS activation.in_flight (
    sync text NOT NULL, run_id text NOT NULL, sequence bigint NOT NULL, keys text[] NOT NULL);
ALTER TABLE activation.in_flight ALTER COLUMN keys SET STORAGE EXTERNAL;  -- compressing them costs more than it saves
DO $$ BEGIN
    IF to_regclass('activation.in_flight_by_key') IS NOT NULL THEN
        INSERT INTO activation.in_flight  -- as another run: the record of its first batch says nothing of the others
            SELECT sync, run_id || '+', sequence, array_agg(key) FROM activation.in_flight_by_key GROUP BY 1, 2, 3;
        DROP TABLE activation.in_flight_by_key;
    END IF;
END $$;

-- How many rows each group of a sync had (`limits.groups`) after the last runs that sent something.
CREATE TABLE IF NOT EXISTS activation.group_sizes (
    sync text NOT NULL, sequence bigint NOT NULL, value text NOT NULL, rows bigint NOT NULL,  -- the batch that comes next
    PRIMARY KEY (sync, sequence, value));

-- The row log for people: `searchflow query "SELECT * FROM ledger.activation.sync_rows ..."`. An operation of null was
-- never sent: the row breaks the sync's own rules.
CREATE OR REPLACE VIEW activation.sync_rows AS
    SELECT l.run_id, l.sync, l.key AS id, b.operation, l.kind, l.status, l.reason, l.logged_at AS at
    FROM activation.all_rows l LEFT JOIN activation.batches b ON b.sync = l.sync AND b.sequence = l.sequence;
