"""Suite of the funnel by day, platform, device, country and channel, without bots: it must add up to the funnel."""

from expectations.suite import (
    Suite,
    between,
    critical,
    has_columns,
    keeps_up,
    never,
    none_where,
    not_null,
    one_of,
    unique,
    usual_volume,
    warning,
)
from searchflow.domain import CHANNELS, DEVICE_TYPES, PLATFORMS

SUITE = Suite(
    table="marts.fct_search_funnel_daily",
    group="marts",
    title="Search funnel, day by day",
    numbers="the funnel chart and the daily numbers",
    key=("search_date", "platform", "device_type", "country", "channel"),
    checks=(
        critical(
            "The daily funnel has the agreed columns.",
            has_columns(
                "search_date",
                "platform",
                "device_type",
                "country",
                "channel",
                "searches",
                "searches_with_results",
                "searches_with_click",
                "clicks",
                "searches_with_conversion",
                "conversions",
                "revenue",
                "zero_result_searches",
                "searches_with_dates",
                "lead_time_days",
                "searches_with_far_dates",
            ),
        ),
        critical("Every row has a day.", not_null("search_date")),
        critical(
            "Each combination of day, platform, device, country and channel is there once.",
            unique("search_date", "platform", "device_type", "country", "channel"),
        ),
        critical("Every channel is one that we define.", one_of("channel", CHANNELS)),
        critical("Every row counts at least one search.", between("searches", low=1)),
        critical("No revenue is negative.", between("revenue", low=0)),
        critical(
            "Each step of the funnel is at most as large as the one before.",
            none_where(
                "steps_shrink",
                "searches_with_click > searches OR searches_with_conversion > searches_with_click"
                " OR clicks < searches_with_click OR conversions < searches_with_conversion"
                " OR searches_with_results + zero_result_searches > searches",
            ),
        ),
        critical(
            "Searches, clicks, bookings and revenue of each day equal those of its searches one by one.",
            never(
                "adds_up_to_the_funnel",
                """
                WITH daily AS (
                  SELECT search_date, sum(searches) AS searches, sum(clicks) AS clicks,
                    sum(conversions) AS conversions, sum(revenue) AS revenue
                  FROM {batch} GROUP BY search_date
                ), single AS (
                  SELECT search_date, count(*) AS searches, sum(clicks) AS clicks,
                    sum(conversions) AS conversions, sum(revenue) AS revenue
                  FROM {marts.fct_search_funnel} WHERE NOT coalesce(is_bot, FALSE) GROUP BY search_date
                )
                SELECT count(*) AS unexpected, sum(daily.revenue) AS daily_revenue,
                  sum(single.revenue) AS single_revenue
                FROM daily FULL JOIN single USING (search_date)
                WHERE (daily.searches, daily.clicks, daily.conversions, daily.revenue)
                  IS DISTINCT FROM (single.searches, single.clicks, single.conversions, single.revenue)
                HAVING count(*) > 0""",
            ),
        ),
        warning("Platforms are ones that we know.", one_of("platform", PLATFORMS)),
        warning("Kinds of devices are ones that we know.", one_of("device_type", DEVICE_TYPES)),
        warning(
            "The last whole day has about as many searches as the same day of the weeks before.",
            usual_volume("search_date", "sum(searches)"),
        ),
        warning("The daily funnel reaches to the newest day received.", keeps_up("search_date")),
    ),
)
