"""Suite of users who searched within 48 hours and did not book since. Often empty in a small data set."""

from expectations.suite import (
    Suite,
    between,
    critical,
    has_columns,
    keeps_up,
    never,
    none_where,
    not_null,
    refers,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="marts.mart_abandoned_searches",
    group="marts",
    title="Abandoned searches",
    numbers="how many searches are given up, and whom we remind",
    key=("user_id", "trigger_window"),
    contained=True,
    checks=(
        critical(
            "Abandoned searches have the agreed columns.",
            has_columns(
                "user_id",
                "search_event_id",
                "searched_at",
                "query",
                "destination",
                "trigger_window",
                "hours_since_search",
                "marketing_consent",
            ),
        ),
        critical("Every abandoned search has a user.", not_null("user_id")),
        critical("A user is reminded at most once a day.", unique("user_id", "trigger_window")),
        critical("No search was abandoned before it happened.", between("hours_since_search", low=0)),
        critical(
            "No user is reminded of a search that led to a booking.",
            never(
                "did_not_book",
                """
                WITH abandoned AS (SELECT search_event_id FROM {batch})
                SELECT count(*) AS unexpected FROM abandoned
                JOIN {marts.fct_search_funnel} AS funnel ON funnel.search_event_id = abandoned.search_event_id
                WHERE funnel.conversions > 0 HAVING count(*) > 0""",
                broken="""
                EXISTS (SELECT 1 FROM {marts.fct_search_funnel} AS funnel
                  WHERE funnel.search_event_id = checked.search_event_id AND funnel.conversions > 0)""",
            ),
        ),
        warning("Searches were abandoned within 48 hours.", none_where("recent", "hours_since_search > 48")),
        warning("It is known whether we may write to them.", not_null("marketing_consent")),
        critical("Every person who is reminded is a user that we know.", refers("user_id", "marts.dim_users")),
        critical("Every abandoned search was received.", refers("search_event_id", "marts.fct_search_funnel")),
        warning("Searches were given up until the newest day received.", keeps_up("searched_at", days=2)),
        warning(
            "Neither far more nor far fewer searches were given up than in the runs before.",
            usual_size("marts.mart_abandoned_searches", least=0.3, most=3),
        ),
    ),
)
