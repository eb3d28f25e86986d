/* Outcome of each search: one row per search, on the day of the search.
   Its outcome is every click on it and every booking after those clicks within 30 days, whenever they arrive: the runner
   rebuilds the search's day when one comes in later. Clicks are matched by id, so one that arrives, or by a wrong clock happened,
   up to a day before its search still counts. */
MODEL (
  name marts.fct_search_funnel,
  owner product,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column search_date,
    partition_by_time_column FALSE
  ),
  grain (
    search_event_id
  ),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (
      search_event_id
    )),
    NOT_NULL(columns := (search_event_id, searched_at, session_key, visitor_id, channel)),
    ASSERT_NEVER(condition := conversions > 0 AND clicks = 0 OR revenue < 0 OR clicks > 0 AND first_click_at IS NULL)
  )
);

WITH searches AS (
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    query,
    platform,
    device_type,
    country,
    utm_source,
    utm_medium,
    utm_campaign,
    results_count,
    page,
    check_in
  FROM staging.stg_search_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP AND event_ts < @end_ds::TIMESTAMP + @DAYS(1) AND @KNOWN(ingested_at)
), sessions /* A search's session may have begun the day before */ AS (
  SELECT
    session_id,
    session_key,
    session_start,
    session_end,
    visitor_id,
    user_id,
    utm_source,
    utm_medium,
    utm_campaign,
    is_bot
  FROM intermediate.int_search_sessions
  WHERE
    session_date >= @start_ds::DATE - @DAYS(1) AND session_date <= @end_ds::DATE
), clicks /* In the order they happened, per search */ AS (
  SELECT
    clicks.event_id,
    clicks.event_ts,
    clicks.search_event_id,
    clicks.result_position,
    clicks.result_destination,
    searches.event_ts AS searched_at,
    ROW_NUMBER() OVER (PARTITION BY clicks.search_event_id ORDER BY clicks.event_ts, clicks.event_id) AS place
  FROM staging.stg_click_events AS clicks
  INNER JOIN searches
    ON searches.event_id = clicks.search_event_id
    AND clicks.event_ts >= searches.event_ts - @DAYS(1)
    AND clicks.event_ts < searches.event_ts + @DAYS(@funnel_window_days)
  WHERE
    clicks.event_ts >= @start_ds::TIMESTAMP - @DAYS(1)
    AND clicks.event_ts < @end_ds::TIMESTAMP + @DAYS(1) + @DAYS(@funnel_window_days)
    AND @KNOWN(clicks.ingested_at, clicks.event_ts)
), bookings /* With the search's time carried by its clicks: joined with all searches, few bookings met them by time alone */ AS (
  SELECT
    clicks.search_event_id,
    COUNT(*) AS conversions,
    SUM(conversions.booking_value_reporting) AS revenue,
    MIN(conversions.event_ts) AS first_conversion_at
  FROM staging.stg_conversion_events AS conversions
  INNER JOIN clicks
    ON clicks.event_id = conversions.click_event_id
    AND conversions.event_ts >= clicks.searched_at - @DAYS(1)
    AND conversions.event_ts < clicks.searched_at + @DAYS(@funnel_window_days)
  WHERE
    conversions.event_ts >= @start_ds::TIMESTAMP - @DAYS(1)
    AND conversions.event_ts < @end_ds::TIMESTAMP + @DAYS(1) + @DAYS(@funnel_window_days)
    AND @KNOWN(conversions.ingested_at, conversions.event_ts)
  GROUP BY
    clicks.search_event_id
), clicked AS (
  SELECT
    search_event_id,
    COUNT(*) AS clicks,
    MAX(CASE WHEN place = 1 THEN result_position END) AS first_click_position,
    MAX(CASE WHEN place = 1 THEN result_destination END) AS destination,
    MIN(event_ts) AS first_click_at
  FROM clicks
  GROUP BY
    search_event_id
), attributed /* A search that carries a campaign of its own keeps it; the others have their session's */ AS (
  SELECT
    searches.event_id,
    searches.event_ts,
    searches.session_id,
    searches.query,
    searches.platform,
    searches.device_type,
    searches.country,
    searches.results_count,
    searches.page,
    searches.check_in,
    sessions.session_key,
    sessions.is_bot,
    COALESCE(searches.user_id, sessions.user_id) AS user_id,
    COALESCE(searches.user_id, sessions.visitor_id) AS visitor_id,
    CASE
      WHEN COALESCE(searches.utm_source, searches.utm_medium, searches.utm_campaign) IS NULL
      THEN sessions.utm_source
      ELSE searches.utm_source
    END AS utm_source,
    CASE
      WHEN COALESCE(searches.utm_source, searches.utm_medium, searches.utm_campaign) IS NULL
      THEN sessions.utm_medium
      ELSE searches.utm_medium
    END AS utm_medium,
    CASE
      WHEN COALESCE(searches.utm_source, searches.utm_medium, searches.utm_campaign) IS NULL
      THEN sessions.utm_campaign
      ELSE searches.utm_campaign
    END AS utm_campaign
  FROM searches
  LEFT JOIN sessions
    ON sessions.session_id = searches.session_id
    AND searches.event_ts BETWEEN sessions.session_start AND sessions.session_end
)
SELECT
  attributed.event_id::TEXT AS search_event_id, /* The search */
  attributed.event_ts::TIMESTAMP AS searched_at, /* When it happened, UTC */
  attributed.event_ts::DATE AS search_date, /* The day of the search, UTC */
  attributed.session_id::TEXT AS session_id, /* The client's session */
  attributed.session_key::TEXT AS session_key, /* Our own session, after the 30-minute rule */
  attributed.visitor_id::TEXT AS visitor_id, /* The user, or the client's session when no one ever logged in */
  attributed.user_id::TEXT AS user_id, /* The user, also for searches before login; null when no one ever logged in */
  attributed.query::TEXT AS query, /* What was typed */
  attributed.platform::TEXT AS platform, /* web, ios, android; others are kept */
  attributed.device_type::TEXT AS device_type, /* desktop, mobile, tablet; others are kept */
  attributed.country::TEXT AS country, /* ISO 3166 alpha-2 */
  @CHANNEL(attributed.utm_source, attributed.utm_medium, attributed.utm_campaign)::TEXT AS channel, /* What brought the visitor */
  attributed.utm_source::TEXT AS utm_source, /* Source of the search, else of its session */
  attributed.utm_medium::TEXT AS utm_medium, /* Medium of the search, else of its session */
  attributed.utm_campaign::TEXT AS utm_campaign, /* Campaign of the search, else of its session */
  clicked.destination::TEXT AS destination, /* Where the first clicked result leads; null without a click */
  attributed.results_count::INT AS results_count, /* Results found; null is unknown */
  (
    attributed.results_count > 0
  )::BOOLEAN AS has_results, /* Whether there were any results; null is unknown */
  COALESCE(clicked.clicks, 0)::BIGINT AS clicks, /* Clicks on its results */
  clicked.first_click_position::INT AS first_click_position, /* Place of the first clicked result */
  clicked.first_click_at::TIMESTAMP AS first_click_at, /* When the first click happened, UTC */
  COALESCE(bookings.conversions, 0)::BIGINT AS conversions, /* Bookings after those clicks */
  COALESCE(bookings.revenue, 0)::DECIMAL(38, 4) AS revenue, /* Booked value of those bookings in the reporting currency */
  attributed.is_bot::BOOLEAN AS is_bot, /* Whether the search was made in a runaway session */
  attributed.page::INT AS page, /* Page of results, from 1 */
  CASE
    WHEN attributed.check_in >= attributed.event_ts::DATE
    THEN DATE_DIFF('DAY', attributed.event_ts::DATE, attributed.check_in)
  END::INT AS lead_time_days, /* Days until the stay; null without dates, or when it would begin before the search */
  bookings.first_conversion_at::TIMESTAMP AS first_conversion_at /* When the first of the bookings was made, UTC */
FROM attributed
LEFT JOIN clicked
  ON clicked.search_event_id = attributed.event_id
LEFT JOIN bookings
  ON bookings.search_event_id = attributed.event_id
WHERE
  attributed.event_ts::DATE BETWEEN @start_ds AND @end_ds
