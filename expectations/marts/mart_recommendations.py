"""Suite of destinations to recommend, and the popular list for those about whom nothing is known."""

from expectations.suite import (
    Suite,
    aggregate,
    between,
    critical,
    has_columns,
    never,
    not_null,
    refers,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="marts.mart_recommendations",
    group="marts",
    title="Recommendations",
    numbers="which destinations visitors are shown",
    key=("user_id", "destination"),
    contained=True,
    checks=(
        critical("Recommendations have the agreed columns.", has_columns("user_id", "destination", "score", "rank")),
        critical("Every recommendation is for a user.", not_null("user_id")),
        critical("Every recommendation names a destination.", not_null("destination")),
        critical("No user is recommended a destination twice.", unique("user_id", "destination")),
        critical("No two recommendations share a rank.", unique("user_id", "rank")),
        critical("Every recommendation has a score.", not_null("score")),
        critical("Scores lie between 0 and 1.", between("score", low=0, high=1)),
        critical("Ranks start at 1.", between("rank", low=1)),
        critical(
            "A better rank never has a lower score.",
            never(
                "ranked_by_score",
                """
                SELECT count(*) AS unexpected FROM (
                  SELECT score > lag(score) OVER (PARTITION BY user_id ORDER BY rank) AS wrong FROM {batch}
                ) WHERE wrong HAVING count(*) > 0""",
            ),
        ),
        warning(
            "There is a popular list to fall back on.",
            aggregate(
                "popular_list",
                broken="count(*) > 0 AND count(*) FILTER (WHERE user_id = '__popular__') = 0",
                recommendations="count(*)",
            ),
        ),
        warning(
            "There are about as many recommendations as in the runs before.", usual_size("marts.mart_recommendations")
        ),
        warning(
            "Recommendations are for users that we know, or for all users.",
            refers("user_id", "marts.dim_users", unless="user_id = '__popular__'"),
        ),
    ),
)
