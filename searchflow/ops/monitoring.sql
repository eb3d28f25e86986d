-- What monitoring must remember between its looks, and must not lose when it is killed. In the ledger's database.
CREATE SCHEMA IF NOT EXISTS monitoring;

-- Runs that have begun and not ended. Each holds the advisory lock (5927103, ticket) while it lives: the server gives it
-- up when the process ends, however it ends.
CREATE TABLE IF NOT EXISTS monitoring.running (
    ticket integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL,
    stage text NOT NULL,
    started_at timestamptz NOT NULL
);

-- The last state of each service level that is known.
CREATE TABLE IF NOT EXISTS monitoring.level_states (
    level text,
    target text,
    breached boolean NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (level, target)
);

-- What people are told: one notice a level and change, written in the transaction that changes its state.
CREATE TABLE IF NOT EXISTS monitoring.notices (
    notice_id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    kind text NOT NULL,                             -- breach, recovery
    payload jsonb NOT NULL,
    event_sent boolean NOT NULL DEFAULT FALSE,
    webhook text NOT NULL DEFAULT 'waiting',        -- waiting, sent, none (no webhook is set), given up
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    problem text
);
