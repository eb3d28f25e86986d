"""Suite of each user's segment now: every user is in exactly one."""

from expectations.suite import (
    Suite,
    aggregate,
    critical,
    has_columns,
    keeps_up,
    never,
    none_where,
    not_ahead,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)
from searchflow.domain import SEGMENTS

SUITE = Suite(
    table="marts.mart_user_segments",
    group="marts",
    title="User segments",
    numbers="how many customers are in each segment, and what the CRM is told",
    key=("user_id",),
    contained=True,
    checks=(
        critical(
            "The segments have the agreed columns.",
            has_columns(
                "user_id",
                "segment",
                "lifetime_revenue",
                "conversions",
                "first_seen_at",
                "last_seen_at",
                "last_search_at",
                "segment_as_of",
                "rfm_recency",
                "rfm_frequency",
                "rfm_monetary",
                "rfm",
            ),
        ),
        critical("Every row belongs to a user.", not_null("user_id")),
        critical("No user is in two segments.", unique("user_id")),
        critical("Every user is in a segment.", not_null("segment")),
        critical("Every segment is one that we define.", one_of("segment", SEGMENTS)),
        critical(
            "All users, and no one else, have a segment.",
            never(
                "covers_all_users",
                """
                WITH segments AS (SELECT user_id FROM {batch})
                SELECT count(*) AS unexpected, count(segments.user_id) AS unknown_users,
                  count(users.user_id) AS left_out
                FROM segments FULL JOIN {marts.dim_users} AS users ON users.user_id = segments.user_id
                WHERE segments.user_id IS NULL OR users.user_id IS NULL HAVING count(*) > 0""",
            ),
        ),
        critical("Segments hold for a moment that has come.", not_ahead("segment_as_of")),
        critical(
            "Only users who booked before are at risk.",
            none_where("at_risk_booked", "segment = 'at_risk' AND conversions = 0"),
        ),
        warning(
            "Customers, and no one else, have scores from 1 to 5.",
            none_where("rfm_of_customers", "(conversions > 0) <> coalesce(regexp_full_match(rfm, '[1-5]{3}'), FALSE)"),
        ),
        warning(
            "Not every user is in the same segment.",
            aggregate("several_segments", broken="count(*) >= 100 AND count(DISTINCT segment) = 1", users="count(*)"),
        ),
        warning("There are about as many users as in the runs before.", usual_size("marts.mart_user_segments")),
        warning("Segments hold for the newest day received.", keeps_up("segment_as_of")),
    ),
)
