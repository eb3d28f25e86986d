/* How long events took to arrive: one row per day of arrival and event type.
   Ingestion measures it in each commit (ops.arrivals, searchflow/ingestion/lateness.py); here it is summed. Only live commits tell: a
   loaded history says nothing about lateness. */
MODEL (
  name intermediate.int_arrivals_daily,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column arrival_date,
    partition_by_time_column FALSE
  ),
  grain (arrival_date, event_type),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (arrival_date, event_type)),
    NOT_NULL(columns := (arrival_date, event_type, events, live_events)),
    ASSERT_NEVER(
      condition := live_events > events
      OR within_1m > within_5m
      OR within_5m > within_1h
      OR within_1h > within_6h
      OR within_6h > within_24h
      OR within_24h > within_72h
      OR within_72h > within_168h
      OR within_168h > live_events
    )
  )
);

SELECT
  committed_at::DATE AS arrival_date, /* Day on which they arrived, UTC */
  event_type::TEXT AS event_type, /* A declared event type (ops.event_types) */
  SUM(events)::BIGINT AS events, /* Events that arrived */
  SUM(CASE WHEN live THEN events ELSE 0 END)::BIGINT AS live_events, /* ... in live commits */
  SUM(CASE WHEN live THEN within_1m ELSE 0 END)::BIGINT AS within_1m, /* ... of these, at most a minute after they happened */
  SUM(CASE WHEN live THEN within_5m ELSE 0 END)::BIGINT AS within_5m, /* ... 5 minutes */
  SUM(CASE WHEN live THEN within_1h ELSE 0 END)::BIGINT AS within_1h, /* ... an hour */
  SUM(CASE WHEN live THEN within_6h ELSE 0 END)::BIGINT AS within_6h, /* ... 6 hours */
  SUM(CASE WHEN live THEN within_24h ELSE 0 END)::BIGINT AS within_24h, /* ... a day */
  SUM(CASE WHEN live THEN within_72h ELSE 0 END)::BIGINT AS within_72h, /* ... 3 days */
  SUM(CASE WHEN live THEN within_168h ELSE 0 END)::BIGINT AS within_168h /* ... a week */
FROM ops.arrivals
WHERE
  committed_at >= @start_ds::TIMESTAMP
  AND committed_at < @end_ds::TIMESTAMP + @DAYS(1)
  AND @KNOWN(committed_at)
  AND committed_at::DATE BETWEEN @start_ds AND @end_ds
GROUP BY
  committed_at::DATE,
  event_type
