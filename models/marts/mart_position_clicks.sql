/* How often each place in the list of results is clicked: one row per position, learnt from the searches of the last 90 days.
   It is the first click of a search that counts, and only searches that said how many results they had; bots are left out. */
MODEL (
  name marts.mart_position_clicks,
  owner product,
  kind FULL,
  grain "position",
  audits (
    UNIQUE_VALUES(columns := (
      "position"
    )),
    NOT_NULL(columns := ("position", searches_shown, first_clicks, click_rate)),
    ASSERT_NEVER(condition := "position" < 1 OR first_clicks < 1 OR first_clicks > searches_shown)
  )
);

WITH pages /* Which places a search showed: its page of a list that has so many results */ AS (
  SELECT
    (
      page::BIGINT - 1
    ) * @results_per_page + 1 AS first_place,
    LEAST(results_count, page::BIGINT * @results_per_page) AS last_place,
    first_click_position AS clicked_place,
    COUNT(*) AS searches
  FROM marts.fct_search_funnel
  WHERE
    search_date >= @execution_ds::DATE - @DAYS(@click_curve_days)
    AND results_count > 0
    AND NOT COALESCE(is_bot, FALSE)
  GROUP BY
    page,
    results_count,
    first_click_position
), clicked AS (
  SELECT
    clicked_place,
    SUM(searches) AS searches
  FROM pages
  WHERE
    clicked_place BETWEEN first_place AND last_place
  GROUP BY
    clicked_place
), shown AS (
  SELECT
    first_place,
    last_place,
    SUM(searches) AS searches
  FROM pages
  GROUP BY
    first_place,
    last_place
)
SELECT
  clicked.clicked_place::INT AS position, /* Place in the list, from 1, counted over all pages */
  SUM(shown.searches)::BIGINT AS searches_shown, /* Searches that showed a result there */
  clicked.searches::BIGINT AS first_clicks, /* Searches of which it was the first click */
  (
    clicked.searches::DOUBLE / SUM(shown.searches)
  )::DOUBLE AS click_rate /* Probability that a result at this place is the first click */
FROM clicked
INNER JOIN shown
  ON clicked.clicked_place BETWEEN shown.first_place AND shown.last_place
GROUP BY
  clicked.clicked_place,
  clicked.searches
