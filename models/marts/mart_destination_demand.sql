/* Demand for destinations: one row per day and destination. Bots are left out.
   A search asks for the destination of its first click, else for a place that its text names and that a user had clicked
   in the 90 days up to that day. Searches that name none are the row without destination. */
MODEL (
  name marts.mart_destination_demand,
  owner product,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column demand_date,
    partition_by_time_column FALSE
  ),
  tags ('visits reach: place_memory_days + funnel_window_days', 'searches'),
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
    search_date BETWEEN @start_ds AND @end_ds AND NOT COALESCE(is_bot, FALSE)
), clicked AS (
  /* A first click is at most the funnel's window after its search, and by a wrong clock a day before it. */
  SELECT
    destination,
    first_click_at::DATE AS clicked_on,
    COUNT(*) AS clicks
  FROM marts.fct_search_funnel
  WHERE
    search_date >= @start_ds::DATE - @DAYS(@place_memory_days) - @DAYS(@funnel_window_days)
    AND search_date <= @end_ds::DATE + @DAYS(1)
    AND first_click_at >= @start_ds::TIMESTAMP - @DAYS(@place_memory_days)
    AND first_click_at < @end_ds::TIMESTAMP + @DAYS(1)
    AND LENGTH(TRIM(destination)) > 0
  GROUP BY
    destination,
    first_click_at::DATE
), places AS (
  /* What is known as a destination, from a day on which it was clicked until it is clicked again or forgotten. */
  SELECT
    LOWER(TRIM(destination)) AS place,
    ' ' || LOWER(TRIM(destination)) || ' ' AS name,
    MIN(destination) AS destination,
    clicked_on AS known_from,
    LEAST(
      COALESCE(LEAD(clicked_on) OVER (PARTITION BY LOWER(TRIM(destination)) ORDER BY clicked_on), '9999-12-31'::DATE),
      clicked_on + (
        @place_memory_days + 1
      )::INT
    ) AS known_until
  FROM clicked
  GROUP BY
    LOWER(TRIM(destination)),
    clicked_on
), texts AS (
  /* Each text once: many searches share one. */
  SELECT
    text,
    ' ' || REPLACE(text, ',', ' ') || ' ' AS words
  FROM searches
  WHERE
    LENGTH(text) > 0
  GROUP BY
    text
), named AS (
  SELECT
    texts.text,
    names.place
  FROM texts
  INNER JOIN (
    SELECT DISTINCT
      place,
      name
    FROM places
  ) AS names
    ON STRPOS(texts.words, names.name) > 0
), asked_by_text AS (
  SELECT DISTINCT
    text,
    search_date
  FROM searches
  WHERE
    LENGTH(text) > 0
), meanings AS (
  /* The longest name that is known on the day wins: "new york" before "york". */
  SELECT
    asked_by_text.text,
    asked_by_text.search_date,
    places.destination,
    ROW_NUMBER() OVER (
      PARTITION BY asked_by_text.text, asked_by_text.search_date
      ORDER BY LENGTH(places.place) DESC, places.destination
    ) AS choice
  FROM asked_by_text
  INNER JOIN named
    ON named.text = asked_by_text.text
  INNER JOIN places
    ON places.place = named.place
    AND places.known_from <= asked_by_text.search_date
    AND places.known_until > asked_by_text.search_date
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
    ON meanings.text = searches.text AND meanings.search_date = searches.search_date AND meanings.choice = 1
)
SELECT
  asked.search_date::DATE AS demand_date, /* The day of the search, UTC */
  asked.destination::TEXT AS destination, /* The place asked for; null when the search named none that is known */
  COUNT(*)::BIGINT AS searches, /* Searches by people */
  COUNT(CASE WHEN NOT asked.has_results THEN 1 END)::BIGINT AS zero_result_searches, /* Searches that found nothing: demand that we cannot serve */
  SUM(asked.clicks)::BIGINT AS clicks, /* Clicks on their results */
  SUM(asked.conversions)::BIGINT AS bookings, /* Bookings that came of them */
  SUM(asked.revenue)::DECIMAL(38, 4) AS revenue, /* Booked value in the reporting currency */
  (
    COUNT(*)::DOUBLE / NULLIF(SUM(asked.conversions), 0)
  )::DOUBLE AS look_to_book, /* Searches per booking; null without a booking */
  (
    SUM(asked.revenue)::DOUBLE / COUNT(*)
  )::DOUBLE AS revenue_per_search, /* Booked value per search */
  COUNT(CASE WHEN asked.lead_time_days <= @longest_lead_time_days THEN 1 END)::BIGINT AS searches_with_dates, /* Searches that said when the stay begins, at most three years ahead */
  (
    SUM(CASE WHEN asked.lead_time_days <= @longest_lead_time_days THEN asked.lead_time_days END)::DOUBLE / NULLIF(COUNT(CASE WHEN asked.lead_time_days <= @longest_lead_time_days THEN 1 END), 0)
  )::DOUBLE AS avg_lead_time_days, /* Average days from those searches to the stay */
  COUNT(CASE WHEN asked.lead_time_days > @longest_lead_time_days THEN 1 END)::BIGINT AS searches_with_far_dates /* Searches for a stay further ahead: left out of the lead time */
FROM asked
GROUP BY
  asked.search_date,
  asked.destination
