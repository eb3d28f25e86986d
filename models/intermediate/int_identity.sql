/* Who a client's session belongs to, before and after login: one row per session_id.
   Made anew at each run from all history: a login can name a session of any age. The runner restates the days it renames. */
MODEL (
  name intermediate.int_identity,
  kind FULL,
  grain (
    session_id
  ),
  audits (
    UNIQUE_VALUES(columns := (
      session_id
    )),
    NOT_NULL(columns := (session_id, visitor_id, first_seen_at)),
    ASSERT_NEVER(condition := identified_at < first_seen_at)
  )
);

WITH events AS (
  SELECT
    session_id,
    user_id,
    event_ts
  FROM staging.stg_search_events
  WHERE
    @KNOWN(ingested_at)
  UNION ALL
  SELECT
    session_id,
    user_id,
    event_ts
  FROM staging.stg_click_events
  WHERE
    @KNOWN(ingested_at)
  UNION ALL
  SELECT
    session_id,
    user_id,
    event_ts
  FROM staging.stg_conversion_events
  WHERE
    @KNOWN(ingested_at)
), sightings AS (
  SELECT
    session_id,
    user_id,
    MIN(event_ts) AS first_seen_at
  FROM events
  GROUP BY
    session_id,
    user_id
), ranked /* The first to log in owns the session's anonymous part; a later user owns what is marked as theirs */ AS (
  SELECT
    session_id,
    user_id,
    first_seen_at,
    ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY CASE WHEN user_id IS NULL THEN 1 ELSE 0 END, first_seen_at, user_id) AS login
  FROM sightings
)
SELECT
  session_id::TEXT AS session_id, /* The client's session */
  COALESCE(MAX(CASE WHEN login = 1 THEN user_id END), 'anon:' || session_id)::TEXT AS visitor_id, /* The user, or the session itself when nobody logged in */
  MAX(CASE WHEN login = 1 THEN user_id END)::TEXT AS user_id, /* The first user who logged in; null when nobody did */
  MIN(first_seen_at)::TIMESTAMP AS first_seen_at, /* First event, UTC */
  MAX(CASE WHEN login = 1 AND NOT user_id IS NULL THEN first_seen_at END)::TIMESTAMP AS identified_at /* First event with that user, UTC */
FROM ranked
GROUP BY
  session_id
