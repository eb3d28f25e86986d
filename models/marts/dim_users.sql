/* Users: one row per identified user who was seen in an event. A profile nobody was seen under is no user yet. */
MODEL (
  name marts.dim_users,
  owner crm,
  kind FULL,
  grain user_id,
  audits (
    NOT_NULL(columns := (user_id, first_seen_at, last_seen_at, searches, clicks, conversions, lifetime_revenue)),
    UNIQUE_VALUES(columns := (
      user_id
    )),
    ASSERT_NEVER(condition := last_seen_at < first_seen_at OR lifetime_revenue < 0)
  )
);

WITH visits AS (
  SELECT
    user_id,
    session_start AS started_at,
    session_end AS ended_at,
    NULL::TIMESTAMP AS searched_at,
    0 AS clicks,
    country,
    platform,
    device_type
  FROM intermediate.int_search_sessions
  WHERE
    NOT user_id IS NULL
), searches AS (
  /* Also of the second user of a shared session, which is the first one's. */
  SELECT
    user_id,
    searched_at AS started_at,
    searched_at AS ended_at,
    searched_at,
    clicks,
    country,
    platform,
    device_type
  FROM marts.fct_search_funnel
  WHERE
    NOT user_id IS NULL
), sightings AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY searched_at DESC, platform, device_type, country) AS recency
  FROM (
    SELECT
      *
    FROM visits
    UNION ALL
    SELECT
      *
    FROM searches
  ) AS "both"
), presence AS (
  SELECT
    user_id,
    MIN(started_at) AS first_seen_at,
    MAX(ended_at) AS last_seen_at,
    MAX(searched_at) AS last_searched_at,
    COUNT(searched_at) AS searches,
    SUM(clicks) AS clicks,
    MAX(CASE WHEN recency = 1 THEN country END) AS country, /* Where and on what they searched last: circumstances change, the newest is the best guess. */
    MAX(CASE WHEN recency = 1 THEN platform END) AS platform,
    MAX(CASE WHEN recency = 1 THEN device_type END) AS device_type
  FROM sightings
  GROUP BY
    user_id
), value AS (
  /* A booking belongs to whom its session turned out to belong to, also when made before the login. */
  SELECT
    visitor_id,
    COUNT(*) AS conversions,
    SUM(booking_value_reporting) AS lifetime_revenue,
    MIN(converted_at) AS first_converted_at,
    MAX(converted_at) AS last_converted_at
  FROM intermediate.int_user_journeys
  WHERE
    position = 1
  GROUP BY
    visitor_id
)
SELECT
  presence.user_id::TEXT AS user_id, /* The user, as the events name them */
  presence.first_seen_at::TIMESTAMP AS first_seen_at, /* Their first event, visits before the login included */
  presence.last_seen_at::TIMESTAMP AS last_seen_at, /* Their newest event */
  presence.last_searched_at::TIMESTAMP AS last_searched_at, /* Their newest search; null when they never searched */
  value.first_converted_at::TIMESTAMP AS first_converted_at, /* Their first booking */
  value.last_converted_at::TIMESTAMP AS last_converted_at, /* Their newest booking */
  presence.searches::BIGINT AS searches, /* Searches, ever */
  presence.clicks::BIGINT AS clicks, /* Clicks on the results of their searches, ever */
  COALESCE(value.conversions, 0)::BIGINT AS conversions, /* Bookings, ever */
  COALESCE(value.lifetime_revenue, 0)::DECIMAL(18, 2) AS lifetime_revenue, /* Booked value in the reporting currency */
  presence.country::TEXT AS country, /* Country of the newest search */
  presence.platform::TEXT AS platform, /* Platform of the newest search */
  presence.device_type::TEXT AS device_type, /* Device of the newest search */
  profile.locale::TEXT AS locale, /* Personal data: the language to write in */
  profile.time_zone::TEXT AS time_zone, /* Personal data: where their day begins */
  profile.marketing_consent::BOOLEAN AS marketing_consent, /* Personal data: may we write to them; null when never asked */
  profile.name::TEXT AS name, /* Personal data: name */
  profile.email::TEXT AS email /* Personal data: e-mail address */
FROM presence
LEFT JOIN value
  ON value.visitor_id = presence.user_id
LEFT JOIN staging.stg_user_profiles AS profile
  ON profile.user_id = presence.user_id
