AUDIT (
  name credits_sum_to_booked_revenue
);

/* Each booking of the days is credited by every model, and the credits sum to the booked revenue, to the cent. Expected are all
bookings that were received up to the run's moment; staging is a live view, which has later ones too. A model that is missing
has credited nothing. */
WITH booked AS (
  SELECT
    COUNT(*) AS bookings,
    COALESCE(SUM(booking_value_reporting), 0) AS revenue
  FROM staging.stg_conversion_events
  WHERE
    event_ts >= @start_ds::TIMESTAMP
    AND event_ts < @end_ds::TIMESTAMP + @DAYS(1)
    AND ingested_at <= @execution_dtntz
), models AS (
  SELECT
    'first_touch' AS model
  UNION ALL
  SELECT
    'last_touch'
  UNION ALL
  SELECT
    'last_non_direct'
  UNION ALL
  SELECT
    'linear'
  UNION ALL
  SELECT
    'position_based'
  UNION ALL
  SELECT
    'time_decay'
  UNION ALL
  SELECT
    'markov'
), credited AS (
  SELECT
    model,
    SUM(revenue) AS revenue,
    SUM(conversions) AS bookings
  FROM @this_model
  GROUP BY
    model
)
SELECT
  models.model,
  COALESCE(credited.revenue, 0) AS credited_revenue,
  booked.revenue AS booked_revenue,
  COALESCE(credited.bookings, 0) AS credited_bookings,
  booked.bookings AS booked_bookings
FROM booked
CROSS JOIN models
LEFT JOIN credited
  ON credited.model = models.model
WHERE
  COALESCE(credited.revenue, 0) <> booked.revenue
  OR ABS(COALESCE(credited.bookings, 0) - booked.bookings) > 0.001;

AUDIT (
  name cost_is_the_spend_of_each_model
);

/* No spend vanishes and none is counted twice: each model carries the same cost. */
SELECT
  MIN(cost) AS least,
  MAX(cost) AS most
FROM (
  SELECT
    model,
    SUM(cost) AS cost
  FROM @this_model
  GROUP BY
    model
) AS costs
HAVING
  MIN(cost) <> MAX(cost)
