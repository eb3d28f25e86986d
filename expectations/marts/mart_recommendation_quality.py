"""Suite that checks how good recommendations would have been in the last weeks, beside the popular list. Empty until
there are two weeks."""

from expectations.suite import (
    Suite,
    between,
    critical,
    has_columns,
    never,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="marts.mart_recommendation_quality",
    group="marts",
    title="Quality of recommendations",
    numbers="how much better recommendations are than the popular list",
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
            "Over all weeks the recommendations put what people look at before the popular list does.",
            never(
                "better_than_popular",
                """
                WITH means AS (
                  SELECT recommender, sum(users) AS users, sum(ndcg_at_10 * users) / sum(users) AS ndcg
                  FROM {batch} WHERE scope = 'all' GROUP BY recommender
                )
                SELECT ours.users, round(ours.ndcg, 3) AS recommendations, round(theirs.ndcg, 3) AS popular
                FROM means AS ours JOIN means AS theirs ON theirs.recommender = 'popular'
                WHERE ours.recommender = 'recommendations' AND ours.users >= 100 AND ours.ndcg < theirs.ndcg""",
            ),
        ),
        warning(
            "About as many rows are there as in the runs before.",
            usual_size("marts.mart_recommendation_quality", least=0.5),
        ),
    ),
)
