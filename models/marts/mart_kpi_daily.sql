/* The business on a page, without bots: one row per day. Days are UTC days of 24 hours, also where clocks change.
   Searches, clicks and rates are those of the day's searches; conversions and revenue were booked on the day, with a search or
   without. A comparison is null when the other day has no row. Rebuilt at each run: a changed day changes what later ones are
   compared with.
   How final a day is: an event of its hour h has arrived when its lateness is below the age of that hour. The lateness is that of
   ops.lateness, the hours weigh as in the last 28 days, and today's hours to come count as not arrived. */
MODEL (
  name marts.mart_kpi_daily,
  kind FULL,
  grain (
    kpi_date
  ),
  audits (
    UNIQUE_VALUES(columns := (
      kpi_date
    )),
    NOT_NULL(columns := (kpi_date, searches, sessions, conversions, revenue, finality)),
    each_booking_is_in_the_key_figures,
    ASSERT_NEVER(condition := finality < 0 OR finality > 1 OR click_through_rate > 1 OR conversion_rate > 1),
    ASSERT_NEVER(
      condition := searches_to_come < 0 OR clicks_to_come < 0 OR conversions_to_come < 0 OR revenue_to_come < 0
    )
  )
);

WITH funnel AS (
  SELECT
    search_date AS kpi_date,
    SUM(searches) AS searches,
    SUM(clicks) AS clicks,
    SUM(searches_with_click) AS searches_with_click,
    SUM(searches_with_conversion) AS searches_with_conversion,
    SUM(zero_result_searches) AS zero_result_searches,
    SUM(revenue) AS search_revenue,
    SUM(conversions) AS search_conversions,
    SUM(searches_with_dates) AS searches_with_dates,
    SUM(lead_time_days) AS lead_time_days,
    SUM(searches_with_far_dates) AS searches_with_far_dates
  FROM marts.fct_search_funnel_daily
  GROUP BY
    search_date
), visits AS (
  SELECT
    session_date AS kpi_date,
    COUNT(CASE WHEN NOT is_bot THEN 1 END) AS sessions,
    COUNT(CASE WHEN NOT is_bot AND visit_of_day = 1 THEN 1 END) AS visitors,
    COALESCE(SUM(CASE WHEN is_bot THEN searches END), 0) AS bot_searches
  FROM intermediate.int_search_sessions
  GROUP BY
    session_date
), bookings AS (
  /* Each has its own visit at least, so that the first place of a journey stands for it: typed, where events are JSON. */
  SELECT
    converted_at::DATE AS kpi_date,
    COUNT(*) AS conversions,
    COALESCE(SUM(booking_value_reporting), 0) AS revenue
  FROM intermediate.int_user_journeys
  WHERE
    position = 1
  GROUP BY
    converted_at::DATE
), dates AS (
  SELECT
    kpi_date
  FROM funnel
  UNION
  SELECT
    kpi_date
  FROM visits
  UNION
  SELECT
    kpi_date
  FROM bookings
), daily AS (
  SELECT
    dates.kpi_date,
    COALESCE(funnel.searches, 0) AS searches,
    COALESCE(visits.sessions, 0) AS sessions,
    COALESCE(visits.visitors, 0) AS visitors,
    COALESCE(funnel.clicks, 0) AS clicks,
    COALESCE(bookings.conversions, 0) AS conversions,
    COALESCE(bookings.revenue, 0) AS revenue,
    COALESCE(funnel.searches_with_click, 0) AS searches_with_click,
    COALESCE(funnel.searches_with_conversion, 0) AS searches_with_conversion,
    COALESCE(funnel.zero_result_searches, 0) AS zero_result_searches,
    COALESCE(funnel.search_revenue, 0) AS search_revenue,
    COALESCE(funnel.search_conversions, 0) AS search_conversions,
    COALESCE(funnel.searches_with_dates, 0) AS searches_with_dates,
    COALESCE(funnel.lead_time_days, 0) AS lead_time_days,
    COALESCE(funnel.searches_with_far_dates, 0) AS searches_with_far_dates,
    COALESCE(visits.bot_searches, 0) AS bot_searches
  FROM dates
  LEFT JOIN funnel
    ON funnel.kpi_date = dates.kpi_date
  LEFT JOIN visits
    ON visits.kpi_date = dates.kpi_date
  LEFT JOIN bookings
    ON bookings.kpi_date = dates.kpi_date
), usual AS (
  SELECT
    EXTRACT(HOUR FROM searched_at) AS hour,
    COUNT(*) AS searches
  FROM marts.fct_search_funnel
  WHERE
    searched_at >= @execution_ds::DATE::TIMESTAMP - @DAYS(28)
    AND searched_at < @execution_ds::DATE::TIMESTAMP
    AND NOT COALESCE(is_bot, FALSE)
  GROUP BY
    EXTRACT(HOUR FROM searched_at)
), weights /* One more search an hour, so that none is impossible */ AS (
  SELECT
    clock.hour,
    COALESCE(usual.searches, 0) + 1.0 AS weight
  FROM (
    SELECT
      UNNEST(GENERATE_SERIES(0, 23)) AS hour
  ) AS clock
  LEFT JOIN usual
    ON usual.hour = clock.hour
), hours /* The usual share of each hour of a day */ AS (
  SELECT
    weights.hour,
    weights.weight / total.weight AS share
  FROM weights
  CROSS JOIN (
    SELECT
      SUM(weight) AS weight
    FROM weights
  ) AS total
), ages AS (
  SELECT
    kpi_date,
    DATE_DIFF('SECOND', kpi_date::TIMESTAMP, @execution_ts::TIMESTAMP) / 3600.0 AS hours_since_start
  FROM daily
), arrivals AS (
  SELECT
    ages.kpi_date,
    lateness.event_type,
    LEAST(
      SUM(
        lateness.share * hours.share * LEAST(GREATEST(ages.hours_since_start - lateness.within_minutes / 60.0 - hours.hour, 0), 1)
      ),
      1
    ) AS share
  FROM ages
  CROSS JOIN ops.lateness AS lateness
  CROSS JOIN hours
  GROUP BY
    ages.kpi_date,
    lateness.event_type
), arrived AS (
  /* From a millionth on: below it a share is what rounding left of none, and to divide by it says nothing. */
  SELECT
    kpi_date,
    MAX(CASE WHEN event_type = 'all' THEN share END) AS finality,
    MAX(CASE WHEN event_type = 'search' AND share >= 0.000001 THEN share END) AS of_searches,
    MAX(CASE WHEN event_type = 'click' AND share >= 0.000001 THEN share END) AS of_clicks,
    MAX(CASE WHEN event_type = 'conversion' AND share >= 0.000001 THEN share END) AS of_conversions
  FROM arrivals
  GROUP BY
    kpi_date
)
SELECT
  daily.kpi_date::DATE AS kpi_date, /* Day, UTC */
  daily.searches::BIGINT AS searches, /* Searches of people */
  daily.sessions::BIGINT AS sessions, /* Sessions that began */
  daily.visitors::BIGINT AS visitors, /* Different visitors in those sessions */
  daily.clicks::BIGINT AS clicks, /* Clicks on results of the day's searches */
  daily.conversions::BIGINT AS conversions, /* Bookings made on the day */
  daily.revenue::DECIMAL(38, 4) AS revenue, /* Booked value of the day's bookings, in the reporting currency */
  (
    daily.searches_with_click / NULLIF(daily.searches, 0)::DOUBLE
  )::DOUBLE AS click_through_rate, /* Share of searches with a click */
  (
    daily.searches_with_conversion / NULLIF(daily.searches, 0)::DOUBLE
  )::DOUBLE AS conversion_rate, /* Share of searches that led to a booking */
  (
    daily.zero_result_searches / NULLIF(daily.searches, 0)::DOUBLE
  )::DOUBLE AS zero_result_rate, /* Share of searches that found nothing */
  (
    daily.search_revenue / NULLIF(daily.searches, 0)::DOUBLE
  )::DOUBLE AS revenue_per_search, /* What the day's searches brought, per search */
  (
    daily.revenue / NULLIF(daily.conversions, 0)::DOUBLE
  )::DOUBLE AS avg_booking_value, /* Revenue per booking */
  prev_day.searches::BIGINT AS searches_prev_day, /* Searches of the day before */
  prev_week.searches::BIGINT AS searches_prev_week, /* Searches seven days before */
  prev_month.searches::BIGINT AS searches_prev_month, /* Searches of the same day of the month before */
  prev_year.searches::BIGINT AS searches_prev_year, /* Searches of the same day of the year before */
  prev_day.conversions::BIGINT AS conversions_prev_day, /* Bookings of the day before */
  prev_week.conversions::BIGINT AS conversions_prev_week, /* Bookings seven days before */
  prev_month.conversions::BIGINT AS conversions_prev_month, /* Bookings of the same day of the month before */
  prev_year.conversions::BIGINT AS conversions_prev_year, /* Bookings of the same day of the year before */
  prev_day.revenue::DECIMAL(38, 4) AS revenue_prev_day, /* Revenue of the day before */
  prev_week.revenue::DECIMAL(38, 4) AS revenue_prev_week, /* Revenue seven days before */
  prev_month.revenue::DECIMAL(38, 4) AS revenue_prev_month, /* Revenue of the same day of the month before */
  prev_year.revenue::DECIMAL(38, 4) AS revenue_prev_year, /* Revenue of the same day of the year before */
  daily.bot_searches::BIGINT AS bot_searches, /* Searches of runaway sessions, not counted above */
  arrived.finality::DOUBLE AS finality, /* Share of the day's events expected to be here */
  (
    arrived.finality >= @final_share
  )::BOOLEAN AS is_final, /* Whether the day is final: nothing of weight is expected any more */
  (
    daily.searches * (
      1 / arrived.of_searches - 1
    )
  )::DOUBLE AS searches_to_come, /* Further searches to expect, by how many are here and which share that should be; null before any is due */
  (
    daily.clicks * (
      1 / arrived.of_clicks - 1
    )
  )::DOUBLE AS clicks_to_come, /* Further clicks to expect */
  (
    daily.conversions * (
      1 / arrived.of_conversions - 1
    )
  )::DOUBLE AS conversions_to_come, /* Further bookings to expect */
  ROUND(daily.revenue * (
    1 / arrived.of_conversions - 1
  ), 2)::DECIMAL(38, 4) AS revenue_to_come, /* Further revenue to expect, in the reporting currency */
  (
    daily.searches / NULLIF(daily.search_conversions, 0)::DOUBLE
  )::DOUBLE AS look_to_book, /* Searches per booking that came of them; null without one */
  (
    daily.lead_time_days / NULLIF(daily.searches_with_dates, 0)::DOUBLE
  )::DOUBLE AS avg_lead_time_days, /* Days from the search to the stay, of searches that said when, at most three years ahead */
  daily.searches_with_far_dates::BIGINT AS searches_with_far_dates /* Searches for a stay further ahead: left out of the lead time */
FROM daily
INNER JOIN arrived
  ON arrived.kpi_date = daily.kpi_date
LEFT JOIN daily AS prev_day
  ON prev_day.kpi_date = (
    daily.kpi_date - INTERVAL '1' DAY
  )::DATE
LEFT JOIN daily AS prev_week
  ON prev_week.kpi_date = (
    daily.kpi_date - INTERVAL '7' DAY
  )::DATE
LEFT JOIN daily AS prev_month
  ON prev_month.kpi_date = (
    daily.kpi_date - INTERVAL '1' MONTH
  )::DATE
LEFT JOIN daily AS prev_year
  ON prev_year.kpi_date = (
    daily.kpi_date - INTERVAL '1' YEAR
  )::DATE
