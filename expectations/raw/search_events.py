"""Suite of searches as they were received: the top of every funnel."""

from expectations.events import event_checks, known_values
from expectations.suite import Suite, critical, has_rows, warning
from searchflow.domain import DEVICE_TYPES, PLATFORMS

SUITE = Suite(
    table="raw.search_events",
    group="raw",
    title="Searches received",
    numbers="every number of searches, sessions and visitors, and every rate",
    key=("event_id",),
    day="event_ts",
    checks=(
        critical("At least one search was received.", has_rows()),
        *event_checks("searches"),
        warning(
            "Searches come from platforms and kinds of devices that we know.",
            known_values(platform=("$.platform", PLATFORMS), device_type=("$.device_type", DEVICE_TYPES)),
        ),
    ),
)
