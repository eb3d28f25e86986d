"""Suite that checks what came of each search. Revenue is only what a search led to: the rest of the bookings is not in here."""

from expectations.suite import (
    COUNTRY_CODE,
    Suite,
    aggregate,
    between,
    critical,
    has_columns,
    matches,
    none_where,
    not_ahead,
    not_null,
    one_of,
    unique,
    usual_volume,
    warning,
)
from searchflow.domain import CHANNELS, DEVICE_TYPES, PLATFORMS

SUITE = Suite(
    table="marts.fct_search_funnel",
    group="marts",
    title="Search funnel, search by search",
    numbers="every step of the funnel, its revenue, and all marts made from it",
    key=("search_event_id",),
    checks=(
        critical(
            "The funnel has the agreed columns.",
            has_columns(
                "search_event_id",
                "searched_at",
                "search_date",
                "session_id",
                "session_key",
                "visitor_id",
                "user_id",
                "query",
                "platform",
                "device_type",
                "country",
                "channel",
                "utm_source",
                "utm_medium",
                "utm_campaign",
                "destination",
                "results_count",
                "has_results",
                "clicks",
                "first_click_position",
                "first_click_at",
                "conversions",
                "revenue",
                "is_bot",
                "page",
                "lead_time_days",
                "first_conversion_at",
            ),
        ),
        critical(
            "When searches were received, the funnel is not empty.",
            aggregate(
                "not_empty",
                broken="count(*) = 0 AND (SELECT count(*) FROM lake.raw.search_events) > 0",
                searches_received="(SELECT count(*) FROM lake.raw.search_events)",
            ),
        ),
        critical(
            "The funnel has no more searches than were received.",
            aggregate(
                "not_more_than_received",
                unexpected="greatest(count(*) - (SELECT count(*) FROM lake.raw.search_events), 0)",
            ),
        ),
        critical("Every search has an identifier.", not_null("search_event_id")),
        critical("Every search is counted once.", unique("search_event_id")),
        critical("Every search has a moment.", not_null("searched_at")),
        critical(
            "Every search stands on its own day.",
            none_where("on_its_day", "search_date IS DISTINCT FROM CAST(searched_at AS DATE)"),
        ),
        critical("No search lies more than a day in the future.", not_ahead("searched_at")),
        critical("Every search has a visitor.", not_null("visitor_id")),
        critical("Every search came through a channel that we define.", one_of("channel", CHANNELS)),
        critical("The clicks of every search are known.", not_null("clicks")),
        critical("No number of clicks is negative.", between("clicks", low=0)),
        critical("The bookings of every search are known.", not_null("conversions")),
        critical("No number of bookings is negative.", between("conversions", low=0)),
        critical("The revenue of every search is known.", not_null("revenue")),
        critical("No revenue is negative.", between("revenue", low=0)),
        critical(
            "No one books without having clicked.", none_where("booked_after_click", "conversions > 0 AND clicks = 0")
        ),
        critical(
            "There is no revenue without a booking.",
            none_where("revenue_of_bookings", "revenue > 0 AND conversions = 0"),
        ),
        warning(
            "The funnel reaches to the newest search received.",
            aggregate(
                "up_to_date",
                broken="max(searched_at) < (SELECT max(event_ts) FROM lake.raw.search_events) - INTERVAL 24 HOUR",
                newest="max(searched_at)",
            ),
        ),
        warning("Numbers of results are not negative.", between("results_count", low=0)),
        warning(
            "Nothing is clicked where nothing was found.",
            none_where("no_click_without_results", "results_count = 0 AND clicks > 0"),
        ),
        warning("Searches come from platforms that we know.", one_of("platform", PLATFORMS)),
        warning("Searches come from kinds of devices that we know.", one_of("device_type", DEVICE_TYPES)),
        warning("Countries are written as two letters.", matches("country", COUNTRY_CODE)),
        warning(
            "Runaway sessions (bots) make at most a fifth of all searches.",
            aggregate(
                "few_bots",
                broken="count(*) FILTER (WHERE is_bot) > 0.2 * count(*)",
                bot_searches="count(*) FILTER (WHERE is_bot)",
            ),
        ),
        warning(
            "The last whole day has about as many searches as the same day of the weeks before.",
            usual_volume("searched_at"),
        ),
    ),
)
