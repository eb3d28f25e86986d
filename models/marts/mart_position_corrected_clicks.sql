/* The click rate, corrected for positions: one row per day, platform, device and channel of the last 90 days.
   Clicks over expected clicks (COEC): 1 is what the places alone explain, above it the results are better than their places. How
   many clicks a search can expect follows from the places that it showed (marts.mart_position_clicks). Of several rows, divide the sums. */
MODEL (
  name marts.mart_position_corrected_clicks,
  owner product,
  kind FULL,
  grain (search_date, platform, device_type, channel),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (search_date, platform, device_type, channel)),
    NOT_NULL(columns := (search_date, channel, searches, searches_with_click, expected_clicks)),
    ASSERT_NEVER(condition := searches_with_click > searches OR expected_clicks < 0),
    expected_clicks_are_clicks
  )
);

WITH searches AS (
  SELECT
    search_date,
    platform,
    device_type,
    channel,
    (
      page::BIGINT - 1
    ) * @results_per_page + 1 AS first_place,
    LEAST(results_count, page::BIGINT * @results_per_page) AS last_place,
    COUNT(*) AS searches,
    COUNT(
      CASE
        WHEN first_click_position BETWEEN (
          page::BIGINT - 1
        ) * @results_per_page + 1 AND LEAST(results_count, page::BIGINT * @results_per_page)
        THEN 1
      END
    ) AS searches_with_click
  FROM marts.fct_search_funnel
  WHERE
    search_date >= @execution_ds::DATE - @DAYS(@click_curve_days)
    AND results_count > 0
    AND NOT COALESCE(is_bot, FALSE)
  GROUP BY
    search_date,
    platform,
    device_type,
    channel,
    page,
    results_count
), pages AS (
  SELECT
    first_place,
    last_place
  FROM searches
  GROUP BY
    first_place,
    last_place
), expected /* A search's first click is on one of its places, or on none */ AS (
  SELECT
    pages.first_place,
    pages.last_place,
    COALESCE(SUM(curve.click_rate), 0) AS clicks
  FROM pages
  LEFT JOIN marts.mart_position_clicks AS curve
    ON curve.position BETWEEN pages.first_place AND pages.last_place
  GROUP BY
    pages.first_place,
    pages.last_place
)
SELECT
  searches.search_date::DATE AS search_date, /* Day of the searches, UTC */
  searches.platform::TEXT AS platform, /* Platform of the searches; null is unknown */
  searches.device_type::TEXT AS device_type, /* Device type of the searches; null is unknown */
  searches.channel::TEXT AS channel, /* What brought the visitors */
  SUM(searches.searches)::BIGINT AS searches, /* Searches that showed results and said how many */
  SUM(searches.searches_with_click)::BIGINT AS searches_with_click, /* ... of which a place that they showed was clicked */
  SUM(searches.searches * expected.clicks)::DOUBLE AS expected_clicks, /* How many searches would have a click if the places alone decided */
  (
    SUM(searches.searches_with_click)::DOUBLE / SUM(searches.searches)
  )::DOUBLE AS click_rate, /* Share of searches with a click, not corrected */
  (
    SUM(searches.searches_with_click) / NULLIF(SUM(searches.searches * expected.clicks), 0)
  )::DOUBLE AS coec /* Clicks over expected clicks; null when none are expected */
FROM searches
INNER JOIN expected
  ON expected.first_place = searches.first_place AND expected.last_place = searches.last_place
GROUP BY
  searches.search_date,
  searches.platform,
  searches.device_type,
  searches.channel
