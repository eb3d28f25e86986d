AUDIT (
  name only_with_consent
);

/* No message goes to a user who did not agree to it. */
SELECT
  messages.user_id
FROM @this_model AS messages
LEFT JOIN marts.dim_users AS users
  ON users.user_id = messages.user_id AND users.marketing_consent
WHERE
  users.user_id IS NULL
