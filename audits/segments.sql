AUDIT (
  name segments_cover_all_users
);

/* Each user is in exactly one segment: no user of dim_users is missing, and no other user is there. */
SELECT
  COALESCE(users.user_id, segments.user_id) AS user_id
FROM marts.dim_users AS users
FULL JOIN @this_model AS segments
  ON segments.user_id = users.user_id
WHERE
  users.user_id IS NULL OR segments.user_id IS NULL;

AUDIT (
  name history_has_no_gaps
);

/* A period begins where the one before it ended, in another state, and only the last one is open. Of the histories that this
run made; the others are as an earlier run left them. */
SELECT
  *
FROM (
  SELECT
    @key,
    @state,
    valid_from,
    valid_to,
    LEAD(valid_from) OVER (PARTITION BY @key ORDER BY valid_from) AS next_from,
    LEAD(@state) OVER (PARTITION BY @key ORDER BY valid_from) AS next_state
  FROM @this_model
  WHERE
    made_at = @execution_dtntz
) AS periods
WHERE
  valid_to <= valid_from OR valid_to IS DISTINCT FROM next_from OR next_state = @state;

AUDIT (
  name history_ends_in_the_current_segment
);

/* Two ways to the same answer: the open period of the history is the segment that the rule gives now. Not blocking: a plan
that rebuilds only the history compares it with segments of an earlier moment. */
SELECT
  COALESCE(current_segments.user_id, history.user_id) AS user_id,
  current_segments.segment AS current_segment,
  history.segment AS history_segment
FROM (
  SELECT
    user_id,
    segment
  FROM @this_model
  WHERE
    valid_to IS NULL
) AS history
FULL JOIN marts.mart_user_segments AS current_segments
  ON current_segments.user_id = history.user_id
WHERE
  current_segments.segment IS DISTINCT FROM history.segment
