"""Suite of bookings as they were received: where all revenue comes from."""

from expectations.events import event_checks, known_values
from expectations.suite import Suite, critical, never, none_where, warning
from searchflow.domain import PRODUCT_TYPES

SUITE = Suite(
    table="raw.conversion_events",
    group="raw",
    title="Bookings received",
    numbers="revenue, conversion rates, campaign returns and customer segments",
    key=("event_id",),
    day="event_ts",
    checks=(
        *event_checks("bookings"),
        critical(
            "No booking has a negative value.",
            none_where("value_not_negative", "coalesce(try_cast((payload ->> '$.booking_value') AS DOUBLE), -1) < 0"),
        ),
        # Only a warning: the click may be under way still, or its producer may never have sent it.
        warning(
            "The click that led to a booking has arrived.",
            never(
                "click_has_arrived",
                """
                WITH bookings AS (SELECT lower(payload ->> '$.click_event_id') AS click_event_id FROM {batch})
                SELECT count(*) AS unexpected FROM bookings
                ANTI JOIN lake.raw.click_events AS clicks ON clicks.event_id = bookings.click_event_id
                HAVING count(*) > 0""",
                local=True,
            ),
        ),
        warning(
            "Bookings are in currencies written as three letters.",
            none_where(
                "currency_codes", "NOT regexp_full_match((payload ->> '$.currency'), '[A-Za-z][A-Za-z][A-Za-z]')"
            ),
        ),
        warning(
            "Booked products are of kinds that we know.",
            known_values(product_type=("$.product_type", PRODUCT_TYPES)),
        ),
    ),
)
