/* Users: one row per identified user who was seen in an event. A profile under which no one was seen is no user yet. */
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

WITH presence AS (
  SELECT
    user_id,
    MIN(first_seen_at) AS first_seen_at,
    MAX(last_seen_at) AS last_seen_at,
    MAX(last_searched_at) AS last_searched_at,
    SUM(searches) AS searches,
    SUM(clicks) AS clicks,
    SUM(conversions) AS conversions,
    SUM(revenue) AS lifetime_revenue,
    MIN(first_converted_at) AS first_converted_at,
    MAX(last_converted_at) AS last_converted_at
  FROM intermediate.int_user_days
  GROUP BY
    user_id
), circumstances /* Where and on what they searched last: circumstances change, the newest is the best guess */ AS (
  SELECT
    days.user_id,
    days.country,
    days.platform,
    days.device_type,
    ROW_NUMBER() OVER (PARTITION BY days.user_id ORDER BY days.platform, days.device_type, days.country) AS rank
  FROM intermediate.int_user_days AS days
  INNER JOIN presence
    ON presence.user_id = days.user_id
    AND presence.last_searched_at IS NOT DISTINCT FROM days.last_searched_at
)
SELECT
  presence.user_id::TEXT AS user_id, /* The user, as the events name them */
  presence.first_seen_at::TIMESTAMP AS first_seen_at, /* Their first event, visits before the login included */
  presence.last_seen_at::TIMESTAMP AS last_seen_at, /* Their newest event */
  presence.last_searched_at::TIMESTAMP AS last_searched_at, /* Their newest search; null when they never searched */
  presence.first_converted_at::TIMESTAMP AS first_converted_at, /* Their first booking */
  presence.last_converted_at::TIMESTAMP AS last_converted_at, /* Their newest booking */
  presence.searches::BIGINT AS searches, /* Searches, ever */
  presence.clicks::BIGINT AS clicks, /* Clicks on the results of their searches, ever */
  presence.conversions::BIGINT AS conversions, /* Bookings, ever */
  presence.lifetime_revenue::DECIMAL(38, 4) AS lifetime_revenue, /* Booked value in the reporting currency */
  circumstances.country::TEXT AS country, /* Country of the newest search */
  circumstances.platform::TEXT AS platform, /* Platform of the newest search */
  circumstances.device_type::TEXT AS device_type, /* Device of the newest search */
  profile.locale::TEXT AS locale, /* Personal data: the language to write in */
  profile.time_zone::TEXT AS time_zone, /* Personal data: where their day begins */
  profile.marketing_consent::BOOLEAN AS marketing_consent, /* Personal data: may we write to them; null when never asked */
  profile.name::TEXT AS name, /* Personal data: name */
  profile.email::TEXT AS email /* Personal data: e-mail address */
FROM presence
INNER JOIN circumstances
  ON circumstances.user_id = presence.user_id AND circumstances.rank = 1
LEFT JOIN staging.stg_user_profiles AS profile
  ON profile.user_id = presence.user_id
