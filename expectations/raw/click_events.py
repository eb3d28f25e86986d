"""Suite of clicks on results as they were received."""

from expectations.events import event_checks, known_values
from expectations.suite import Suite, never, warning
from searchflow.domain import PRODUCT_TYPES

SUITE = Suite(
    table="raw.click_events",
    group="raw",
    title="Clicks received",
    numbers="click-through rates, positions, destinations asked for, and bookings per search",
    key=("event_id",),
    day="event_ts",
    checks=(
        *event_checks("clicks"),
        # Only a warning: the search may be under way still, or its producer may never have sent it.
        warning(
            "The search that a click belongs to has arrived.",
            never(
                "search_has_arrived",
                """
                WITH clicks AS (SELECT lower(payload ->> '$.search_event_id') AS search_event_id FROM {batch})
                SELECT count(*) AS unexpected FROM clicks
                ANTI JOIN lake.raw.search_events AS searches ON searches.event_id = clicks.search_event_id
                HAVING count(*) > 0""",
                local=True,
            ),
        ),
        warning(
            "Clicked results are of kinds that we know.",
            known_values(result_type=("$.result_type", PRODUCT_TYPES)),
        ),
    ),
)
