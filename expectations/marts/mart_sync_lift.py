"""Suite that checks what a sync changes, from users who are held out of it. Empty until a sync has a holdout and has run."""

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
    table="marts.mart_sync_lift",
    group="marts",
    title="What a sync changes",
    numbers="how many bookings a message or a segment brings",
    key=("sync", "seed"),
    checks=(
        critical(
            "The comparison has the agreed columns.",
            has_columns(
                "sync",
                "seed",
                "treated_users",
                "held_out_users",
                "conversion_rate_lift",
                "conversion_rate_lift_low",
                "conversion_rate_lift_high",
                "is_conclusive",
            ),
        ),
        critical("Every comparison is about a sync.", not_null("sync")),
        critical("Each holdout of a sync is there once.", unique("sync", "seed")),
        critical("The share of the treated who book lies between 0 and 1.", between("treated_conversion_rate", 0, 1)),
        critical("The share of the held-out who book lies between 0 and 1.", between("held_out_conversion_rate", 0, 1)),
        critical(
            "A difference lies within its interval.",
            none_where(
                "lift_within_its_interval",
                "conversion_rate_lift NOT BETWEEN conversion_rate_lift_low AND conversion_rate_lift_high",
            ),
        ),
        warning(
            "Where a hundred users were compared, some of them were held out.",
            none_where("some_user_is_held_out", "treated_users >= 100 AND held_out_users = 0"),
        ),
        warning("No number of users is negative.", between("treated_users", low=0)),
        warning("No comparison has gone since the runs before.", usual_size("marts.mart_sync_lift", least=0.99)),
    ),
)
