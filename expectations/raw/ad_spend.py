"""Suite of what campaigns cost, as delivered once a day. May be empty: not every company advertises."""

from expectations.suite import (
    Suite,
    between,
    critical,
    fresh,
    has_columns,
    matches,
    never,
    not_ahead,
    not_null,
    usual_volume,
    warning,
)

SUITE = Suite(
    table="raw.ad_spend",
    group="raw",
    title="Ad spend received",
    numbers="cost, return on ad spend and cost per booking of campaigns",
    key=("batch_id", "spend_date", "utm_source", "utm_campaign"),
    checks=(
        critical(
            "The table of ad spend has the agreed columns.",
            has_columns(
                "spend_date",
                "utm_source",
                "utm_campaign",
                "currency",
                "cost",
                "impressions",
                "clicks",
                "payload",
                "ingested_at",
                "source",
                "source_position",
                "batch_id",
            ),
        ),
        critical("All spend has a day.", not_null("spend_date")),
        critical("All spend has an amount.", not_null("cost")),
        critical("No spend is negative.", between("cost", low=0)),
        critical("All spend says in which currency it is.", not_null("currency")),
        warning("Currencies are written as three letters.", matches("currency", "^[A-Za-z]{3}$")),
        warning("Impressions are not negative.", between("impressions", low=0)),
        warning("Clicks on advertisements are not negative.", between("clicks", low=0)),
        warning("No spend is of a day to come.", not_ahead("spend_date")),
        warning(
            "A delivery names each campaign once a day.",
            never(
                "once_a_delivery",
                """
                SELECT count(*) AS unexpected FROM (
                  SELECT 1 FROM {batch} GROUP BY batch_id, spend_date, utm_source, utm_campaign HAVING count(*) > 1
                ) HAVING count(*) > 0""",
            ),
        ),
        warning("Spend was delivered for one of the last three days.", fresh("spend_date", hours=96)),
        warning(
            "About as much was spent on the last whole day as on the same day of the weeks before.",
            usual_volume("spend_date", "sum(cost)"),
        ),
    ),
)
