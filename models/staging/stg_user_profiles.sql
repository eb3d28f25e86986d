/* Users as they describe themselves, newest version: one row per user */
MODEL (
  name staging.stg_user_profiles,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (
    user_id
  ),
  audits (UNIQUE_VALUES(columns := (
      user_id
  )), NOT_NULL(columns := (user_id, updated_at)))
);

WITH versions AS (
  SELECT
    user_id,
    email,
    name,
    locale,
    time_zone,
    country,
    marketing_consent,
    created_at,
    updated_at,
    ingested_at,
    batch_id,
    ROW_NUMBER() OVER (
      PARTITION BY user_id, updated_at, ingested_at, batch_id
      ORDER BY TRY_CAST(source_position AS BIGINT) DESC, COALESCE(marketing_consent, FALSE), email
    ) AS from_the_end /* The last line of a file wins, by its number: as text line 9 is after line 12. */
  FROM raw.user_profiles
), last_lines AS (
  SELECT
    user_id,
    email,
    name,
    locale,
    time_zone,
    country,
    MIN(CASE WHEN marketing_consent THEN 1 ELSE 0 END) OVER (PARTITION BY user_id, updated_at, ingested_at) = 1 AS marketing_consent,
    created_at,
    updated_at,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY updated_at DESC, ingested_at DESC, batch_id DESC) AS newest
  FROM versions
  WHERE
    from_the_end = 1
)
SELECT
  user_id::TEXT AS user_id, /* The user */
  email::TEXT AS email, /* Personal: address */
  name::TEXT AS name, /* Personal: name */
  locale::TEXT AS locale, /* Personal: language and region */
  time_zone::TEXT AS time_zone, /* Personal: IANA zone */
  country::TEXT AS country, /* Personal: ISO 3166 alpha-2 */
  marketing_consent::BOOLEAN AS marketing_consent, /* Whether we may write to them: unknown means no, and so do two files of one moment of which one says no */
  created_at::TIMESTAMP AS created_at, /* When the account was made, UTC */
  updated_at::TIMESTAMP AS updated_at /* When the profile last changed, UTC */
FROM last_lines
WHERE
  newest = 1
