/* Rows that the e-mail queue is sent: one row per user and day of an abandoned search, of users who agreed to be written to.
   Who is on the suppression list (`searchflow email suppress`) is left out; the worker looks again before a message goes. */
MODEL (
  name activation.act_abandoned_search_emails,
  owner crm,
  kind VIEW,
  grain idempotency_key,
  audits (
    NOT_NULL(columns := (idempotency_key, user_id, email, searched_at)),
    UNIQUE_VALUES(columns := (
      idempotency_key
    )),
    only_with_consent
  )
);

WITH changes AS (
  SELECT
    user_id,
    suppressed,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY changed_at DESC, suppressed DESC) AS recency
  FROM ops.email_suppressions
  WHERE
    NOT user_id IS NULL
), suppressed AS (
  SELECT
    user_id
  FROM changes
  WHERE
    recency = 1 AND suppressed
)
SELECT
  (
    abandoned.user_id || ':abandoned_search:' || abandoned.trigger_window::TEXT
  )::TEXT AS idempotency_key, /* User, trigger and day: sent once, ever */
  abandoned.user_id::TEXT AS user_id, /* The user to write to */
  users.email::TEXT AS email, /* Personal data: e-mail address */
  users.name::TEXT AS name, /* Personal data: name */
  users.locale::TEXT AS locale, /* Personal data: the language to write in */
  users.time_zone::TEXT AS time_zone, /* Personal data: where their day begins */
  abandoned.query::TEXT AS query, /* Personal data: what they asked for */
  abandoned.destination::TEXT AS destination, /* Where the first result they clicked leads; null without a click */
  abandoned.searched_at::TIMESTAMP AS searched_at /* When they searched, UTC */
FROM marts.mart_abandoned_searches AS abandoned
INNER JOIN marts.dim_users AS users
  ON users.user_id = abandoned.user_id
LEFT JOIN suppressed
  ON suppressed.user_id = abandoned.user_id
WHERE
  users.marketing_consent
  AND NOT users.email IS NULL
  AND users.email <> ''
  AND suppressed.user_id IS NULL
