-- Who was forgotten, as keyed digests: no one can read a person out of them, and ingestion recognises the person again.
CREATE SCHEMA IF NOT EXISTS erasure;

CREATE TABLE IF NOT EXISTS erasure.tombstones (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,  -- HMAC-SHA256 of kind and identifier, its first 16 bytes
    erasure_id text NOT NULL,
    made_at timestamp NOT NULL);

-- A digest of nothing, by which another key is noticed.
CREATE TABLE IF NOT EXISTS erasure.key_check (digest bytea NOT NULL);
