"""Suite that checks how many users moved from one segment to another, month by month. Empty until a user moves."""

from expectations.suite import (
    Suite,
    aggregate,
    between,
    critical,
    has_columns,
    none_where,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)
from searchflow.domain import SEGMENTS

SUITE = Suite(
    table="marts.mart_segment_transitions",
    group="marts",
    title="Moves between segments",
    numbers="the matrix of moves between segments",
    key=("month", "from_segment", "to_segment"),
    checks=(
        critical("The moves have the agreed columns.", has_columns("month", "from_segment", "to_segment", "users")),
        critical("Every move has a month.", not_null("month")),
        critical("Each pair of segments is there once a month.", unique("month", "from_segment", "to_segment")),
        critical("Users leave segments that we define.", one_of("from_segment", SEGMENTS)),
        critical("Users enter segments that we define.", one_of("to_segment", SEGMENTS)),
        critical("A move leads to another segment.", none_where("really_moves", "from_segment = to_segment")),
        critical("At least one user made each move.", between("users", low=1)),
        warning(
            "The moves reach to the present or the month before.",
            aggregate(
                "recent_months",
                "month",
                broken="coalesce(CAST(max(month) AS DATE) < CAST({now} AS DATE) - 62, FALSE)",
                newest="max(month)",
            ),
        ),
        warning("No moves have gone since the runs before.", usual_size("marts.mart_segment_transitions")),
    ),
)
