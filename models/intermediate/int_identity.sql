/* The owner of a client's session, before and after login: one row per session_id.
   A login can name a session of any age, so a run rebuilds the sessions that its days saw, from all days on which they were
   seen. The runner restates the days that a login renames. */
MODEL (
  name intermediate.int_identity,
  kind INCREMENTAL_BY_UNIQUE_KEY (
    unique_key session_id
  ),
  grain (
    session_id
  ),
  audits (
    NOT_NULL(columns := (session_id, visitor_id, first_seen_at)),
    UNIQUE_VALUES(
      columns := (
        session_id
      ),
      condition := session_id IN (
        SELECT
          session_id
        FROM intermediate.int_session_days
        WHERE
          seen_date BETWEEN @start_ds AND @end_ds
      )
    ),
    ASSERT_NEVER(condition := identified_at < first_seen_at OR last_seen_date < first_seen_at::DATE)
  )
);

WITH sightings AS (
  SELECT
    session_id,
    user_id,
    MIN(first_seen_at) AS first_seen_at,
    MAX(seen_date) AS last_seen_date
  FROM intermediate.int_session_days
  WHERE
    session_id IN (
      SELECT
        session_id
      FROM intermediate.int_session_days
      WHERE
        seen_date BETWEEN @start_ds AND @end_ds
    )
  GROUP BY
    session_id,
    user_id
), ranked /* The first to log in owns the session's anonymous part; a later user owns what is marked as theirs */ AS (
  SELECT
    session_id,
    user_id,
    first_seen_at,
    last_seen_date,
    ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY CASE WHEN user_id IS NULL THEN 1 ELSE 0 END, first_seen_at, user_id) AS login
  FROM sightings
)
SELECT
  session_id::TEXT AS session_id, /* The client's session */
  COALESCE(MAX(CASE WHEN login = 1 THEN user_id END), 'anon:' || session_id)::TEXT AS visitor_id, /* The user, or the session itself when no one logged in */
  MAX(CASE WHEN login = 1 THEN user_id END)::TEXT AS user_id, /* The first user who logged in; null when no one did */
  MIN(first_seen_at)::TIMESTAMP AS first_seen_at, /* First event, UTC */
  MAX(CASE WHEN login = 1 AND NOT user_id IS NULL THEN first_seen_at END)::TIMESTAMP AS identified_at, /* First event with that user, UTC */
  MAX(last_seen_date)::DATE AS last_seen_date /* Day of its last event, UTC: who wants the sessions of some days need not look at older ones */
FROM ranked
GROUP BY
  session_id
