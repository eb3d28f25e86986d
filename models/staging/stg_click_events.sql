/* Clicks on results with typed fields: one row per click */
MODEL (
  name staging.stg_click_events,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (
    event_id
  ),
  audits (
    ASSERT_KNOWN(columns := (event_id, event_ts, session_id, search_event_id), time := event_ts),
    ASSERT_NOT_NEGATIVE(columns := (result_position, result_price), time := event_ts, blocking := FALSE),
    ASSERT_RECENTLY_NEVER(condition := NOT unread IS NULL, time := event_ts, blocking := FALSE)
  )
);

SELECT
  event_id::TEXT AS event_id, /* The click */
  event_ts::TIMESTAMP AS event_ts, /* When it happened, UTC */
  session_id::TEXT AS session_id, /* The client's session */
  user_id::TEXT AS user_id, /* Null for an anonymous visitor */
  LOWER(@JSON_TEXT(payload, '$.search_event_id'))::TEXT AS search_event_id, /* The search that showed the result */
  @JSON_TEXT(payload, '$.result_id')::TEXT AS result_id, /* The result */
  TRY_CAST(@JSON_TEXT(payload, '$.result_position') AS INT) AS result_position, /* Its place in the list, from 1 */
  @JSON_TEXT(payload, '$.result_type')::TEXT AS result_type, /* flight, hotel, car, package; others are kept */
  @TO_DECIMAL(@JSON_TEXT(payload, '$.result_price'), 18, 2)::DECIMAL(18, 2) AS result_price, /* Price shown */
  @JSON_TEXT(payload, '$.result_provider')::TEXT AS result_provider, /* Who sells it */
  @JSON_TEXT(payload, '$.result_destination')::TEXT AS result_destination, /* Where it leads the traveller */
  ingested_at::TIMESTAMP AS ingested_at, /* When we knew, UTC */
  @UNREAD(payload, 'result_position: INT', 'result_price: DECIMAL(18, 2)')::TEXT AS unread /* Fields whose value does not fit its column: it is null here and kept in raw; null when all fit */
FROM raw.click_events
WHERE
  NOT event_id IN (
    SELECT
      event_id
    FROM ops.held_events
    WHERE
      event_type = 'click' AND released_at IS NULL
  )
