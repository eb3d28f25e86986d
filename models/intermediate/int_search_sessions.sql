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
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (
      session_key
    )),
    NOT_NULL(columns := (session_key, session_id, visitor_id, session_start, session_end, channel)),
    ASSERT_NEVER(condition := session_end < session_start OR searches + clicks + conversions < 1)
  )
);

WITH events /* No more of each than its place in time: they are sorted, which costs by their width */ AS (
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    'search' AS event_type,
    NULL::DECIMAL(38, 4) AS revenue
  FROM staging.stg_search_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP - @HOURS(@session_cut_hours) - @MINUTES(@session_gap_minutes)
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(2)
    AND @KNOWN(ingested_at, event_ts)
  UNION ALL
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    'click' AS event_type,
    NULL::DECIMAL(38, 4) AS revenue
  FROM staging.stg_click_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP - @HOURS(@session_cut_hours) - @MINUTES(@session_gap_minutes)
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(2)
    AND @KNOWN(ingested_at, event_ts)
  UNION ALL
  SELECT
    event_id,
    event_ts,
    session_id,
    user_id,
    'conversion' AS event_type,
    booking_value_reporting AS revenue
  FROM staging.stg_conversion_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP - @HOURS(@session_cut_hours) - @MINUTES(@session_gap_minutes)
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(2)
    AND @KNOWN(ingested_at, event_ts)
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
), sleepless /* Hardly any: awake for a day before a midnight */ AS (
  SELECT DISTINCT
    session_id
  FROM paused
  WHERE
    resumed_at <= event_ts::DATE::TIMESTAMP - @HOURS(@session_cut_hours)
), cut /* A session starts after a silence, or at the midnight before which there was none for a day */ AS (
  SELECT
    paused.*,
    paused.resumed_at AS session_start
  FROM paused
  LEFT JOIN sleepless
    ON sleepless.session_id = paused.session_id
  WHERE
    sleepless.session_id IS NULL
  UNION ALL
  SELECT
    paused.*,
    MAX(
      CASE
        WHEN paused.resumed_at = paused.event_ts
        AND (
          paused.previous_ts IS NULL OR paused.previous_ts < paused.event_ts
        )
        THEN paused.event_ts
        WHEN paused.previous_ts < paused.event_ts::DATE::TIMESTAMP
        AND paused.resumed_at <= paused.event_ts::DATE::TIMESTAMP - @HOURS(@session_cut_hours)
        THEN paused.event_ts
      END
    ) OVER (
      PARTITION BY paused.session_id
      ORDER BY paused.event_ts, paused.event_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS session_start
  FROM paused
  INNER JOIN sleepless
    ON sleepless.session_id = paused.session_id
), sessions AS (
  SELECT
    session_id,
    session_start,
    MAX(event_ts) AS session_end,
    MIN(CASE WHEN event_type = 'search' THEN event_ts END) AS landed_at,
    MIN(CASE WHEN NOT user_id IS NULL THEN event_ts END) AS logged_in_at,
    COUNT(CASE WHEN event_type = 'search' THEN 1 END) AS searches,
    COUNT(CASE WHEN event_type = 'click' THEN 1 END) AS clicks,
    COUNT(CASE WHEN event_type = 'conversion' THEN 1 END) AS conversions,
    COALESCE(SUM(revenue), 0) AS revenue
  FROM cut
  WHERE
    session_start >= @start_ds::TIMESTAMP AND session_start < @end_ds::TIMESTAMP + @DAYS(1)
  GROUP BY
    session_id,
    session_start
), judged AS (
  SELECT
    *,
    searches >= @bot_session_searches
    OR (
      searches >= @bot_min_searches
      AND searches * 60 > @bot_searches_per_minute * DATE_DIFF('SECOND', session_start, session_end)
    ) AS is_bot
  FROM sessions
), landings /* The landing search gives a session its attributes */ AS (
  SELECT
    cut.event_id,
    sessions.session_id,
    sessions.session_start,
    ROW_NUMBER() OVER (PARTITION BY sessions.session_id, sessions.session_start ORDER BY cut.event_id) AS place
  FROM cut
  INNER JOIN sessions
    ON sessions.session_id = cut.session_id
    AND sessions.session_start = cut.session_start
    AND sessions.landed_at = cut.event_ts
  WHERE
    cut.event_type = 'search'
), logins /* ... and the first login its user */ AS (
  SELECT
    cut.user_id,
    sessions.session_id,
    sessions.session_start,
    ROW_NUMBER() OVER (PARTITION BY sessions.session_id, sessions.session_start ORDER BY cut.event_id, cut.user_id) AS place
  FROM cut
  INNER JOIN sessions
    ON sessions.session_id = cut.session_id
    AND sessions.session_start = cut.session_start
    AND sessions.logged_in_at = cut.event_ts
  WHERE
    NOT cut.user_id IS NULL
), landing AS (
  SELECT
    landings.session_id,
    landings.session_start,
    searches.query,
    searches.platform,
    searches.device_type,
    searches.country,
    searches.utm_source,
    searches.utm_medium,
    searches.utm_campaign
  FROM landings
  INNER JOIN staging.stg_search_events AS searches
    ON searches.event_id = landings.event_id
  WHERE
    landings.place = 1
    AND searches.event_ts >= @start_ds::TIMESTAMP
    AND searches.event_ts < @end_ds::TIMESTAMP + @DAYS(2)
)
SELECT
  (
    sessions.session_id || ':' || STRFTIME(sessions.session_start, '%Y%m%dT%H%M%S')
  )::TEXT AS session_key, /* The session: the client's session and when it started */
  sessions.session_id::TEXT AS session_id, /* The client's session; may hold several of our own sessions */
  COALESCE(logins.user_id, identity.visitor_id)::TEXT AS visitor_id, /* The user, or the client's session when no one ever logged in */
  COALESCE(logins.user_id, identity.user_id)::TEXT AS user_id, /* The user, also for visits before login; null when no one ever logged in */
  sessions.session_start::TIMESTAMP AS session_start, /* First event, UTC */
  sessions.session_end::TIMESTAMP AS session_end, /* Last event, UTC */
  sessions.session_start::DATE AS session_date, /* Day of the first event, UTC */
  sessions.searches::BIGINT AS searches, /* Searches in it */
  sessions.clicks::BIGINT AS clicks, /* Clicks in it */
  sessions.conversions::BIGINT AS conversions, /* Bookings in it */
  sessions.revenue::DECIMAL(38, 4) AS revenue, /* Booked in it, in the reporting currency */
  landing.platform::TEXT AS platform, /* Platform of the first search; null when there is none */
  landing.device_type::TEXT AS device_type, /* Device type of the first search */
  landing.country::TEXT AS country, /* Country of the first search */
  @CHANNEL(landing.utm_source, landing.utm_medium, landing.utm_campaign)::TEXT AS channel, /* What brought the visitor */
  landing.utm_source::TEXT AS utm_source, /* Source of the first search */
  landing.utm_medium::TEXT AS utm_medium, /* Medium of the first search */
  landing.utm_campaign::TEXT AS utm_campaign, /* Campaign of the first search */
  landing.query::TEXT AS landing_query, /* What was searched first */
  sessions.is_bot::BOOLEAN AS is_bot, /* A runaway: more or faster searches than a person makes */
  ROW_NUMBER() OVER (
    PARTITION BY COALESCE(logins.user_id, identity.visitor_id), sessions.session_start::DATE, sessions.is_bot
    ORDER BY sessions.session_start, sessions.session_id
  )::BIGINT AS visit_of_day, /* Ordinal of the session among the visitor's of the day, from 1; those of bots are counted apart */
  (
    sessions.searches + sessions.clicks + sessions.conversions = 1
  )::BOOLEAN AS is_bounce /* Left after a single event */
FROM judged AS sessions
LEFT JOIN landing
  ON landing.session_id = sessions.session_id AND landing.session_start = sessions.session_start
LEFT JOIN logins
  ON logins.session_id = sessions.session_id
  AND logins.session_start = sessions.session_start
  AND logins.place = 1
INNER JOIN intermediate.int_identity AS identity
  ON identity.session_id = sessions.session_id AND identity.last_seen_date >= @start_ds
WHERE
  sessions.session_start::DATE BETWEEN @start_ds AND @end_ds
ORDER BY
  session_start,
  session_id
