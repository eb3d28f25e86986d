"""Suite that checks what each channel is worth to bookings, by Markov chains: the shares by which bookings are divided."""

from expectations.suite import (
    Suite,
    aggregate,
    between,
    critical,
    has_columns,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)
from searchflow.domain import CHANNELS

SUITE = Suite(
    table="marts.mart_attribution_markov",
    group="marts",
    title="Worth of channels",
    numbers="how the Markov model divides bookings among channels",
    key=("effect_date", "channel"),
    checks=(
        critical(
            "The worth of channels has the agreed columns.",
            has_columns("effect_date", "channel", "moves", "removal_effect"),
        ),
        critical("Every row has a day.", not_null("effect_date")),
        critical("Every row has a channel.", not_null("channel")),
        critical("Each channel is there once a day.", unique("effect_date", "channel")),
        critical("Every channel is one that we define.", one_of("channel", CHANNELS)),
        critical("The worth of every channel is known.", not_null("removal_effect")),
        critical("The worth of a channel lies between 0 and 1.", between("removal_effect", low=0, high=1)),
        critical("A channel is there because visits came through it.", between("moves", low=1)),
        warning(
            "When anything was booked, some channel is worth something.",
            aggregate(
                "some_worth",
                broken="count(*) > 0 AND max(removal_effect) = 0 "
                "AND (SELECT count(*) FROM lake.raw.conversion_events WHERE ingested_at <= {known_until}) > 0",
                channels="count(*)",
            ),
        ),
        warning("There are about as many rows as in the runs before.", usual_size("marts.mart_attribution_markov")),
    ),
)
