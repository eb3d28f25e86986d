"""Suite of the rows that the CRM is sent: one row for each user, no name and no address."""

from expectations.suite import (
    COUNTRY_CODE,
    Suite,
    aggregate,
    between,
    critical,
    has_exactly_columns,
    matches,
    none_where,
    not_null,
    one_of,
    unique,
    usual_size,
    warning,
)
from searchflow.domain import SEGMENTS

SUITE = Suite(
    table="activation.act_crm_user_segments",
    group="activation",
    title="To the CRM: user segments",
    numbers="what sales and service see about a customer",
    key=("user_id",),
    contained=True,
    checks=(
        critical(
            "Only what the CRM needs leaves the house: no name, no address.",
            has_exactly_columns("user_id", "segment", "lifetime_revenue", "conversions", "last_seen_at", "country"),
        ),
        critical("Every row belongs to a user.", none_where("user_is_known", "coalesce(user_id, '') = ''")),
        critical("Every user is sent once.", unique("user_id")),
        critical("Every user is in a segment.", not_null("segment")),
        critical("Every segment is one that we define.", one_of("segment", SEGMENTS)),
        critical("No lifetime revenue is negative.", between("lifetime_revenue", low=0)),
        critical(
            "Every user who has a segment is sent, and no other user.",
            aggregate(
                "as_many_as_have_a_segment",
                broken="count(*) <> (SELECT count(*) FROM {marts.mart_user_segments})",
                sent="count(*)",
                with_segment="(SELECT count(*) FROM {marts.mart_user_segments})",
            ),
        ),
        warning("Countries are written as two letters.", matches("country", COUNTRY_CODE)),
        warning("There are about as many users as in the runs before.", usual_size("activation.act_crm_user_segments")),
    ),
)
