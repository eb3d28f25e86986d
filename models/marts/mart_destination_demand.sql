/* Demand for destinations: one row per day and destination. Bots are left out.
   A search asks for the destination of its first click, else for a place that its text names and that somebody had clicked
   by that day. Searches that name none are the row without destination.
   Made anew at each run: a late click on an earlier search makes a place known earlier, and moves later days. */
MODEL (
  name marts.mart_destination_demand,
  owner product,
  kind FULL,
  grain (demand_date, destination),
  audits (
    NOT_NULL(columns := (demand_date, searches, zero_result_searches, clicks, bookings, revenue)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (demand_date, destination)),
    ASSERT_NEVER(
      condition := zero_result_searches > searches OR searches < 1 OR revenue < 0 OR avg_lead_time_days < 0
    )
  )
);

WITH searches AS (
  SELECT
    search_date,
    destination,
    CASE WHEN destination IS NULL THEN LOWER(TRIM(query)) END AS text,
    has_results,
    clicks,
    conversions,
    revenue,
    lead_time_days
  FROM marts.fct_search_funnel
  WHERE
    NOT COALESCE(is_bot, FALSE)
), places AS (
  /* What is known as a destination, and since when. */
  SELECT
    LOWER(TRIM(destination)) AS place,
    MIN(destination) AS destination,
    MIN(search_date) AS known_from
  FROM marts.fct_search_funnel
  WHERE
    NOT destination IS NULL AND LENGTH(TRIM(destination)) > 0
  GROUP BY
    LOWER(TRIM(destination))
), texts AS (
  /* Each text once: many searches share one. */
  SELECT
    text,
    MAX(search_date) AS last_date
  FROM searches
  WHERE
    LENGTH(text) > 0
  GROUP BY
    text
), named AS (
  SELECT
    texts.text,
    places.destination,
    places.known_from,
    LENGTH(places.place) AS length
  FROM texts
  INNER JOIN places
    ON places.known_from <= texts.last_date
    AND STRPOS(' ' || REPLACE(texts.text, ',', ' ') || ' ', ' ' || places.place || ' ') > 0
), meanings AS (
  /* The longest name wins, from the day it is known: "new york" before "york". */
  SELECT
    text,
    destination,
    known_from,
    COALESCE(
      MIN(known_from) OVER (PARTITION BY text ORDER BY length DESC, destination ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
      '9999-12-31'::DATE
    ) AS known_until
  FROM named
), asked AS (
  SELECT
    searches.search_date,
    COALESCE(searches.destination, meanings.destination) AS destination,
    searches.has_results,
    searches.clicks,
    searches.conversions,
    searches.revenue,
    searches.lead_time_days
  FROM searches
  LEFT JOIN meanings
    ON meanings.text = searches.text
    AND meanings.known_from <= searches.search_date
    AND meanings.known_until > searches.search_date
)
SELECT
  asked.search_date::DATE AS demand_date, /* The day of the search, UTC */
  asked.destination::TEXT AS destination, /* The place asked for; null when the search named none that is known */
  COUNT(*)::BIGINT AS searches, /* Searches by people */
  COUNT(CASE WHEN NOT asked.has_results THEN 1 END)::BIGINT AS zero_result_searches, /* Searches that found nothing: demand that we cannot serve */
  SUM(asked.clicks)::BIGINT AS clicks, /* Clicks on their results */
  SUM(asked.conversions)::BIGINT AS bookings, /* Bookings that came of them */
  SUM(asked.revenue)::DECIMAL(18, 2) AS revenue, /* What was booked, in the reporting currency */
  (
    COUNT(*)::DOUBLE / NULLIF(SUM(asked.conversions), 0)
  )::DOUBLE AS look_to_book, /* Searches a booking; null without a booking */
  (
    SUM(asked.revenue)::DOUBLE / COUNT(*)
  )::DOUBLE AS revenue_per_search, /* Booked value a search */
  COUNT(asked.lead_time_days)::BIGINT AS searches_with_dates, /* Searches that said when */
  (
    SUM(asked.lead_time_days)::DOUBLE / NULLIF(COUNT(asked.lead_time_days), 0)
  )::DOUBLE AS avg_lead_time_days /* Days from the search to the stay, of those */
FROM asked
GROUP BY
  asked.search_date,
  asked.destination
