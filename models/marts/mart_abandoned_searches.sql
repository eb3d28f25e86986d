/* Abandoned searches: one row per user and day on which they searched 1 to 48 hours ago and booked nothing since.
   The hour lets a booking arrive; the newest search of the day speaks for it. Bots and anonymous visitors are left out. */
MODEL (
  name marts.mart_abandoned_searches,
  owner crm,
  kind FULL,
  grain (user_id, trigger_window),
  audits (
    NOT_NULL(columns := (user_id, search_event_id, searched_at, trigger_window, hours_since_search)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (user_id, trigger_window)),
    UNIQUE_VALUES(columns := (
      search_event_id
    )),
    ACCEPTED_RANGE("column" := hours_since_search, min_v := 1, max_v := @abandoned_hours)
  )
);

WITH searches AS (
  SELECT
    funnel.user_id,
    funnel.search_event_id,
    funnel.searched_at,
    funnel.search_date,
    funnel.query,
    funnel.destination,
    users.marketing_consent,
    ROW_NUMBER() OVER (
      PARTITION BY funnel.user_id, funnel.search_date
      ORDER BY funnel.searched_at DESC, funnel.search_event_id DESC
    ) AS recency
  FROM marts.fct_search_funnel AS funnel
  INNER JOIN marts.dim_users AS users
    ON users.user_id = funnel.user_id
  WHERE
    funnel.searched_at >= @execution_dtntz - @HOURS(@abandoned_hours)
    AND funnel.searched_at <= @execution_dtntz - @HOURS(@abandoned_after_hours)
    AND NOT COALESCE(funnel.is_bot, FALSE)
    AND funnel.conversions = 0
    AND (
      users.last_converted_at IS NULL OR users.last_converted_at < funnel.searched_at
    )
)
SELECT
  user_id::TEXT AS user_id, /* The user who searched */
  search_event_id::TEXT AS search_event_id, /* Their newest such search of the day */
  searched_at::TIMESTAMP AS searched_at, /* When they searched, UTC */
  query::TEXT AS query, /* Personal data: what they asked for */
  destination::TEXT AS destination, /* Where the first result they clicked leads; null without a click */
  search_date::DATE AS trigger_window, /* The day of the search, UTC: one message per user and day */
  (
    DATE_DIFF('MINUTE', searched_at, @execution_dtntz) / 60.0
  )::DOUBLE AS hours_since_search, /* Hours from the search until now */
  marketing_consent::BOOLEAN AS marketing_consent /* Personal data: may we write to them; null when never asked */
FROM searches
WHERE
  recency = 1
