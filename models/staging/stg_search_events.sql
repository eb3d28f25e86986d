/* Searches with typed fields: one row per search */
MODEL (
  name staging.stg_search_events,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (
    event_id
  ),
  audits (
    ASSERT_KNOWN(columns := (event_id, event_ts, session_id), time := event_ts),
    ASSERT_NOT_NEGATIVE(columns := (
      results_count
    ), time := event_ts, blocking := FALSE),
    ASSERT_RECENTLY_NEVER(condition := NOT unread IS NULL, time := event_ts, blocking := FALSE)
  )
);

SELECT
  event_id::TEXT AS event_id, /* The search */
  event_ts::TIMESTAMP AS event_ts, /* When it happened, UTC */
  session_id::TEXT AS session_id, /* The client's session */
  user_id::TEXT AS user_id, /* Null for an anonymous visitor */
  @JSON_TEXT(payload, '$.query')::TEXT AS query, /* What was typed; may be empty */
  @TO_DECIMAL(@JSON_TEXT(payload, '$.filters.price_min'), 18, 2)::DECIMAL(18, 2) AS price_min, /* Lowest price asked for */
  @TO_DECIMAL(@JSON_TEXT(payload, '$.filters.price_max'), 18, 2)::DECIMAL(18, 2) AS price_max, /* Highest price asked for */
  TRY_CAST(@JSON_TEXT(payload, '$.filters.dates[0]') AS DATE) AS check_in, /* First night or departure */
  TRY_CAST(@JSON_TEXT(payload, '$.filters.dates[1]') AS DATE) AS check_out, /* Last morning or return */
  TRY_CAST(@JSON_TEXT(payload, '$.filters.travelers') AS INT) AS travelers, /* How many travel */
  TRY_CAST(@JSON_TEXT(payload, '$.results_count') AS INT) AS results_count, /* Results found; 0 is a real value, null is unknown */
  COALESCE(TRY_CAST(@JSON_TEXT(payload, '$.page') AS INT), 1)::INT AS page, /* Page of results, from 1 */
  @JSON_TEXT(payload, '$.platform')::TEXT AS platform, /* web, ios, android; others are kept */
  @JSON_TEXT(payload, '$.device_type')::TEXT AS device_type, /* desktop, mobile, tablet; others are kept */
  @JSON_TEXT(payload, '$.geo.country')::TEXT AS country, /* ISO 3166 alpha-2 */
  @JSON_TEXT(payload, '$.geo.city')::TEXT AS city, /* City of the visitor */
  @JSON_TEXT(payload, '$.utm_source')::TEXT AS utm_source, /* Where the visit came from */
  @JSON_TEXT(payload, '$.utm_medium')::TEXT AS utm_medium, /* The kind of link that was followed */
  @JSON_TEXT(payload, '$.utm_campaign')::TEXT AS utm_campaign, /* The campaign of the link */
  ingested_at::TIMESTAMP AS ingested_at, /* When we knew, UTC */
  @UNREAD(
    payload,
    'filters.price_min: DECIMAL(18, 2)',
    'filters.price_max: DECIMAL(18, 2)',
    'filters.dates[0]: DATE',
    'filters.dates[1]: DATE',
    'filters.travelers: INT',
    'results_count: INT',
    'page: INT'
  )::TEXT AS unread /* Fields whose value does not fit its column: it is null here and kept in raw; null when all fit */
FROM raw.search_events
WHERE
  NOT event_id IN (
    SELECT
      event_id
    FROM ops.held_events
    WHERE
      event_type = 'search' AND released_at IS NULL
  )
