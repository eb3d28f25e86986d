"""A history of visits written straight into the raw tables, as ingestion would have left them: columnar, and always the same.

A visit has six searches, two clicks, and in one of three a booking after the second click; half of the visitors are
logged in. Of a hundred events, 72 are searches, 24 clicks and 4 bookings. Visits are spread over the day and end before
its last minute, so a day's events are known when it ends.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import duckdb

EVENTS_A_VISIT = 25 / 3
VISITS_A_USER = 20
"""The number of visits per user: users grow with the daily traffic, not with history, because they come back."""

_VISITS = """
CREATE OR REPLACE TEMP TABLE visits AS
SELECT
    day, visit, 's-' || strftime(day, '%Y%m%d') || '-' || visit AS session_id,
    CASE WHEN visit % 2 = 0 THEN 'u-' || hash(day, visit) % $users END AS user_id,
    day + to_milliseconds((hash(visit, day, 'start') % 84600000)::BIGINT) AS started_at,
    (hash(day, visit, 'place') % 200)::INTEGER AS place,
    CASE WHEN hash(day, visit, 'source') % 10 >= 4 THEN 'google' END AS source
FROM (SELECT $first::TIMESTAMP + to_days(past::INTEGER) AS day FROM range($days) AS days (past)),
    range($visits) AS visits (visit)
"""
_SEARCHES = """
INSERT INTO raw.search_events
SELECT md5('s' || session_id || number)::UUID::VARCHAR, started_at + to_seconds(number * 60), user_id, session_id,
    to_json({
        event_type: 'search', query: 'hotels in place ' || (place + number) % 200, page: 1,
        platform: ['web', 'ios', 'android'][1 + visit % 3], device_type: ['desktop', 'mobile'][1 + visit % 2],
        results_count: (place * 7 + number) % 40,
        filters: {price_min: 50, price_max: 900, travelers: 2,
                  dates: [(day + INTERVAL 30 DAY)::DATE, (day + INTERVAL 33 DAY)::DATE]},
        geo: {country: ['CA', 'US', 'FR'][1 + visit % 3], city: 'Montreal', latitude: 45.5, longitude: -73.6},
        utm_source: source,
        utm_medium: CASE WHEN source IS NOT NULL THEN ['cpc', 'email', 'organic'][1 + place % 3] END,
        utm_campaign: CASE WHEN source IS NOT NULL THEN 'campaign-' || place % 20 END
    })::VARCHAR,
    1, started_at + to_seconds(number * 60 + 1), 'searchflow:events:search', visit || '-' || number, $batch
FROM visits, range($per_visit) AS searches (number) ORDER BY started_at
"""
_CLICKS = """
INSERT INTO raw.click_events
SELECT md5('c' || session_id || number)::UUID::VARCHAR, started_at + to_seconds(number * 120 + 30), user_id, session_id,
    to_json({
        event_type: 'click', search_event_id: md5('s' || session_id || number * 2)::UUID, result_id: 'r-' || place,
        result_position: 1 + place % 10, result_type: 'hotel', result_price: 120.5, result_provider: 'p-1',
        result_destination: 'place ' || (place + number) % 200
    })::VARCHAR,
    1, started_at + to_seconds(number * 120 + 31), 'searchflow:events:click', visit || '-' || number, $batch
FROM visits, range($per_visit) AS clicks (number) ORDER BY started_at
"""
_BOOKINGS = """
INSERT INTO raw.conversion_events
SELECT md5('b' || session_id)::UUID::VARCHAR, started_at + INTERVAL 20 MINUTE, user_id, session_id,
    to_json({
        event_type: 'conversion', click_event_id: md5('c' || session_id || 1)::UUID, booking_value: 80 + place,
        currency: 'CAD', product_type: 'hotel', provider: 'p-1'
    })::VARCHAR,
    1, started_at + to_seconds(1201), 'searchflow:events:conversion', visit || '-0', $batch
FROM visits WHERE visit % 3 < $per_visit ORDER BY started_at
"""
_BATCHES = """
INSERT INTO ops.ingestion_batches (batch_id, shard, event_type, source, started_at, committed_at, received, stored,
    duplicates, dead_letters, late, first_event_ts, last_event_ts, touched_days)
SELECT $batch, $kind, $kind, 'searchflow:events:' || $kind, $known, $known, count(*), count(*), 0, 0, 0,
    min(event_ts), max(event_ts), list(DISTINCT event_ts::DATE)
FROM raw.{kind}_events WHERE batch_id = $batch
"""
_SPEND = """
INSERT INTO raw.ad_spend
SELECT day::DATE, 'google', 'campaign-' || campaign, 'CAD', 10 + campaign, 1000, 50, '{}', day + INTERVAL 1 HOUR, 'bench',
    strftime(day, '%Y%m%d') || '-' || campaign, $batch
FROM (SELECT DISTINCT day FROM visits), range(20) AS campaigns (campaign)
"""

PER_VISIT = {"search": (_SEARCHES, 6), "click": (_CLICKS, 2), "conversion": (_BOOKINGS, 1)}


def visits_a_day(events_a_day: int) -> int:
    """Return how many visits make about so many events."""
    return max(3, round(events_a_day / EVENTS_A_VISIT))


def add_days(connection: duckdb.DuckDBPyConnection, first: date, days: int, events_a_day: int) -> int:
    """Write the days from `first` on, as one commit for each feed that became known in the last minute of the last day.

    Returns: how many events.
    """
    visits = visits_a_day(events_a_day)
    batch, known = f"{first:%Y%m%d}-{days}", ends(first + timedelta(days=days - 1))
    start = datetime.combine(first, time())
    connection.execute("SET enable_progress_bar = false")
    connection.execute(
        _VISITS, {"first": start, "days": days, "visits": visits, "users": max(1, visits * VISITS_A_USER)}
    )
    for kind, (insert, per_visit) in PER_VISIT.items():
        connection.execute(insert, {"batch": batch, "per_visit": per_visit})
        connection.execute(_BATCHES.format(kind=kind), {"batch": batch, "kind": kind, "known": known})
    connection.execute(_SPEND, {"batch": batch})
    found = connection.execute("SELECT sum(stored) FROM ops.ingestion_batches WHERE batch_id = ?", [batch]).fetchone()
    return int(found[0]) if found else 0


def ends(day: date) -> datetime:
    """Return the moment at which all of a day's events are known (UTC, naive)."""
    return datetime.combine(day, time(23, 59, 30))
