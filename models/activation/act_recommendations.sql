/* Rows that the recommendation cache is sent: one row per user and destination; the user '__popular__' holds the fallback list. */
MODEL (
  name activation.act_recommendations,
  owner product,
  kind VIEW,
  grain (user_id, destination),
  audits (
    NOT_NULL(columns := (user_id, destination, score, rank)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (user_id, destination))
  )
);

SELECT
  user_id::TEXT AS user_id, /* The user, or '__popular__' */
  destination::TEXT AS destination, /* Where they may want to go */
  score::DOUBLE AS score, /* Above 0 to 1, the user's best is 1 */
  rank::INT AS rank /* Place in the user's list, from 1 */
FROM marts.mart_recommendations
