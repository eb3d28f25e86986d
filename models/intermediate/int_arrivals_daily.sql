/* How long events took to arrive: one row per day of the event, type and lateness bucket.
   Only events of live batches tell: a batch counts as live when ingestion had caught up with the present, nothing in it is older
   than a week, and most of it was on time. A loaded history says nothing about lateness. */
MODEL (
  name intermediate.int_arrivals_daily,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column event_date,
    partition_by_time_column FALSE
  ),
  grain (event_date, event_type, within_hours),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (event_date, event_type, within_hours)),
    ASSERT_NEVER(condition := live_events > events OR events < 1)
  )
);

WITH events AS (
  SELECT
    'search' AS event_type,
    event_ts,
    ingested_at,
    batch_id
  FROM raw.search_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
  UNION ALL
  SELECT
    'click' AS event_type,
    event_ts,
    ingested_at,
    batch_id
  FROM raw.click_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
  UNION ALL
  SELECT
    'conversion' AS event_type,
    event_ts,
    ingested_at,
    batch_id
  FROM raw.conversion_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
), live AS (
  SELECT DISTINCT
    batch_id
  FROM ops.ingestion_batches
  WHERE
    last_event_ts >= committed_at - @HOURS(1)
    AND first_event_ts >= committed_at - @HOURS(168)
    AND late * 2 <= stored
), bucketed AS (
  SELECT
    events.event_ts::DATE AS event_date,
    events.event_type,
    live.batch_id AS live_batch_id,
    CASE
      WHEN events.ingested_at <= events.event_ts + @HOURS(1)
      THEN 1
      WHEN events.ingested_at <= events.event_ts + @HOURS(6)
      THEN 6
      WHEN events.ingested_at <= events.event_ts + @HOURS(24)
      THEN 24
      WHEN events.ingested_at <= events.event_ts + @HOURS(72)
      THEN 72
      WHEN events.ingested_at <= events.event_ts + @HOURS(168)
      THEN 168
      ELSE 720
    END AS within_hours
  FROM events
  LEFT JOIN live
    ON live.batch_id = events.batch_id
)
SELECT
  event_date::DATE AS event_date, /* Day of the event, UTC */
  event_type::TEXT AS event_type, /* search, click, conversion */
  within_hours::INT AS within_hours, /* Arrived within so many hours; 720 is later than a week */
  COUNT(*)::BIGINT AS events, /* Events of the day that did */
  COUNT(live_batch_id)::BIGINT AS live_events /* ... that were ingested live */
FROM bucketed
WHERE
  event_date BETWEEN @start_ds AND @end_ds
GROUP BY
  event_date,
  event_type,
  within_hours
