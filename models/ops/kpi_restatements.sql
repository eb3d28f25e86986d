/* Key figures of closed days that changed later: one row per day, figure and change, with the late events behind it.
   Each transformation compares the closed days of marts.mart_kpi_daily with what it last knew (ops.kpi_versions,
   searchflow/transformation/restatements.py). A day's first value is no restatement. */
MODEL (
  name ops.kpi_restatements,
  owner platform,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (kpi_date, metric, restated_at),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (kpi_date, metric, restated_at)),
    NOT_NULL(columns := (kpi_date, metric, old_value, new_value, restated_at)),
    ASSERT_NEVER(condition := old_value = new_value OR restated_at <= known_since)
  )
);

SELECT
  kpi_date::DATE AS kpi_date, /* The day whose figure changed, UTC */
  metric::TEXT AS metric, /* searches, sessions, clicks, conversions, revenue */
  previous_value::DOUBLE AS old_value, /* The figure before the change; money in the reporting currency */
  value::DOUBLE AS new_value, /* The figure since then */
  (
    value - previous_value
  )::DOUBLE AS change, /* The difference between the two values */
  previous_at::TIMESTAMP AS known_since, /* Until when events were in the old value, UTC */
  recorded_at::TIMESTAMP AS restated_at, /* Until when events are in the new value, UTC */
  late_searches::BIGINT AS late_searches, /* Searches of the day that arrived between the two */
  late_clicks::BIGINT AS late_clicks, /* Clicks of the day that arrived between the two */
  late_conversions::BIGINT AS late_conversions, /* Bookings of the day that arrived between the two */
  COALESCE(late_events, late_searches + late_clicks + late_conversions)::BIGINT AS late_events, /* Events of the day, of any type, that arrived between the two */
  CASE
    WHEN COALESCE(late_events, late_searches + late_clicks + late_conversions) > 0
    THEN 'late events'
    ELSE 'events of other days'
  END::TEXT AS cause, /* Events of other days: a click on the day's search, a login, a session over midnight; or an erasure */
  batches::TEXT[] AS batches, /* The commits of ingestion that brought the late events */
  run_id::TEXT AS run_id /* The transformation that noticed (ops.model_runs) */
FROM ops.kpi_versions
WHERE
  NOT previous_value IS NULL
