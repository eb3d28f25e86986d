/* How good recommendations would have been: one row per held-out week, scope and recommender.
   The last four weeks are held out in turn. The recommender learns from what was known when a week began: looks whose search and
   click, logins and bookings lie before it; then its ten best are compared with what its users looked at in the week. Beside
   it stands the popular list, the same for every user. Scope 'all' is every destination; 'new' leaves out those that the user had looked
   at before, in the lists and in the week. Rebuilt when a month is over: it learns from four windows
   of 90 days, which is as much work as all other models have on a day. */
MODEL (
  name marts.mart_recommendation_quality,
  owner product,
  kind FULL,
  cron '@monthly',
  interval_unit 'month',
  allow_partials FALSE,
  grain (held_out_from, scope, recommender),
  audits (
    UNIQUE_COMBINATION_OF_COLUMNS(columns := (held_out_from, scope, recommender)),
    NOT_NULL(columns := (held_out_from, held_out_until, scope, recommender, users, recall_at_10, ndcg_at_10)),
    ACCEPTED_RANGE("column" := recall_at_10, min_v := 0, max_v := 1),
    ACCEPTED_RANGE("column" := ndcg_at_10, min_v := 0, max_v := 1)
  )
);

WITH weeks AS (
  SELECT
    @execution_ds::DATE::TIMESTAMP - @DAYS(7) AS as_of
  UNION ALL
  SELECT
    @execution_ds::DATE::TIMESTAMP - @DAYS(14)
  UNION ALL
  SELECT
    @execution_ds::DATE::TIMESTAMP - @DAYS(21)
  UNION ALL
  SELECT
    @execution_ds::DATE::TIMESTAMP - @DAYS(28)
), seen /* Looks by people, of the held-out weeks and of what is learnt from before them */ AS (
  SELECT
    searched_at,
    first_click_at,
    first_conversion_at,
    session_id,
    visitor_id,
    user_id,
    destination
  FROM marts.fct_search_funnel
  WHERE
    searched_at >= @execution_ds::DATE::TIMESTAMP - @DAYS(28) - @DAYS(@recommendation_window_days)
    AND searched_at < @execution_ds::DATE::TIMESTAMP
    AND NOT destination IS NULL
    AND NOT COALESCE(is_bot, FALSE)
), looks /* As they were known when the week began: a click, a login or a booking after that says nothing yet */ AS (
  SELECT
    weeks.as_of,
    CASE WHEN identity.identified_at < weeks.as_of THEN seen.visitor_id ELSE 'anon:' || seen.session_id END AS visitor_id,
    CASE WHEN identity.identified_at < weeks.as_of THEN seen.user_id END AS user_id,
    seen.destination,
    CASE WHEN seen.first_conversion_at < weeks.as_of THEN 1 ELSE 0 END AS bookings,
    POWER(0.5, DATE_DIFF('SECOND', seen.searched_at, weeks.as_of) / 86400.0 / @recommendation_half_life_days) AS interest
  FROM weeks
  INNER JOIN seen
    ON seen.searched_at < weeks.as_of
    AND seen.first_click_at < weeks.as_of
    AND seen.searched_at >= weeks.as_of - @DAYS(@recommendation_window_days)
  INNER JOIN intermediate.int_identity AS identity
    ON identity.session_id = seen.session_id
), wanted /* What users looked at in the week */ AS (
  SELECT DISTINCT
    weeks.as_of,
    seen.user_id,
    seen.destination
  FROM weeks
  INNER JOIN seen
    ON seen.searched_at >= weeks.as_of AND seen.searched_at < weeks.as_of + @DAYS(7)
  WHERE
    NOT seen.user_id IS NULL
), scores AS (
  SELECT
    as_of,
    user_id,
    destination,
    score,
    rank
  FROM @RECOMMENDATION_SCORES(looks, wanted) AS scores
), known AS (
  SELECT DISTINCT
    as_of,
    user_id,
    destination
  FROM looks
  WHERE
    NOT user_id IS NULL
), listed /* Who had a list of their own */ AS (
  SELECT
    as_of,
    user_id,
    COUNT(*) AS destinations
  FROM scores
  WHERE
    user_id <> '__popular__'
  GROUP BY
    as_of,
    user_id
), tested AS (
  SELECT
    listed.as_of,
    listed.user_id,
    COUNT(DISTINCT known.destination) AS known_destinations
  FROM listed
  INNER JOIN wanted
    ON wanted.as_of = listed.as_of AND wanted.user_id = listed.user_id
  LEFT JOIN known
    ON known.as_of = listed.as_of AND known.user_id = listed.user_id
  GROUP BY
    listed.as_of,
    listed.user_id
), popular AS (
  SELECT
    as_of,
    destination,
    score,
    rank
  FROM scores
  WHERE
    user_id = '__popular__'
), offers /* Of each list as many as are left when what the user knows is taken out */ AS (
  SELECT
    'recommendations' AS recommender,
    tested.as_of,
    tested.user_id,
    scores.destination,
    scores.score
  FROM tested
  INNER JOIN scores
    ON scores.as_of = tested.as_of
    AND scores.user_id = tested.user_id
    AND scores.rank <= 10 + tested.known_destinations
  UNION ALL
  SELECT
    'popular' AS recommender,
    tested.as_of,
    tested.user_id,
    popular.destination,
    popular.score
  FROM tested
  INNER JOIN popular
    ON popular.as_of = tested.as_of AND popular.rank <= 10 + tested.known_destinations
), scoped_offers AS (
  SELECT
    'all' AS scope,
    recommender,
    as_of,
    user_id,
    destination,
    score
  FROM offers
  UNION ALL
  SELECT
    'new' AS scope,
    offers.recommender,
    offers.as_of,
    offers.user_id,
    offers.destination,
    offers.score
  FROM offers
  LEFT JOIN known
    ON known.as_of = offers.as_of
    AND known.user_id = offers.user_id
    AND known.destination = offers.destination
  WHERE
    known.user_id IS NULL
), lists AS (
  SELECT
    scope,
    recommender,
    as_of,
    user_id,
    destination,
    ROW_NUMBER() OVER (PARTITION BY scope, recommender, as_of, user_id ORDER BY score DESC, destination) AS place
  FROM scoped_offers
), scoped_wanted AS (
  SELECT
    'all' AS scope,
    wanted.as_of,
    wanted.user_id,
    wanted.destination
  FROM wanted
  INNER JOIN tested
    ON tested.as_of = wanted.as_of AND tested.user_id = wanted.user_id
  UNION ALL
  SELECT
    'new' AS scope,
    wanted.as_of,
    wanted.user_id,
    wanted.destination
  FROM wanted
  INNER JOIN tested
    ON tested.as_of = wanted.as_of AND tested.user_id = wanted.user_id
  LEFT JOIN known
    ON known.as_of = wanted.as_of
    AND known.user_id = wanted.user_id
    AND known.destination = wanted.destination
  WHERE
    known.user_id IS NULL
), targets /* With its place in the best list there could be */ AS (
  SELECT
    scope,
    as_of,
    user_id,
    destination,
    ROW_NUMBER() OVER (PARTITION BY scope, as_of, user_id ORDER BY destination) AS best_place
  FROM scoped_wanted
), recommenders AS (
  SELECT
    'recommendations' AS recommender
  UNION ALL
  SELECT
    'popular'
), users /* A hit at place p is worth 1 / log2(p + 1) */ AS (
  SELECT
    targets.scope,
    recommenders.recommender,
    targets.as_of,
    targets.user_id,
    COUNT(*) AS wanted,
    COUNT(lists.place) AS hits,
    COALESCE(SUM(LN(2) / LN(lists.place + 1)), 0) AS gain,
    SUM(CASE WHEN targets.best_place <= 10 THEN LN(2) / LN(targets.best_place + 1) END) AS best_gain
  FROM targets
  CROSS JOIN recommenders
  LEFT JOIN lists
    ON lists.scope = targets.scope
    AND lists.recommender = recommenders.recommender
    AND lists.as_of = targets.as_of
    AND lists.user_id = targets.user_id
    AND lists.destination = targets.destination
    AND lists.place <= 10
  GROUP BY
    targets.scope,
    recommenders.recommender,
    targets.as_of,
    targets.user_id
), unlisted AS (
  SELECT
    wanted.as_of,
    COUNT(DISTINCT wanted.user_id) AS users
  FROM wanted
  LEFT JOIN listed
    ON listed.as_of = wanted.as_of AND listed.user_id = wanted.user_id
  WHERE
    listed.user_id IS NULL
  GROUP BY
    wanted.as_of
)
SELECT
  users.as_of::DATE AS held_out_from, /* First day of the week that was held out, UTC: only days before it were learnt from */
  (
    users.as_of + @DAYS(6)
  )::DATE AS held_out_until, /* Its last day */
  users.scope::TEXT AS scope, /* all, or new: without destinations that the user had looked at before */
  users.recommender::TEXT AS recommender, /* recommendations, or popular: the same list for every user */
  COUNT(*)::BIGINT AS users, /* Users with a list of their own who looked at a destination in the week */
  COALESCE(MAX(unlisted.users), 0)::BIGINT AS users_without_list, /* Users who looked at one and were unknown when it began: they get the popular list, and are not in the numbers beside */
  SUM(users.wanted)::BIGINT AS destinations, /* Destinations that the users looked at, summed */
  SUM(users.hits)::BIGINT AS hits, /* ... that were among their first ten */
  AVG(users.hits::DOUBLE / users.wanted)::DOUBLE AS recall_at_10, /* Share of a user's destinations that were among the first ten; mean over users */
  AVG(users.gain / users.best_gain)::DOUBLE AS ndcg_at_10 /* NDCG: hits among the first ten weighed by place, 1 when all stand first; mean over users */
FROM users
LEFT JOIN unlisted
  ON unlisted.as_of = users.as_of
GROUP BY
  users.as_of,
  users.scope,
  users.recommender
