"""Which campaign is credited with which booking, by seven models: each gives away all that was booked, to the cent."""

from expectations.suite import (
    CHANNELS,
    Suite,
    aggregate,
    between,
    critical,
    has_columns,
    keeps_up,
    never,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)

MODELS = ("first_touch", "last_touch", "last_non_direct", "linear", "position_based", "time_decay", "markov")

SUITE = Suite(
    table="marts.mart_campaign_attribution",
    group="marts",
    title="Campaign attribution",
    numbers="revenue, return on ad spend and cost per booking of every campaign",
    syncs=(),
    key=("attribution_date", "model", "utm_source", "utm_medium", "utm_campaign", "channel"),
    checks=(
        critical(
            "The attribution has the agreed columns.",
            has_columns(
                "attribution_date",
                "model",
                "utm_source",
                "utm_medium",
                "utm_campaign",
                "channel",
                "conversions",
                "revenue",
                "cost",
                "roas",
                "cost_per_booking",
                "known_until",
            ),
        ),
        critical("Every row has a day.", not_null("attribution_date")),
        critical("Every attribution model is one that we define.", one_of("model", MODELS)),
        critical("Every channel is one that we define.", one_of("channel", CHANNELS)),
        critical(
            "Each campaign is there once a day and model.",
            unique("attribution_date", "model", "utm_source", "utm_medium", "utm_campaign", "channel"),
        ),
        critical("No credit is negative.", between("revenue", low=0)),
        critical("No cost is negative.", between("cost", low=0)),
        # Bookings that were received after the table was made are not expected in it: raw does not wait for the models.
        critical(
            "Every model credits each booking, and its credits add up to the booked revenue, to the cent.",
            never(
                "credits_equal_bookings",
                """
                WITH credits AS (
                  SELECT model, sum(revenue) AS revenue, sum(conversions) AS bookings FROM {batch} GROUP BY model
                ), booked AS (
                  SELECT coalesce(sum(booking_value_reporting), 0) AS revenue, count(*) AS bookings
                  FROM lake.staging.stg_conversion_events
                  WHERE ingested_at <= {known_until} AND CAST(event_ts AS DATE) <= CAST({known_until} AS DATE)
                )
                SELECT count(*) AS unexpected, max(booked.revenue) AS booked, min(credits.revenue) AS least_credited,
                  max(credits.revenue) AS most_credited
                FROM credits CROSS JOIN booked
                WHERE credits.revenue <> booked.revenue OR abs(credits.bookings - booked.bookings) > 0.001
                HAVING count(*) > 0""",
            ),
        ),
        critical(
            "All models spread the same spend.",
            never(
                "same_cost_in_every_model",
                """
                WITH costs AS (SELECT model, sum(cost) AS cost FROM {batch} GROUP BY model)
                SELECT min(cost) AS least, max(cost) AS most FROM costs HAVING min(cost) <> max(cost)""",
            ),
        ),
        warning(
            "All seven models are there.",
            aggregate("all_models", broken="count(DISTINCT model) NOT IN (0, 7)", models="count(DISTINCT model)"),
        ),
        warning("There are about as many rows as in the runs before.", usual_size("marts.mart_campaign_attribution")),
        warning("Credits and cost are known up to the newest days received.", keeps_up("attribution_date", days=3)),
    ),
)
