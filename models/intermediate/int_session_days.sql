/* Days on which a client's session was seen, and under which user: one row per session, user and day. */
MODEL (
  name intermediate.int_session_days,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column seen_date,
    partition_by_time_column FALSE
  ),
  grain (session_id, user_id, seen_date),
  audits (
    NOT_NULL(columns := (session_id, seen_date, first_seen_at)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (session_id, user_id, seen_date)),
    ASSERT_NEVER(condition := first_seen_at::DATE <> seen_date)
  )
);

WITH events AS (
  SELECT
    session_id,
    user_id,
    event_ts
  FROM staging.stg_search_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
  UNION ALL
  SELECT
    session_id,
    user_id,
    event_ts
  FROM staging.stg_click_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
  UNION ALL
  SELECT
    session_id,
    user_id,
    event_ts
  FROM staging.stg_conversion_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
)
SELECT
  session_id::TEXT AS session_id, /* The client's session */
  user_id::TEXT AS user_id, /* The user that its events name; null for its anonymous events */
  event_ts::DATE AS seen_date, /* Day, UTC */
  MIN(event_ts)::TIMESTAMP AS first_seen_at /* Its first event of the day under that user, UTC */
FROM events
WHERE
  event_ts::DATE BETWEEN @start_ds AND @end_ds
GROUP BY
  session_id,
  user_id,
  event_ts::DATE
