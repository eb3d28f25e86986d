/* What a user did on a day: one row per identified user and day.
   A visit counts on the day it began, a search and a booking on their own. The digest says whether anything in it moved, so
   that a user's history is rebuilt only then. */
MODEL (
  name intermediate.int_user_days,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column seen_date,
    partition_by_time_column FALSE
  ),
  grain (user_id, seen_date),
  audits (
    NOT_NULL(columns := (user_id, seen_date, first_seen_at, last_seen_at, searches, clicks, conversions, digest)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (user_id, seen_date)),
    ASSERT_NEVER(condition := last_seen_at < first_seen_at)
  )
);

WITH happenings AS (
  SELECT
    user_id,
    session_date AS seen_date,
    session_start AS started_at,
    session_end AS ended_at,
    NULL::TIMESTAMP AS searched_at,
    0 AS clicks,
    country,
    platform,
    device_type,
    NULL::TIMESTAMP AS converted_at,
    NULL::DECIMAL(38, 4) AS revenue
  FROM intermediate.int_search_sessions
  WHERE
    NOT user_id IS NULL AND session_date BETWEEN @start_ds AND @end_ds
  UNION ALL
  /* Also of the second user of a shared session, which is the first one's. */
  SELECT
    user_id,
    search_date AS seen_date,
    searched_at AS started_at,
    searched_at AS ended_at,
    searched_at,
    clicks,
    country,
    platform,
    device_type,
    NULL AS converted_at,
    NULL AS revenue
  FROM marts.fct_search_funnel
  WHERE
    NOT user_id IS NULL AND search_date BETWEEN @start_ds AND @end_ds
  UNION ALL
  /* A booking belongs to whom its session turned out to belong to, also when made before the login. */
  SELECT
    user_id,
    converted_at::DATE AS seen_date,
    converted_at AS started_at,
    converted_at AS ended_at,
    NULL AS searched_at,
    0 AS clicks,
    NULL AS country,
    NULL AS platform,
    NULL AS device_type,
    converted_at,
    COALESCE(booking_value_reporting, 0) AS revenue
  FROM intermediate.int_user_journeys
  WHERE
    position = 1
    AND NOT user_id IS NULL
    AND converted_at >= @start_ds::TIMESTAMP
    AND converted_at < @end_ds::TIMESTAMP + @DAYS(1)
), ranked AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY user_id, seen_date ORDER BY searched_at DESC, platform, device_type, country) AS recency
  FROM happenings
)
SELECT
  user_id::TEXT AS user_id, /* The user */
  seen_date::DATE AS seen_date, /* Day, UTC */
  MIN(started_at)::TIMESTAMP AS first_seen_at, /* Their first event of the day; visits before the login included */
  MAX(ended_at)::TIMESTAMP AS last_seen_at, /* The end of the last of the day's visits */
  MAX(searched_at)::TIMESTAMP AS last_searched_at, /* Their newest search of the day; null without one */
  COUNT(searched_at)::BIGINT AS searches, /* Searches */
  SUM(clicks)::BIGINT AS clicks, /* Clicks on the results of those searches */
  COUNT(converted_at)::BIGINT AS conversions, /* Bookings */
  COALESCE(SUM(revenue), 0)::DECIMAL(38, 4) AS revenue, /* Booked value in the reporting currency */
  MIN(converted_at)::TIMESTAMP AS first_converted_at, /* Their first booking of the day */
  MAX(converted_at)::TIMESTAMP AS last_converted_at, /* Their newest booking of the day */
  MAX(CASE WHEN recency = 1 THEN country END)::TEXT AS country, /* Where they searched last; of a visit when they did not search */
  MAX(CASE WHEN recency = 1 THEN platform END)::TEXT AS platform, /* The platform of that search or visit */
  MAX(CASE WHEN recency = 1 THEN device_type END)::TEXT AS device_type, /* The device of that search or visit */
  @DIGEST(started_at, ended_at, searched_at, converted_at, revenue)::BIGINT AS digest /* Digest of every moment and booked value of the day: when it differs, something moved */
FROM ranked
WHERE
  seen_date BETWEEN @start_ds AND @end_ds
GROUP BY
  user_id,
  seen_date
