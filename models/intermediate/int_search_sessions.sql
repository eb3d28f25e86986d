/* Visits: one row per session after the 30-minute rule, on the day it started.
   A session ends after 30 minutes of silence. One that never paused for a day is cut at midnight (UTC), so that none reaches
   a third day: the sessions of a day need only its events, those of a day and a half hour before, and those of the day after.
   So days made one by one, all at once or again give the same rows. Runaway sessions are marked as bots, not dropped. */
MODEL (
  name intermediate.int_search_sessions,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column session_date,
    partition_by_time_column FALSE
  ),
  grain (
    session_key
  ),
  audits (
    UNIQUE_VALUES(columns := (
      session_key
    )),
    NOT_NULL(columns := (session_key, session_id, visitor_id, session_start, session_end, channel)),
    ASSERT_NEVER(condition := session_end < session_start OR searches + clicks + conversions < 1)
  )
);

WITH events AS (
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    'search' AS event_type,
    platform,
    device_type,
    country,
    utm_source,
    utm_medium,
    utm_campaign,
    query,
    NULL::DECIMAL(18, 2) AS revenue
  FROM staging.stg_search_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP - @HOURS(@session_cut_hours) - @MINUTES(@session_gap_minutes)
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(2)
    AND @KNOWN(ingested_at)
  UNION ALL
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    'click' AS event_type,
    NULL AS platform,
    NULL AS device_type,
    NULL AS country,
    NULL AS utm_source,
    NULL AS utm_medium,
    NULL AS utm_campaign,
    NULL AS query,
    NULL::DECIMAL(18, 2) AS revenue
  FROM staging.stg_click_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP - @HOURS(@session_cut_hours) - @MINUTES(@session_gap_minutes)
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(2)
    AND @KNOWN(ingested_at)
  UNION ALL
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    'conversion' AS event_type,
    NULL AS platform,
    NULL AS device_type,
    NULL AS country,
    NULL AS utm_source,
    NULL AS utm_medium,
    NULL AS utm_campaign,
    NULL AS query,
    booking_value_reporting AS revenue
  FROM staging.stg_conversion_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP - @HOURS(@session_cut_hours) - @MINUTES(@session_gap_minutes)
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(2)
    AND @KNOWN(ingested_at)
), paced /* Times beside each other */ AS (
  SELECT
    *,
    LAG(event_ts) OVER (PARTITION BY session_id ORDER BY event_ts, event_id) AS previous_ts
  FROM events
), paused /* The last silence before each event */ AS (
  SELECT
    *,
    MAX(
      CASE
        WHEN previous_ts IS NULL OR previous_ts < event_ts - @MINUTES(@session_gap_minutes)
        THEN event_ts
      END
    ) OVER (PARTITION BY session_id ORDER BY event_ts, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS resumed_at
  FROM paced
), cut /* A session starts after a silence, or at the midnight before which there was none for a day */ AS (
  SELECT
    *,
    MAX(
      CASE
        WHEN resumed_at = event_ts AND (
          previous_ts IS NULL OR previous_ts < event_ts
        )
        THEN event_ts
        WHEN previous_ts < event_ts::DATE::TIMESTAMP
        AND resumed_at <= event_ts::DATE::TIMESTAMP - @HOURS(@session_cut_hours)
        THEN event_ts
      END
    ) OVER (PARTITION BY session_id ORDER BY event_ts, event_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session_start
  FROM paused
), numbered /* The landing search and the first login give a session its attributes */ AS (
  SELECT
    *,
    ROW_NUMBER() OVER (
      PARTITION BY session_id, session_start
      ORDER BY CASE WHEN event_type = 'search' THEN 0 ELSE 1 END, event_ts, event_id
    ) AS landing,
    ROW_NUMBER() OVER (
      PARTITION BY session_id, session_start
      ORDER BY CASE WHEN user_id IS NULL THEN 1 ELSE 0 END, event_ts, event_id
    ) AS login
  FROM cut
  WHERE
    session_start >= @start_ds::TIMESTAMP AND session_start < @end_ds::TIMESTAMP + @DAYS(1)
), sessions AS (
  SELECT
    session_id,
    session_start,
    MAX(event_ts) AS session_end,
    MAX(CASE WHEN login = 1 THEN user_id END) AS user_id,
    COUNT(CASE WHEN event_type = 'search' THEN 1 END) AS searches,
    COUNT(CASE WHEN event_type = 'click' THEN 1 END) AS clicks,
    COUNT(CASE WHEN event_type = 'conversion' THEN 1 END) AS conversions,
    COALESCE(SUM(revenue), 0) AS revenue,
    MAX(CASE WHEN landing = 1 THEN platform END) AS platform,
    MAX(CASE WHEN landing = 1 THEN device_type END) AS device_type,
    MAX(CASE WHEN landing = 1 THEN country END) AS country,
    MAX(CASE WHEN landing = 1 THEN utm_source END) AS utm_source,
    MAX(CASE WHEN landing = 1 THEN utm_medium END) AS utm_medium,
    MAX(CASE WHEN landing = 1 THEN utm_campaign END) AS utm_campaign,
    MAX(CASE WHEN landing = 1 THEN query END) AS landing_query
  FROM numbered
  GROUP BY
    session_id,
    session_start
)
SELECT
  (
    sessions.session_id || ':' || STRFTIME(sessions.session_start, '%Y%m%dT%H%M%S')
  )::TEXT AS session_key, /* The session: the client's session and when it started */
  sessions.session_id::TEXT AS session_id, /* The client's session; may hold several of ours */
  COALESCE(sessions.user_id, identity.visitor_id)::TEXT AS visitor_id, /* The user, or the client's session when nobody ever logged in */
  COALESCE(sessions.user_id, identity.user_id)::TEXT AS user_id, /* The user, also for visits before login; null when nobody ever logged in */
  sessions.session_start::TIMESTAMP AS session_start, /* First event, UTC */
  sessions.session_end::TIMESTAMP AS session_end, /* Last event, UTC */
  sessions.session_start::DATE AS session_date, /* Day of the first event, UTC */
  sessions.searches::BIGINT AS searches, /* Searches in it */
  sessions.clicks::BIGINT AS clicks, /* Clicks in it */
  sessions.conversions::BIGINT AS conversions, /* Bookings in it */
  sessions.revenue::DECIMAL(18, 2) AS revenue, /* Booked in it, in the reporting currency */
  sessions.platform::TEXT AS platform, /* Of the first search; null when there is none */
  sessions.device_type::TEXT AS device_type, /* Of the first search */
  sessions.country::TEXT AS country, /* Of the first search */
  @CHANNEL(sessions.utm_source, sessions.utm_medium, sessions.utm_campaign)::TEXT AS channel, /* What brought the visitor */
  sessions.utm_source::TEXT AS utm_source, /* Of the first search */
  sessions.utm_medium::TEXT AS utm_medium, /* Of the first search */
  sessions.utm_campaign::TEXT AS utm_campaign, /* Of the first search */
  sessions.landing_query::TEXT AS landing_query, /* What was searched first */
  (
    sessions.searches >= @bot_session_searches
    OR (
      sessions.searches >= @bot_min_searches
      AND sessions.searches * 60 > @bot_searches_per_minute * DATE_DIFF('SECOND', sessions.session_start, sessions.session_end)
    )
  )::BOOLEAN AS is_bot, /* A runaway: more or faster searches than a person makes */
  (
    sessions.searches + sessions.clicks + sessions.conversions = 1
  )::BOOLEAN AS is_bounce /* Left after a single event */
FROM sessions
INNER JOIN intermediate.int_identity AS identity
  ON identity.session_id = sessions.session_id
WHERE
  sessions.session_start::DATE BETWEEN @start_ds AND @end_ds
