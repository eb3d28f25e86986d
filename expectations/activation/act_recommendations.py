"""Suite of the rows that the recommendation cache is sent."""

from expectations.suite import (
    Suite,
    aggregate,
    between,
    critical,
    has_exactly_columns,
    none_where,
    not_null,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="activation.act_recommendations",
    group="activation",
    title="To the recommendation cache",
    numbers="which destinations visitors are shown",
    key=("user_id", "destination"),
    contained=True,
    checks=(
        critical(
            "A recommendation holds what it needs and nothing else.",
            has_exactly_columns("user_id", "destination", "score", "rank"),
        ),
        critical("Every recommendation is for a user.", none_where("user_is_known", "coalesce(user_id, '') = ''")),
        critical(
            "Every recommendation names a destination.",
            none_where("destination_is_known", "coalesce(destination, '') = ''"),
        ),
        critical("No user is recommended a destination twice.", unique("user_id", "destination")),
        critical("Every recommendation has a score.", not_null("score")),
        critical("Scores lie between 0 and 1.", between("score", low=0, high=1)),
        critical("Ranks start at 1.", between("rank", low=1)),
        critical(
            "All recommendations are sent, and no others.",
            aggregate(
                "as_many_as_there_are",
                broken="count(*) <> (SELECT count(*) FROM {marts.mart_recommendations})",
                sent="count(*)",
                recommended="(SELECT count(*) FROM {marts.mart_recommendations})",
            ),
        ),
        warning(
            "No user is recommended more than 20 destinations.",
            none_where("short_lists", "rank > 20"),
        ),
        warning(
            "There are about as many recommendations as in the runs before.",
            usual_size("activation.act_recommendations"),
        ),
    ),
)
