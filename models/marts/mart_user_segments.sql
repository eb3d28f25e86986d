/* User segments now: one row per user of dim_users, in exactly one segment. The rule stands in macros/segments.py. */
MODEL (
  name marts.mart_user_segments,
  owner crm,
  kind FULL,
  grain user_id,
  audits (
    NOT_NULL(columns := (user_id, segment, segment_as_of)),
    UNIQUE_VALUES(columns := (
      user_id
    )),
    ACCEPTED_VALUES("column" := segment, is_in := ('high_value', 'new_user', 'at_risk', 'abandoned_search', 'regular')),
    segments_cover_all_users
  )
);

SELECT
  user_id::TEXT AS user_id, /* The user */
  @SEGMENT_AT(@execution_dtntz)::TEXT AS segment, /* The first that holds of high_value, new_user, at_risk, abandoned_search, regular */
  lifetime_revenue::DECIMAL(18, 2) AS lifetime_revenue, /* Booked value in the reporting currency */
  conversions::BIGINT AS conversions, /* Bookings, ever */
  first_seen_at::TIMESTAMP AS first_seen_at, /* Their first event */
  last_seen_at::TIMESTAMP AS last_seen_at, /* Their newest event */
  last_searched_at::TIMESTAMP AS last_search_at, /* Their newest search */
  @execution_dtntz::TIMESTAMP AS segment_as_of /* The moment for which the segment holds */
FROM marts.dim_users
