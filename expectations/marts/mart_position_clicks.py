"""Suite that checks how often each place in the list of results is clicked."""

from expectations.suite import (
    Suite,
    between,
    critical,
    has_columns,
    none_where,
    not_null,
    unique,
    usual_size,
    warning,
)

SUITE = Suite(
    table="marts.mart_position_clicks",
    group="marts",
    title="Clicks by position",
    numbers="how many clicks a search can expect",
    key=("position",),
    checks=(
        critical(
            "The clicks by position have the agreed columns.",
            has_columns("position", "searches_shown", "first_clicks", "click_rate"),
        ),
        critical("Every row has a position.", not_null("position")),
        critical("Each position is there once.", unique("position")),
        critical("Positions start at 1.", between("position", low=1)),
        critical(
            "No position is clicked more often than shown.",
            none_where("shown_before_clicked", "first_clicks > searches_shown"),
        ),
        warning(
            "No position that is often shown is always clicked.",
            none_where("not_always_clicked", "searches_shown >= 1000 AND click_rate > 0.9"),
        ),
        warning("About as many rows are there as in the runs before.", usual_size("marts.mart_position_clicks")),
    ),
)
