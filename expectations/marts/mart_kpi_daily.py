"""Suite of the business on a page: one row for each day."""

from expectations.suite import (
    Suite,
    between,
    critical,
    has_columns,
    keeps_up,
    never,
    none_where,
    not_null,
    unique,
    usual_volume,
    warning,
)

COMPARED = [
    f"{number}_prev_{period}"
    for number in ("searches", "conversions", "revenue")
    for period in ("day", "week", "month", "year")
]

SUITE = Suite(
    table="marts.mart_kpi_daily",
    group="marts",
    title="Daily key figures",
    numbers="the key figures and their comparison with the previous day, week, month and year",
    key=("kpi_date",),
    checks=(
        critical(
            "The key figures have the agreed columns.",
            has_columns(
                "kpi_date",
                "searches",
                "sessions",
                "visitors",
                "clicks",
                "conversions",
                "revenue",
                "click_through_rate",
                "conversion_rate",
                "zero_result_rate",
                "revenue_per_search",
                "avg_booking_value",
                *COMPARED,
                "finality",
                "is_final",
                "searches_to_come",
                "clicks_to_come",
                "conversions_to_come",
                "revenue_to_come",
                "look_to_book",
                "avg_lead_time_days",
                "searches_with_far_dates",
            ),
        ),
        critical("Every row has a day.", not_null("kpi_date")),
        critical("Every day is there once.", unique("kpi_date")),
        critical("No number of searches is negative.", between("searches", low=0)),
        critical("No revenue is negative.", between("revenue", low=0)),
        critical("The click-through rate lies between 0 and 1.", between("click_through_rate", low=0, high=1)),
        critical("The conversion rate lies between 0 and 1.", between("conversion_rate", low=0, high=1)),
        critical("The share of searches without results lies between 0 and 1.", between("zero_result_rate", 0, 1)),
        critical("How final a day is lies between 0 and 1.", between("finality", low=0, high=1)),
        critical(
            "No further searches are expected of a day that is complete.",
            none_where("complete_days_rest", "finality = 1 AND searches_to_come > 0.001"),
        ),
        critical(
            "Searches and clicks of each day equal those of the daily funnel.",
            never(
                "agrees_with_the_funnel",
                """
                WITH figures AS (SELECT kpi_date AS day, searches, clicks FROM {batch}),
                funnel AS (
                  SELECT search_date AS day, sum(searches) AS searches, sum(clicks) AS clicks
                  FROM {marts.fct_search_funnel_daily} GROUP BY search_date
                )
                SELECT count(*) AS unexpected, min(day) AS first_day, max(day) AS last_day
                FROM figures FULL JOIN funnel USING (day)
                WHERE coalesce(figures.searches, 0) <> coalesce(funnel.searches, 0)
                  OR coalesce(figures.clicks, 0) <> coalesce(funnel.clicks, 0)
                HAVING count(*) > 0""",
            ),
        ),
        critical(
            "Bookings and revenue of each day are those that were received, whether a search led to them or not.",
            never(
                "holds_each_booking",
                """
                WITH figures AS (SELECT kpi_date AS day, conversions, revenue FROM {batch}),
                received AS (
                  SELECT CAST(event_ts AS DATE) AS day, count(*) AS conversions,
                    coalesce(sum(booking_value_reporting), 0) AS revenue
                  FROM lake.staging.stg_conversion_events
                  WHERE ingested_at <= {known_until} AND CAST(event_ts AS DATE) <= CAST({known_until} AS DATE) GROUP BY 1
                )
                SELECT count(*) AS unexpected, min(day) AS first_day, max(day) AS last_day
                FROM figures FULL JOIN received USING (day)
                WHERE coalesce(figures.conversions, 0) <> coalesce(received.conversions, 0)
                  OR coalesce(figures.revenue, 0) <> coalesce(received.revenue, 0)
                HAVING count(*) > 0""",
            ),
        ),
        critical(
            "Yesterday's number in a row is the number of the row before.",
            never(
                "compares_with_the_right_day",
                """
                WITH days AS (SELECT kpi_date, revenue, revenue_prev_day FROM {batch})
                SELECT count(*) AS unexpected FROM days
                JOIN days AS before ON before.kpi_date = days.kpi_date - 1
                WHERE days.revenue_prev_day IS DISTINCT FROM before.revenue HAVING count(*) > 0""",
            ),
        ),
        warning(
            "There are no more visitors than sessions.", none_where("visitors_have_sessions", "visitors > sessions")
        ),
        warning(
            "The last whole day has about as many bookings as the same day of the weeks before.",
            usual_volume("kpi_date", "sum(conversions)"),
        ),
        warning("The key figures reach to the newest day received.", keeps_up("kpi_date")),
    ),
)
