/* Recommended destinations: one row per user and destination, and per destination of the popular list ('__popular__').
   Who looked at Lisbon also looked at Porto: a user gets the destinations they looked at themselves and those that the same
   visitors looked at, less what they booked. Interest halves every 30 days; only the last 90 days count, so that the work
   depends on recent traffic, not on history. All interest fades alike, so scores change only with what visitors do.
   The rule stands in macros/recommendations.py; marts.mart_recommendation_quality tells how good it is. */
MODEL (
  name marts.mart_recommendations,
  owner product,
  kind FULL,
  grain (user_id, destination),
  audits (
    NOT_NULL(columns := (user_id, destination, score, rank)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (user_id, destination)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (user_id, rank)),
    ACCEPTED_RANGE("column" := score, min_v := 0, max_v := 1),
    ACCEPTED_RANGE("column" := rank, min_v := 1, max_v := 10, blocking := FALSE)
  )
);

WITH looks AS (
  /* A look is a search that led to a click on a destination. */
  SELECT
    @execution_dtntz AS as_of,
    visitor_id,
    user_id,
    destination,
    conversions AS bookings,
    POWER(0.5, DATE_DIFF('SECOND', searched_at, @execution_dtntz) / 86400.0 / @recommendation_half_life_days) AS interest
  FROM marts.fct_search_funnel
  WHERE
    searched_at >= @execution_dtntz - @DAYS(@recommendation_window_days)
    AND NOT destination IS NULL
    AND NOT COALESCE(is_bot, FALSE)
)
SELECT
  user_id::TEXT AS user_id, /* The user; '__popular__' for the list of those about whom we know nothing */
  destination::TEXT AS destination, /* Where they may want to go */
  score::DOUBLE AS score, /* Above 0 to 1, the user's best is 1 */
  rank::INT AS rank /* From 1; equal scores by name */
FROM @RECOMMENDATION_SCORES(looks) AS scores
WHERE
  rank <= @recommendations_per_user
