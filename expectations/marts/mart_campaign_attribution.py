"""Suite that checks which campaign is credited with which booking, by seven models: each credits all that was booked,
to the cent."""

from expectations.suite import (
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
from searchflow.domain import ATTRIBUTION_MODELS, CHANNELS
from searchflow.event_types import EVENT_TYPES, of_every_type

EVENTS = of_every_type(EVENT_TYPES, "SELECT session_id, user_id, event_ts FROM lake.raw.{table}")
# What an event brought must go when it goes: after an erasure that was killed, journeys led through visits that no event
# told of any more. Events that came in since the journeys were made add to what may be there, and take nothing away.
JOURNEYS = f"""
    WITH events AS (
      {EVENTS}
    ), logins AS (
      SELECT DISTINCT session_id, user_id FROM events WHERE user_id IS NOT NULL
    ), visits AS (
      SELECT DISTINCT session_id || ':' || strftime(event_ts, '%Y%m%dT%H%M%S') AS touchpoint_id FROM events
    ), bookings AS (
      SELECT event_id, session_id, ingested_at FROM lake.raw.conversion_events
    ), journeys AS (
      SELECT conversion_event_id, touchpoint_id, user_id FROM lake.intermediate.int_user_journeys
    ), compared AS (
      SELECT
        bookings.event_id IS NULL AS booking_gone,
        visits.touchpoint_id IS NULL AS visit_gone,
        journeys.user_id IS NOT NULL AND logins.user_id IS NULL AS owner_gone,
        FALSE AS not_there
      FROM journeys
      LEFT JOIN bookings ON bookings.event_id = journeys.conversion_event_id
      LEFT JOIN logins ON logins.session_id = bookings.session_id AND logins.user_id = journeys.user_id
      LEFT JOIN visits ON visits.touchpoint_id = journeys.touchpoint_id
      UNION ALL
      SELECT FALSE, FALSE, FALSE, TRUE FROM bookings
      WHERE ingested_at <= (SELECT max(known_until) FROM {{batch}})
        AND event_id NOT IN (SELECT conversion_event_id FROM journeys)
    )
    SELECT count(*) AS unexpected, count(*) FILTER (WHERE booking_gone) AS bookings_gone,
      count(*) FILTER (WHERE visit_gone) AS visits_gone, count(*) FILTER (WHERE owner_gone) AS owners_gone,
      count(*) FILTER (WHERE not_there) AS bookings_without
    FROM compared WHERE booking_gone OR visit_gone OR owner_gone OR not_there HAVING count(*) > 0"""

SUITE = Suite(
    table="marts.mart_campaign_attribution",
    group="marts",
    title="Campaign attribution",
    numbers="revenue, return on ad spend and cost per booking of every campaign",
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
        critical("Every attribution model is one that we define.", one_of("model", ATTRIBUTION_MODELS)),
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
            "Every journey is that of a stored booking, through visits that stored events tell of, and no booking lacks one.",
            never("journeys_match_events", JOURNEYS),
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
