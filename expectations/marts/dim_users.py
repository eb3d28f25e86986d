"""Suite of users who were seen. Names, addresses, languages and time zones are personal: no check may select a value."""

from expectations.suite import (
    Suite,
    between,
    critical,
    has_columns,
    keeps_up,
    none_where,
    not_ahead,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)
from searchflow.domain import DEVICE_TYPES, PLATFORMS

SUITE = Suite(
    table="marts.dim_users",
    group="marts",
    title="Users",
    numbers="customer counts, lifetime revenue, segments, and whom we write to",
    key=("user_id",),
    contained=True,
    checks=(
        critical(
            "The table of users has the agreed columns.",
            has_columns(
                "user_id",
                "first_seen_at",
                "last_seen_at",
                "first_converted_at",
                "last_converted_at",
                "searches",
                "clicks",
                "conversions",
                "lifetime_revenue",
                "country",
                "platform",
                "device_type",
                "locale",
                "time_zone",
                "marketing_consent",
                "name",
                "email",
            ),
        ),
        critical("Every user has an identifier.", not_null("user_id")),
        critical("Every user is there once.", unique("user_id")),
        critical("It is known when a user was seen last.", not_null("last_seen_at")),
        critical(
            "No user was seen last before they were seen first.",
            none_where("seen_in_order", "last_seen_at < first_seen_at"),
        ),
        critical("No user was seen in the future.", not_ahead("last_seen_at")),
        critical("Lifetime revenue is known.", not_null("lifetime_revenue")),
        critical("No lifetime revenue is negative.", between("lifetime_revenue", low=0)),
        critical("No number of bookings is negative.", between("conversions", low=0)),
        critical(
            "Revenue and the moments of booking belong to users who booked.",
            none_where(
                "booked_is_booked",
                "(conversions = 0 AND lifetime_revenue > 0) OR (conversions = 0) <> (last_converted_at IS NULL)",
            ),
        ),
        warning("Platforms are ones that we know.", one_of("platform", PLATFORMS)),
        warning("Kinds of devices are ones that we know.", one_of("device_type", DEVICE_TYPES)),
        warning("There are about as many users as in the runs before.", usual_size("marts.dim_users")),
        warning("Users were seen up to the newest days received.", keeps_up("last_seen_at", days=3)),
    ),
)
