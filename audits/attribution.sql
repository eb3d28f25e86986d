AUDIT (
  name credits_sum_to_booked_revenue
);

/* The credits of every model sum to the booked revenue, to the cent. Bookings that arrived after the table was made are not
expected in it: staging is a live view, and ingestion does not wait for the models. */
WITH booked AS (
  SELECT
    COUNT(*) AS bookings,
    COALESCE(SUM(booking_value_reporting), 0) AS revenue
  FROM staging.stg_conversion_events
  WHERE
    ingested_at <= (
      SELECT
        MAX(known_until)
      FROM @this_model
    )
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
  credited.model,
  credited.revenue AS credited_revenue,
  booked.revenue AS booked_revenue,
  credited.bookings AS credited_bookings,
  booked.bookings AS booked_bookings
FROM booked
CROSS JOIN credited
WHERE
  credited.revenue <> booked.revenue OR ABS(credited.bookings - booked.bookings) > 0.001;

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
