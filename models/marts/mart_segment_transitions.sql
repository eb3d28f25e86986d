/* Segment transitions: one row per month, segment left and segment entered. A user's first segment is no transition. */
MODEL (
  name marts.mart_segment_transitions,
  owner crm,
  kind FULL,
  grain (month, from_segment, to_segment),
  audits (
    NOT_NULL(columns := (month, from_segment, to_segment, users, transitions)),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (month, from_segment, to_segment)),
    ASSERT_NEVER(condition := from_segment = to_segment),
    ASSERT_NEVER(condition := users > transitions)
  )
);

SELECT
  DATE_TRUNC('MONTH', valid_from)::DATE AS month, /* The month of the change, by its first day */
  previous_segment::TEXT AS from_segment, /* The segment they left */
  segment::TEXT AS to_segment, /* The segment they entered */
  COUNT(CASE WHEN change_of_month = 1 THEN 1 END)::BIGINT AS users, /* Users who made this change in the month */
  COUNT(*)::BIGINT AS transitions /* How often: a user may make the same change several times a month */
FROM marts.mart_user_segment_history
WHERE
  NOT previous_segment IS NULL
GROUP BY
  DATE_TRUNC('MONTH', valid_from)::DATE,
  previous_segment,
  segment
