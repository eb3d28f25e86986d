/* User segments now: one row per user of dim_users, in exactly one segment. The rule stands in macros/segments.py.
   Customers, that is users who ever booked, also have RFM scores: quintiles among all customers, 5 is best. A quintile is
   1 + floor(5 * customers with less / customers), so that equal customers have equal scores. */
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
    ASSERT_NEVER(
      condition := rfm_recency < 1
      OR rfm_recency > 5
      OR rfm_frequency < 1
      OR rfm_frequency > 5
      OR rfm_monetary < 1
      OR rfm_monetary > 5
      OR (
        conversions > 0
      ) <> (
        NOT rfm IS NULL
      )
    ),
    segments_cover_all_users
  )
);

WITH customers AS (
  SELECT
    user_id,
    last_converted_at,
    conversions,
    lifetime_revenue
  FROM marts.dim_users
  WHERE
    conversions > 0
), scores AS (
  SELECT
    customers.user_id,
    FLOOR(5.0 * (
      RANK() OVER (ORDER BY customers.last_converted_at) - 1
    ) / total.customers)::INT + 1 AS recency,
    FLOOR(5.0 * (
      RANK() OVER (ORDER BY customers.conversions) - 1
    ) / total.customers)::INT + 1 AS frequency,
    FLOOR(5.0 * (
      RANK() OVER (ORDER BY customers.lifetime_revenue) - 1
    ) / total.customers)::INT + 1 AS monetary
  FROM customers
  CROSS JOIN (
    SELECT
      COUNT(*) AS customers
    FROM customers
  ) AS total
)
SELECT
  users.user_id::TEXT AS user_id, /* The user */
  @SEGMENT_AT(@execution_dtntz)::TEXT AS segment, /* The first that holds of high_value, new_user, at_risk, abandoned_search, regular */
  users.lifetime_revenue::DECIMAL(38, 4) AS lifetime_revenue, /* Booked value in the reporting currency */
  users.conversions::BIGINT AS conversions, /* Bookings, ever */
  users.first_seen_at::TIMESTAMP AS first_seen_at, /* Their first event */
  users.last_seen_at::TIMESTAMP AS last_seen_at, /* Their newest event */
  users.last_searched_at::TIMESTAMP AS last_search_at, /* Their newest search */
  @execution_dtntz::TIMESTAMP AS segment_as_of, /* The moment for which the segment holds */
  users.last_converted_at::TIMESTAMP AS last_converted_at, /* Their newest booking */
  scores.recency::INT AS rfm_recency, /* Quintile by the newest booking: 5 is the newest; null for users who never booked */
  scores.frequency::INT AS rfm_frequency, /* Quintile by how many bookings, ever */
  scores.monetary::INT AS rfm_monetary, /* Quintile by booked value, ever */
  (
    scores.recency::TEXT || scores.frequency::TEXT || scores.monetary::TEXT
  )::TEXT AS rfm /* The three beside each other: 555 is the best customer */
FROM marts.dim_users AS users
LEFT JOIN scores
  ON scores.user_id = users.user_id
