/* The lateness curve, which share of events arrives within how long: one row per bucket.
   Learnt from live events of the last 90 days; until there are enough, an assumed curve weighs as much as 1,000 of them. */
MODEL (
  name ops.lateness,
  owner platform,
  kind FULL,
  grain (
    within_hours
  ),
  audits (
    UNIQUE_VALUES(columns := (
      within_hours
    )),
    ASSERT_NEVER(condition := share_arrived < 0 OR share_arrived > 1)
  )
);

WITH assumed AS (
  SELECT
    1 AS within_hours,
    0.97 AS share
  UNION ALL
  SELECT
    6 AS within_hours,
    0.01 AS share
  UNION ALL
  SELECT
    24 AS within_hours,
    0.01 AS share
  UNION ALL
  SELECT
    72 AS within_hours,
    0.006 AS share
  UNION ALL
  SELECT
    168 AS within_hours,
    0.0035 AS share
  UNION ALL
  SELECT
    720 AS within_hours,
    0.0005 AS share
), observed AS (
  SELECT
    within_hours,
    SUM(live_events) AS live_events
  FROM intermediate.int_arrivals_daily
  WHERE
    event_date >= @execution_ds::DATE - @DAYS(@lateness_days)
  GROUP BY
    within_hours
), weighed AS (
  SELECT
    assumed.within_hours,
    COALESCE(observed.live_events, 0) AS live_events,
    assumed.share * @lateness_prior_events + COALESCE(observed.live_events, 0) AS weight
  FROM assumed
  LEFT JOIN observed
    ON observed.within_hours = assumed.within_hours
)
SELECT
  within_hours::INT AS within_hours, /* Arrived within so many hours; 720 is later than a week */
  live_events::BIGINT AS live_events, /* Live events seen in this bucket */
  (
    weight / SUM(weight) OVER ()
  )::DOUBLE AS share, /* Share of events that arrive in this bucket */
  LEAST(SUM(weight) OVER (ORDER BY within_hours) / SUM(weight) OVER (), 1)::DOUBLE AS share_arrived /* Share of events that have arrived by then */
FROM weighed
