"""Suite of the click rate, corrected for the positions that searches showed: clicks over expected clicks."""

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
from searchflow.domain import CHANNELS

SUITE = Suite(
    table="marts.mart_position_corrected_clicks",
    group="marts",
    title="Position-corrected click rate",
    numbers="whether results are clicked more than their places explain",
    key=("search_date", "platform", "device_type", "channel"),
    checks=(
        critical(
            "The corrected click rate has the agreed columns.",
            has_columns(
                "search_date",
                "platform",
                "device_type",
                "channel",
                "searches",
                "searches_with_click",
                "expected_clicks",
                "click_rate",
                "coec",
            ),
        ),
        critical("Every row has a day.", not_null("search_date")),
        critical("Each combination is there once a day.", unique("search_date", "platform", "device_type", "channel")),
        critical("Every channel is one that we define.", one_of("channel", CHANNELS)),
        critical("The click rate lies between 0 and 1.", between("click_rate", low=0, high=1)),
        critical("No number of expected clicks is negative.", none_where("expects", "expected_clicks < 0")),
        critical(
            "All searches together got the clicks that their places explain.",
            aggregate(
                "adds_up_to_the_clicks",
                broken="abs(sum(searches_with_click) - sum(expected_clicks)) > 0.001 + 0.000001 * sum(searches_with_click)",
                clicks="sum(searches_with_click)",
                expected="sum(expected_clicks)",
            ),
        ),
        warning(
            "No large group is clicked three times as often as its places explain.",
            none_where("coec_is_plausible", "expected_clicks >= 100 AND coec > 3"),
        ),
        warning(
            "About as many rows are there as in the runs before.", usual_size("marts.mart_position_corrected_clicks")
        ),
    ),
)
