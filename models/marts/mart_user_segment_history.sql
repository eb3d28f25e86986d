/* Segment history, type 2: one row per user and period in one segment.
   Made from the events rather than from past runs: a segment is a function of what a user did until a moment, and it changes
   only with an event or when a limit of time passes. So the first run knows the whole history, any number of runs gives
   the same rows, and a late event corrects the past. A limit counts as passed a second later.
   A run rebuilds the users of whom anything moved since, or who are in another segment by now: as time passes without an
   event, a user never returns to a segment that they left. */
MODEL (
  name marts.mart_user_segment_history,
  owner crm,
  kind CUSTOM (
    materialization 'changed_keys',
    materialization_properties (key = user_id, gone = 'segment IS NULL')
  ),
  grain (user_id, valid_from),
  audits (
    NOT_NULL(columns := (user_id, segment, valid_from), condition := made_at = @execution_dtntz),
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (user_id, valid_from), condition := made_at = @execution_dtntz),
    ACCEPTED_VALUES(
      "column" := segment,
      is_in := ('high_value', 'new_user', 'at_risk', 'abandoned_search', 'regular'),
      condition := made_at = @execution_dtntz
    ),
    HISTORY_HAS_NO_GAPS(key := user_id, state := segment),
    HISTORY_ENDS_IN_THE_CURRENT_SEGMENT(blocking := FALSE)
  )
);

WITH users /* What each user's rows should be made from, and where they should end */ AS (
  SELECT
    days.user_id,
    (
      SUM(days.digest) % 2305843009213693951
    )::BIGINT AS digest,
    MAX(current_segments.segment) AS segment
  FROM intermediate.int_user_days AS days
  LEFT JOIN marts.mart_user_segments AS current_segments
    ON current_segments.user_id = days.user_id
  GROUP BY
    days.user_id
), made /* What they were made from, and where they end */ AS (
  SELECT
    kept.user_id,
    kept.made_from AS digest,
    kept.segment
  FROM marts.mart_user_segment_history AS kept
  WHERE
    kept.valid_to IS NULL
), changed AS (
  SELECT
    COALESCE(users.user_id, made.user_id) AS user_id,
    users.digest
  FROM users
  FULL JOIN made
    ON made.user_id = users.user_id
  WHERE
    users.digest IS DISTINCT FROM made.digest OR users.segment IS DISTINCT FROM made.segment
), happenings AS (
  SELECT
    user_id,
    session_start AS seen_at,
    NULL::TIMESTAMP AS searched_at,
    NULL::TIMESTAMP AS converted_at,
    NULL::DECIMAL(38, 4) AS revenue
  FROM intermediate.int_search_sessions
  WHERE
    user_id IN (
      SELECT
        user_id
      FROM changed
    )
  UNION ALL
  SELECT
    user_id,
    session_end AS seen_at,
    NULL AS searched_at,
    NULL AS converted_at,
    NULL AS revenue
  FROM intermediate.int_search_sessions
  WHERE
    user_id IN (
      SELECT
        user_id
      FROM changed
    )
  UNION ALL
  SELECT
    user_id,
    searched_at AS seen_at,
    searched_at,
    NULL AS converted_at,
    NULL AS revenue
  FROM marts.fct_search_funnel
  WHERE
    user_id IN (
      SELECT
        user_id
      FROM changed
    )
  UNION ALL
  SELECT
    user_id,
    converted_at AS seen_at,
    NULL AS searched_at,
    converted_at,
    COALESCE(booking_value_reporting, 0) AS revenue
  FROM intermediate.int_user_journeys
  WHERE
    position = 1 AND user_id IN (
      SELECT
        user_id
      FROM changed
    )
), spaced AS (
  /* With when the user was seen and searched next: only a silence longer than a limit lets it pass. */
  SELECT
    user_id,
    seen_at,
    searched_at,
    LEAD(seen_at) OVER (PARTITION BY user_id ORDER BY seen_at) AS next_seen_at,
    LEAD(searched_at) OVER (PARTITION BY user_id ORDER BY searched_at) AS next_searched_at
  FROM happenings
), limits AS (
  SELECT
    user_id,
    MIN(seen_at) + @DAYS(@new_user_days) + INTERVAL '1' SECOND AS passed_at
  FROM happenings
  GROUP BY
    user_id
  UNION ALL
  SELECT
    user_id,
    seen_at + @DAYS(@at_risk_days) + INTERVAL '1' SECOND AS passed_at
  FROM spaced
  WHERE
    next_seen_at IS NULL OR next_seen_at > seen_at + @DAYS(@at_risk_days)
  UNION ALL
  SELECT
    user_id,
    searched_at + @HOURS(@abandoned_hours) + INTERVAL '1' SECOND AS passed_at
  FROM spaced
  WHERE
    NOT searched_at IS NULL
    AND (
      next_searched_at IS NULL OR next_searched_at > searched_at + @HOURS(@abandoned_hours)
    )
), moments AS (
  /* What happened, and when a limit passed: that says nothing new, but the rule may answer otherwise from then on. */
  SELECT
    user_id,
    seen_at AS moment,
    seen_at,
    searched_at,
    converted_at,
    revenue
  FROM happenings
  UNION ALL
  SELECT
    user_id,
    passed_at AS moment,
    NULL AS seen_at,
    NULL AS searched_at,
    NULL AS converted_at,
    NULL AS revenue
  FROM limits
  WHERE
    passed_at <= @execution_dtntz
), known AS (
  /* What was known of the user at each moment, that moment included. */
  SELECT
    user_id,
    moment,
    COALESCE(SUM(revenue) OVER so_far, 0) AS lifetime_revenue,
    COUNT(converted_at) OVER so_far AS conversions,
    MIN(seen_at) OVER so_far AS first_seen_at,
    MAX(seen_at) OVER so_far AS last_seen_at,
    MAX(searched_at) OVER so_far AS last_searched_at,
    MAX(converted_at) OVER so_far AS last_converted_at
  FROM moments
  WINDOW so_far AS (PARTITION BY user_id ORDER BY moment RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
), answers AS (
  SELECT DISTINCT
    user_id,
    moment,
    @SEGMENT_AT(moment) AS segment
  FROM known
), compared AS (
  SELECT
    user_id,
    moment,
    segment,
    LAG(segment) OVER (PARTITION BY user_id ORDER BY moment) AS previous_segment
  FROM answers
), periods AS (
  SELECT
    user_id,
    segment,
    moment AS valid_from,
    LEAD(moment) OVER (PARTITION BY user_id ORDER BY moment) AS valid_to,
    previous_segment
  FROM compared
  WHERE
    previous_segment IS NULL OR previous_segment <> segment
)
SELECT
  changed.user_id::TEXT AS user_id, /* The user */
  periods.segment::TEXT AS segment, /* Their segment in the period */
  periods.valid_from::TIMESTAMP AS valid_from, /* The moment the period began */
  periods.valid_to::TIMESTAMP AS valid_to, /* The moment it ended, which no longer belongs to it; null while it lasts */
  periods.previous_segment::TEXT AS previous_segment, /* The segment before it; null in a user's first period */
  ROW_NUMBER() OVER (
    PARTITION BY changed.user_id, DATE_TRUNC('MONTH', periods.valid_from), periods.previous_segment, periods.segment
    ORDER BY periods.valid_from
  )::BIGINT AS change_of_month, /* Ordinal of the change among the user's from that segment to this one in the month, from 1 */
  changed.digest::BIGINT AS made_from, /* Digest of what the user did when their rows were made */
  @execution_dtntz::TIMESTAMP AS made_at /* When their rows were made, UTC */
FROM changed
LEFT JOIN periods
  ON periods.user_id = changed.user_id
