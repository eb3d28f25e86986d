/* Journeys before a booking: one row per booking and touchpoint in the 30 days before it.
   A booking's own session is a touchpoint, so each booking has at least one. A changed visit, for example one that a login
   names, changes the journeys of the days until the window has passed. */
MODEL (
  name intermediate.int_user_journeys,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column conversion_date,
    partition_by_time_column FALSE
  ),
  tags (
    'visits reach: attribution_window_days'
  ),
  grain (conversion_event_id, touchpoint_id),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (conversion_event_id, touchpoint_id)),
    NOT_NULL(columns := (conversion_event_id, visitor_id, touchpoint_id, channel)),
    ASSERT_NEVER(condition := touched_at > converted_at OR "position" > touchpoints),
    each_booking_has_its_journey
  )
);

/* The session in which it was booked says whose booking it is */
WITH bookings AS (
  SELECT
    conversions.event_id AS conversion_event_id,
    conversions.event_ts AS converted_at,
    conversions.booking_value_reporting,
    sessions.visitor_id,
    sessions.user_id
  FROM staging.stg_conversion_events AS conversions
  INNER JOIN intermediate.int_search_sessions AS sessions
    ON sessions.session_id = conversions.session_id
    AND conversions.event_ts BETWEEN sessions.session_start AND sessions.session_end
    AND sessions.session_date >= @start_ds::DATE - @DAYS(2)
    AND sessions.session_date <= @end_ds::DATE
  WHERE
    conversions.event_ts >= @start_ds::TIMESTAMP
    AND conversions.event_ts < @end_ds::TIMESTAMP + @DAYS(1)
    AND @KNOWN(conversions.ingested_at)
)
SELECT
  bookings.conversion_event_id::TEXT AS conversion_event_id, /* The booking */
  bookings.visitor_id::TEXT AS visitor_id, /* The visitor who booked */
  bookings.user_id::TEXT AS user_id, /* The user who booked; null when no one ever logged in */
  bookings.converted_at::TIMESTAMP AS converted_at, /* When it was booked, UTC */
  bookings.converted_at::DATE AS conversion_date, /* The day of the booking, UTC: SQLMesh cuts a column of timestamps at the run's last tick, a day is whole */
  bookings.booking_value_reporting::DECIMAL(38, 4) AS booking_value_reporting, /* Value of the booking in the reporting currency */
  touchpoints.touchpoint_id::TEXT AS touchpoint_id, /* The touchpoint that brought them */
  touchpoints.touched_at::TIMESTAMP AS touched_at, /* When it brought them, UTC */
  ROW_NUMBER() OVER (PARTITION BY bookings.conversion_event_id ORDER BY touchpoints.touched_at, touchpoints.touchpoint_id)::BIGINT AS position, /* Its place in the journey, from 1 */
  COUNT(*) OVER (PARTITION BY bookings.conversion_event_id)::BIGINT AS touchpoints, /* How many touchpoints the journey has */
  touchpoints.channel::TEXT AS channel, /* The marketing channel */
  touchpoints.utm_source::TEXT AS utm_source, /* Where the visit came from */
  touchpoints.utm_medium::TEXT AS utm_medium, /* The kind of link that was followed */
  touchpoints.utm_campaign::TEXT AS utm_campaign /* The campaign of the link */
FROM bookings
INNER JOIN intermediate.int_touchpoints AS touchpoints
  ON touchpoints.visitor_id = bookings.visitor_id
  AND touchpoints.touched_at <= bookings.converted_at
  AND touchpoints.touched_at > bookings.converted_at - @DAYS(@attribution_window_days)
  AND touchpoints.touched_at > @start_ds::TIMESTAMP - @DAYS(@attribution_window_days)
  AND touchpoints.touched_at < @end_ds::TIMESTAMP + @DAYS(1)
WHERE
  bookings.converted_at::DATE BETWEEN @start_ds AND @end_ds
ORDER BY
  converted_at,
  conversion_event_id,
  position
