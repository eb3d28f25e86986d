/* The business on a page, without bots: one row per day.
   Searches, clicks and rates are those of the day's searches; conversions and revenue were booked on the day, with a search or
   without. A comparison is null when the other day has no row. Made anew at each run: a changed day changes what later ones are
   compared with. */
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
    ASSERT_NEVER(condition := finality < 0 OR finality > 1 OR click_through_rate > 1 OR conversion_rate > 1)
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
    SUM(revenue) AS search_revenue
  FROM marts.fct_search_funnel_daily
  GROUP BY
    search_date
), visits AS (
  SELECT
    session_date AS kpi_date,
    COUNT(CASE WHEN NOT is_bot THEN 1 END) AS sessions,
    COUNT(DISTINCT CASE WHEN NOT is_bot THEN visitor_id END) AS visitors,
    COALESCE(SUM(CASE WHEN is_bot THEN searches END), 0) AS bot_searches
  FROM intermediate.int_search_sessions
  GROUP BY
    session_date
), bookings AS (
  SELECT
    event_ts::DATE AS kpi_date,
    COUNT(*) AS conversions,
    COALESCE(SUM(booking_value_reporting), 0) AS revenue
  FROM staging.stg_conversion_events
  WHERE
    @KNOWN(ingested_at)
  GROUP BY
    event_ts::DATE
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
    COALESCE(visits.bot_searches, 0) AS bot_searches
  FROM dates
  LEFT JOIN funnel
    ON funnel.kpi_date = dates.kpi_date
  LEFT JOIN visits
    ON visits.kpi_date = dates.kpi_date
  LEFT JOIN bookings
    ON bookings.kpi_date = dates.kpi_date
), ages AS (
  SELECT
    kpi_date,
    LEAST(GREATEST(DATE_DIFF('SECOND', kpi_date::TIMESTAMP, @execution_ts::TIMESTAMP) / 86400.0, 0), 1) AS elapsed,
    DATE_DIFF('SECOND', kpi_date::TIMESTAMP + @DAYS(1), @execution_ts::TIMESTAMP) / 3600.0 AS hours_since_end
  FROM daily
), arrived /* Counted from the end of the day: what happened earlier had longer to arrive */ AS (
  SELECT
    ages.kpi_date,
    ages.elapsed * MAX(
      CASE
        WHEN lateness.within_hours = 1 OR lateness.within_hours <= ages.hours_since_end
        THEN lateness.share_arrived
      END
    ) AS finality
  FROM ages
  CROSS JOIN ops.lateness AS lateness
  GROUP BY
    ages.kpi_date,
    ages.elapsed
)
SELECT
  daily.kpi_date::DATE AS kpi_date, /* Day, UTC */
  daily.searches::BIGINT AS searches, /* Searches of people */
  daily.sessions::BIGINT AS sessions, /* Sessions that began */
  daily.visitors::BIGINT AS visitors, /* Different visitors in those sessions */
  daily.clicks::BIGINT AS clicks, /* Clicks on results of the day's searches */
  daily.conversions::BIGINT AS conversions, /* Bookings made on the day */
  daily.revenue::DECIMAL(18, 2) AS revenue, /* For how much, in the reporting currency */
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
  prev_day.searches::BIGINT AS searches_prev_day, /* The day before */
  prev_week.searches::BIGINT AS searches_prev_week, /* Seven days before */
  prev_month.searches::BIGINT AS searches_prev_month, /* The same day of the month before */
  prev_year.searches::BIGINT AS searches_prev_year, /* The same day of the year before */
  prev_day.conversions::BIGINT AS conversions_prev_day, /* The day before */
  prev_week.conversions::BIGINT AS conversions_prev_week, /* Seven days before */
  prev_month.conversions::BIGINT AS conversions_prev_month, /* The same day of the month before */
  prev_year.conversions::BIGINT AS conversions_prev_year, /* The same day of the year before */
  prev_day.revenue::DECIMAL(18, 2) AS revenue_prev_day, /* The day before */
  prev_week.revenue::DECIMAL(18, 2) AS revenue_prev_week, /* Seven days before */
  prev_month.revenue::DECIMAL(18, 2) AS revenue_prev_month, /* The same day of the month before */
  prev_year.revenue::DECIMAL(18, 2) AS revenue_prev_year, /* The same day of the year before */
  daily.bot_searches::BIGINT AS bot_searches, /* Searches of runaway sessions, not counted above */
  arrived.finality::DOUBLE AS finality, /* Share of the day's events expected to be here */
  (
    arrived.finality >= @final_share
  )::BOOLEAN AS is_final /* Nothing of weight is expected any more */
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
