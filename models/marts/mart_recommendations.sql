/* Recommended destinations: one row per user and destination, and per destination of the popular list ('__popular__').
   Who looked at Lisbon also looked at Porto: a user gets the destinations they looked at themselves and those that the same
   visitors looked at, less what they booked. Interest halves every 30 days; only the last 90 days count, so that the work
   depends on recent traffic, not on history. All interest fades alike, so scores change only with what visitors do. */
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
    visitor_id,
    user_id,
    destination,
    conversions,
    POWER(0.5, DATE_DIFF('SECOND', searched_at, @execution_dtntz) / 86400.0 / @recommendation_half_life_days) AS interest
  FROM marts.fct_search_funnel
  WHERE
    searched_at >= @execution_dtntz - @DAYS(@VAR('recommendation_window_days', 90))
    AND NOT destination IS NULL
    AND NOT COALESCE(is_bot, FALSE)
), interests AS (
  SELECT
    visitor_id,
    destination,
    MAX(user_id) AS user_id,
    SUM(interest) AS interest,
    SUM(conversions) AS bookings
  FROM looks
  GROUP BY
    visitor_id,
    destination
), popularity AS (
  SELECT
    destination,
    SUM(interest) AS interest
  FROM interests
  GROUP BY
    destination
), covisits AS (
  /* A visitor counts for a pair as much as for the weaker of their two interests. */
  SELECT
    seen.destination AS seen,
    other.destination AS other,
    SUM(LEAST(seen.interest, other.interest)) AS interest
  FROM interests AS seen
  INNER JOIN interests AS other
    ON other.visitor_id = seen.visitor_id AND other.destination <> seen.destination
  GROUP BY
    seen.destination,
    other.destination
), likeness AS (
  /* Cosine: a place that everybody looks at is not like everything. Between 0 and 1, and 1 for the place itself. */
  SELECT
    covisits.seen,
    covisits.other,
    covisits.interest / SQRT(seen.interest * other.interest) AS likeness,
    ROW_NUMBER() OVER (
      PARTITION BY covisits.seen
      ORDER BY covisits.interest / SQRT(seen.interest * other.interest) DESC, covisits.other
    ) AS nearness
  FROM covisits
  INNER JOIN popularity AS seen
    ON seen.destination = covisits.seen
  INNER JOIN popularity AS other
    ON other.destination = covisits.other
  UNION ALL
  SELECT
    destination,
    destination,
    1.0,
    0
  FROM popularity
), candidates AS (
  SELECT
    interests.user_id,
    likeness.other AS destination,
    SUM(interests.interest * likeness.likeness) AS points
  FROM interests
  INNER JOIN likeness
    ON likeness.seen = interests.destination AND likeness.nearness <= @VAR('recommendation_neighbours', 30)
  WHERE
    NOT interests.user_id IS NULL
  GROUP BY
    interests.user_id,
    likeness.other
  UNION ALL
  SELECT
    '__popular__',
    destination,
    interest
  FROM popularity
), wanted AS (
  /* Nobody is offered what they just booked. */
  SELECT
    candidates.user_id,
    candidates.destination,
    candidates.points
  FROM candidates
  LEFT JOIN interests AS booked
    ON booked.user_id = candidates.user_id
    AND booked.destination = candidates.destination
    AND booked.bookings > 0
  WHERE
    booked.user_id IS NULL
), scored AS (
  SELECT
    user_id,
    destination,
    ROUND(points / MAX(points) OVER (PARTITION BY user_id), 3) AS score
  FROM wanted
), ranked AS (
  SELECT
    user_id,
    destination,
    score,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY score DESC, destination) AS rank
  FROM scored
  WHERE
    score > 0
)
SELECT
  user_id::TEXT AS user_id, /* The user; '__popular__' for the list of those about whom we know nothing */
  destination::TEXT AS destination, /* Where they may want to go */
  score::DOUBLE AS score, /* Above 0 to 1, the user's best is 1 */
  rank::INT AS rank /* From 1; equal scores by name */
FROM ranked
WHERE
  rank <= @recommendations_per_user
