/* The lateness curve, which share of events arrives within how long: one row per event type ('all' too) and step.
   Learnt from live events of the last 90 days; until there are enough, an assumed curve weighs as much as 1,000 of them. It is
   what `searchflow lateness` shows, with the assumption, and what tells how final a day is (marts.mart_kpi_daily). */
MODEL (
  name ops.lateness,
  owner platform,
  kind FULL,
  grain (event_type, within_minutes),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (event_type, within_minutes)),
    NOT_NULL(columns := (event_type, within_minutes, live_events, share, share_arrived)),
    ASSERT_NEVER(condition := share < 0 OR share_arrived < 0 OR share_arrived > 1)
  )
);

WITH assumed AS (
  SELECT
    1 AS within_minutes,
    0.8 AS share
  UNION ALL
  SELECT
    5,
    0.12
  UNION ALL
  SELECT
    60,
    0.05
  UNION ALL
  SELECT
    360,
    0.01
  UNION ALL
  SELECT
    1440,
    0.01
  UNION ALL
  SELECT
    4320,
    0.006
  UNION ALL
  SELECT
    10080,
    0.0035
  UNION ALL
  SELECT
    43200,
    0.0005
), recent AS (
  SELECT
    event_type,
    live_events,
    within_1m,
    within_5m,
    within_1h,
    within_6h,
    within_24h,
    within_72h,
    within_168h
  FROM intermediate.int_arrivals_daily
  WHERE
    arrival_date >= @execution_ds::DATE - @DAYS(@lateness_days)
), kinds AS (
  SELECT
    event_type,
    event_type AS counted
  FROM ops.event_types
  UNION ALL
  SELECT
    'all',
    event_type
  FROM ops.event_types
), observed AS (
  SELECT
    kinds.event_type,
    COALESCE(SUM(recent.live_events), 0) AS live_events,
    COALESCE(SUM(recent.within_1m), 0) AS within_1m,
    COALESCE(SUM(recent.within_5m), 0) AS within_5m,
    COALESCE(SUM(recent.within_1h), 0) AS within_1h,
    COALESCE(SUM(recent.within_6h), 0) AS within_6h,
    COALESCE(SUM(recent.within_24h), 0) AS within_24h,
    COALESCE(SUM(recent.within_72h), 0) AS within_72h,
    COALESCE(SUM(recent.within_168h), 0) AS within_168h
  FROM kinds
  LEFT JOIN recent
    ON recent.event_type = kinds.counted
  GROUP BY
    kinds.event_type
), steps AS (
  SELECT
    observed.event_type,
    assumed.within_minutes,
    assumed.share AS assumed_share,
    CASE assumed.within_minutes
      WHEN 1
      THEN observed.within_1m
      WHEN 5
      THEN observed.within_5m - observed.within_1m
      WHEN 60
      THEN observed.within_1h - observed.within_5m
      WHEN 360
      THEN observed.within_6h - observed.within_1h
      WHEN 1440
      THEN observed.within_24h - observed.within_6h
      WHEN 4320
      THEN observed.within_72h - observed.within_24h
      WHEN 10080
      THEN observed.within_168h - observed.within_72h
      ELSE observed.live_events - observed.within_168h
    END AS live_events
  FROM observed
  CROSS JOIN assumed
), weighed AS (
  SELECT
    event_type,
    within_minutes,
    live_events,
    assumed_share * @lateness_prior_events + live_events AS weight
  FROM steps
)
SELECT
  event_type::TEXT AS event_type, /* A declared event type (ops.event_types), or all of them */
  within_minutes::INT AS within_minutes, /* Arrived within so many minutes and not within the step before; 43200 is later than a week */
  live_events::BIGINT AS live_events, /* Live events seen in this step */
  (
    weight / SUM(weight) OVER (PARTITION BY event_type)
  )::DOUBLE AS share, /* Share of events that arrive in this step */
  LEAST(
    SUM(weight) OVER (PARTITION BY event_type ORDER BY within_minutes) / SUM(weight) OVER (PARTITION BY event_type),
    1
  )::DOUBLE AS share_arrived /* Share of events that have arrived by then */
FROM weighed
