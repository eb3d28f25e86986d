-- What became of each message of the outbox. Safe to run again; `activations.mail.ledger` runs it when it changed.
-- No address, no name, no text: those are in the outbox until a message is settled.
CREATE SCHEMA IF NOT EXISTS email;

CREATE TABLE IF NOT EXISTS email.messages (
    key text PRIMARY KEY,                    -- user, trigger, window
    user_id text NOT NULL,
    trigger text NOT NULL,
    entry text NOT NULL,                     -- its id in the outbox
    message_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'sending', 'sent', 'held', 'withdrawn', 'suppressed', 'capped',
        'expired', 'refused')),
    reason text,                             -- of the state, without personal data
    attempts integer NOT NULL DEFAULT 0,     -- how often the end of its data was sent
    failures integer NOT NULL DEFAULT 0,     -- how often the server asked to come back later
    queued_at timestamp NOT NULL,
    next_at timestamp NOT NULL,              -- not looked at before
    tried_at timestamp,                      -- when its end was last sent: what the caps count
    changed_at timestamp NOT NULL,
    resolved_by text,                        -- who decided about a message in doubt
    cleared boolean NOT NULL DEFAULT false); -- settled, and its entry removed from the outbox
CREATE INDEX IF NOT EXISTS messages_by_state ON email.messages (state, next_at);
CREATE INDEX IF NOT EXISTS messages_by_user ON email.messages (user_id, tried_at);
CREATE INDEX IF NOT EXISTS messages_to_clear ON email.messages (key) WHERE NOT cleared;

-- How far each outbox was taken.
CREATE TABLE IF NOT EXISTS email.positions (stream text PRIMARY KEY, entry text NOT NULL);
