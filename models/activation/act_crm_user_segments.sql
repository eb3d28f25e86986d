/* Rows that the CRM is sent: one row per user. No name and no address: the CRM knows its customers by their id. */
MODEL (
  name activation.act_crm_user_segments,
  owner crm,
  kind VIEW,
  grain user_id,
  audits (NOT_NULL(columns := (user_id, segment)), UNIQUE_VALUES(columns := (
      user_id
  )))
);

SELECT
  segments.user_id::TEXT AS user_id, /* The user: the key in the CRM */
  segments.segment::TEXT AS segment, /* Their segment now */
  segments.lifetime_revenue::DECIMAL(38, 4) AS lifetime_revenue, /* Booked value in the reporting currency */
  segments.conversions::BIGINT AS conversions, /* Bookings, ever */
  segments.last_seen_at::TIMESTAMP AS last_seen_at, /* Their newest event, UTC */
  users.country::TEXT AS country /* Country of their newest visit */
FROM marts.mart_user_segments AS segments
INNER JOIN marts.dim_users AS users
  ON users.user_id = segments.user_id
