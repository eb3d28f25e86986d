/* Freshness: one row per raw table and model. */
MODEL (
  name ops.freshness,
  owner platform,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (
    table_name
  ),
  audits (
    UNIQUE_VALUES(columns := (
      table_name
    ))
  )
);

WITH loaded AS (
  SELECT
    'raw.' || event_type || '_events' AS table_name,
    MAX(last_event_ts) AS last_event_ts,
    MAX(committed_at) AS last_loaded_at
  FROM ops.ingestion_batches
  WHERE
    stored > 0 AND event_type IN (
      SELECT
        event_type
      FROM ops.event_types
    )
  GROUP BY
    event_type
  UNION ALL
  SELECT
    'raw.ad_spend' AS table_name,
    MAX(spend_date)::TIMESTAMP AS last_event_ts,
    MAX(ingested_at) AS last_loaded_at
  FROM raw.ad_spend
  UNION ALL
  SELECT
    'raw.user_profiles' AS table_name,
    MAX(updated_at) AS last_event_ts,
    MAX(ingested_at) AS last_loaded_at
  FROM raw.user_profiles
  UNION ALL
  SELECT
    model AS table_name,
    MAX(interval_end) AS last_event_ts,
    MAX(started_at) AS last_loaded_at
  FROM ops.model_runs
  WHERE
    status = 'succeeded' AND environment = 'prod'
  GROUP BY
    model
)
SELECT
  table_name::TEXT AS table_name, /* Raw table or model */
  last_event_ts::TIMESTAMP AS last_event_ts, /* Its newest event, or for a model the end of what it covers, UTC */
  last_loaded_at::TIMESTAMP AS last_loaded_at /* When it was last written, UTC */
FROM loaded
