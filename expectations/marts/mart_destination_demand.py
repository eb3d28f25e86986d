"""Suite that checks which places people ask for, and whether we can sell them."""

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

SUITE = Suite(
    table="marts.mart_destination_demand",
    group="marts",
    title="Demand for destinations",
    numbers="demand, searches without results and bookings of each destination",
    key=("demand_date", "destination"),
    checks=(
        critical(
            "The demand has the agreed columns.",
            has_columns(
                "demand_date",
                "destination",
                "searches",
                "zero_result_searches",
                "clicks",
                "bookings",
                "revenue",
                "look_to_book",
                "revenue_per_search",
                "avg_lead_time_days",
                "searches_with_far_dates",
            ),
        ),
        critical("Every row has a day.", not_null("demand_date")),
        critical("Each destination is there once a day.", unique("demand_date", "destination")),
        critical("No number of searches is negative.", between("searches", low=0)),
        critical("No number of bookings is negative.", between("bookings", low=0)),
        critical("No revenue is negative.", between("revenue", low=0)),
        critical(
            "No destination has more searches without results than searches.",
            none_where("zero_results_are_searches", "zero_result_searches > searches"),
        ),
        critical(
            "All destinations together have the searches and the revenue of the funnel.",
            never(
                "adds_up_to_the_funnel",
                """
                WITH demand AS (SELECT sum(searches) AS searches, sum(revenue) AS revenue FROM {batch}),
                funnel AS (
                  SELECT count(*) AS searches, sum(revenue) AS revenue FROM {marts.fct_search_funnel}
                  WHERE NOT coalesce(is_bot, FALSE)
                )
                SELECT demand.searches, funnel.searches AS funnel_searches, demand.revenue,
                  funnel.revenue AS funnel_revenue
                FROM demand CROSS JOIN funnel
                WHERE coalesce(demand.searches, 0) <> funnel.searches
                  OR coalesce(demand.revenue, 0) <> coalesce(funnel.revenue, 0)""",
            ),
        ),
        warning("People search for stays to come.", between("avg_lead_time_days", low=0)),
        warning(
            "People searched for about as much on the last whole day as on the same day of the weeks before.",
            usual_volume("demand_date", "sum(searches)"),
        ),
        warning("Demand is known up to the newest day received.", keeps_up("demand_date")),
    ),
)
