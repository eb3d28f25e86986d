AUDIT (
  name each_booking_has_its_journey
);

/* Each booking of the days that was received up to the run's moment has a journey: without one it is missing in the key figures
and in its user's history, and its revenue is credited to no visit. */
SELECT
  bookings.event_id AS conversion_event_id,
  bookings.event_ts AS converted_at
FROM staging.stg_conversion_events AS bookings
LEFT JOIN @this_model AS journeys
  ON journeys.conversion_event_id = bookings.event_id AND journeys.position = 1
WHERE
  bookings.event_ts >= @start_ds::TIMESTAMP
  AND bookings.event_ts < @end_ds::TIMESTAMP + @DAYS(1)
  AND bookings.ingested_at <= @execution_dtntz
  AND journeys.conversion_event_id IS NULL;

AUDIT (
  name each_booking_is_in_the_key_figures
);

/* Each day counts the bookings that were received up to the run's moment and lie before the end of its day. No more than the
event's own columns are read: the history of all bookings is counted at each run. */
WITH received AS (
  SELECT
    event_ts::DATE AS kpi_date,
    COUNT(*) AS bookings
  FROM raw.conversion_events
  WHERE
    ingested_at <= @execution_dtntz AND event_ts < @execution_ds::TIMESTAMP + @DAYS(1)
  GROUP BY
    event_ts::DATE
)
SELECT
  COALESCE(figures.kpi_date, received.kpi_date) AS kpi_date,
  COALESCE(figures.conversions, 0) AS counted_bookings,
  COALESCE(received.bookings, 0) AS received_bookings
FROM @this_model AS figures
FULL JOIN received
  ON received.kpi_date = figures.kpi_date
WHERE
  COALESCE(figures.conversions, 0) <> COALESCE(received.bookings, 0)
