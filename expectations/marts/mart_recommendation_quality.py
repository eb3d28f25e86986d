"""How good recommendations would have been in the last weeks, beside the popular list. Empty until there are two weeks."""

from expectations.suite import Suite, between, critical, has_columns, never, not_null, one_of, unique, warning

SUITE = Suite(
    table="marts.mart_recommendation_quality",
    group="marts",
    title="Quality of recommendations",
    numbers="how much better recommendations are than the popular list",
    syncs=(),
    key=("held_out_from", "scope", "recommender"),
    checks=(
        critical(
            "The quality of recommendations has the agreed columns.",
            has_columns(
                "held_out_from",
                "held_out_until",
                "scope",
                "recommender",
                "users",
                "users_without_list",
                "destinations",
                "hits",
                "recall_at_10",
                "ndcg_at_10",
            ),
        ),
        critical("Every row says which week was held out.", not_null("held_out_from")),
        critical("Each week, scope and recommender is there once.", unique("held_out_from", "scope", "recommender")),
        critical("Only known recommenders are compared.", one_of("recommender", ("recommendations", "popular"))),
        critical("Only known scopes are compared.", one_of("scope", ("all", "new"))),
        critical("Recall lies between 0 and 1.", between("recall_at_10", low=0, high=1)),
        critical("NDCG lies between 0 and 1.", between("ndcg_at_10", low=0, high=1)),
        critical(
            "Both recommenders are tried on the same users.",
            never(
                "same_users",
                """
                SELECT count(*) AS unexpected FROM (
                  SELECT held_out_from, scope FROM {batch} GROUP BY held_out_from, scope
                  HAVING count(*) <> 2 OR min(users) <> max(users) OR min(destinations) <> max(destinations)
                ) HAVING count(*) > 0""",
            ),
        ),
        warning(
            "In the newest week the recommendations find more than the popular list.",
            never(
                "better_than_popular",
                """
                SELECT ours.recall_at_10 AS recommendations, theirs.recall_at_10 AS popular, ours.users
                FROM (SELECT * FROM {batch} WHERE recommender = 'recommendations' AND scope = 'all') AS ours
                JOIN (SELECT * FROM {batch} WHERE recommender = 'popular' AND scope = 'all') AS theirs
                  ON theirs.held_out_from = ours.held_out_from
                WHERE ours.held_out_from = (SELECT max(held_out_from) FROM {batch})
                  AND ours.users >= 100 AND ours.recall_at_10 < theirs.recall_at_10""",
            ),
        ),
    ),
)
