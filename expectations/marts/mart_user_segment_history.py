"""Suite that checks which segment a user was in, and when: periods without gaps, the last one open."""

from expectations.suite import (
    Suite,
    critical,
    has_columns,
    keeps_up,
    never,
    none_where,
    not_null,
    one_of,
    refers,
    unique,
    usual_size,
    warning,
)
from searchflow.domain import SEGMENTS

SUITE = Suite(
    table="marts.mart_user_segment_history",
    group="marts",
    title="History of user segments",
    numbers="how customers moved between segments",
    key=("user_id", "valid_from"),
    checks=(
        critical("The history has the agreed columns.", has_columns("user_id", "segment", "valid_from", "valid_to")),
        critical("Every period belongs to a user.", not_null("user_id")),
        critical("Every segment is one that we define.", one_of("segment", SEGMENTS)),
        critical("Every period has a beginning.", not_null("valid_from")),
        critical("A user has one period at a time.", unique("user_id", "valid_from")),
        critical("No period ends before it begins.", none_where("ends_after_begin", "valid_to <= valid_from")),
        # Only a warning: when the history alone is rebuilt, the segments are those of an earlier moment.
        warning(
            "Every user has exactly one period that still lasts, in the segment they are in now.",
            never(
                "ends_in_the_current_segment",
                """
                WITH lasting AS (SELECT user_id, segment FROM {batch} WHERE valid_to IS NULL)
                SELECT count(*) AS unexpected FROM lasting
                FULL JOIN {marts.mart_user_segments} AS now ON now.user_id = lasting.user_id
                WHERE now.segment IS DISTINCT FROM lasting.segment HAVING count(*) > 0""",
            ),
        ),
        warning(
            "There are about as many periods as in the runs before.", usual_size("marts.mart_user_segment_history")
        ),
        warning("Every period belongs to a user that we know.", refers("user_id", "marts.dim_users")),
        warning("Segments changed within the last month received.", keeps_up("valid_from", days=31)),
    ),
)
