"""Changes: which earlier days are changed by new data.

A click or booking changes the day of its search, an event beside midnight the session of the neighbouring day, and a
login the days of the session's anonymous part; spend changes its own day. All of it follows from the new rows alone, so
the cost follows them too, and not the history. Each model says how far a changed day reaches into later ones
(`searchflow/transformation/reach.py`).

An erasure takes events away: it notes the days that this changes in its own commit (`ops.erased_days`), and its mark is
seen or not seen like a commit of ingestion.

`ops.transformed_batches` keeps which commits a transformation has already seen. A row is written after the days were
marked for SQLMesh and before they are made. When a run is killed in between, the next marks them again or finds them
marked.

A client's clock may be minutes ahead. Before midnight no model has the next day yet, and none reads its events; a
commit that holds one is therefore taken again after midnight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb

from searchflow import tracing
from searchflow.event_types import EVENT_TYPES, Reference, chains_to, of_every_type
from searchflow.event_types.sql import Chain
from searchflow.fetching import first_row
from searchflow.transformation.reach import ChangedDays

SEEN = "ops.transformed_batches"

FRESH = """
    SELECT '{name}' AS event_type, event_ts, session_id, user_id, {referred} AS referred, {reference} AS reference
    FROM {table} WHERE {condition}"""


def fresh_events(condition: str) -> str:
    """Return the SQL that makes the temporary table `fresh`: events of raw that came, or that will go.

    An event has a row for each event that it refers to, and at least one.
    """
    parts = []
    for each in EVENT_TYPES.values():
        about = {"name": each.name, "table": each.raw_table, "condition": condition}
        if not each.references:
            parts.append(FRESH.format(referred="NULL", reference="NULL", **about))
        for reference in each.references:
            parts.append(
                FRESH.format(referred=f"'{reference.event_type}'", reference=_id_in("payload", reference), **about)
            )
    return "CREATE TEMP TABLE fresh AS" + " UNION ALL".join(parts)


def _id_in(document: str, reference: Reference) -> str:
    return f"lower({document} ->> '$.{reference.field}')"


# A search's outcome counts for `funnel_window_days`; a client's clock may be a day wrong.
WINDOW, EVER = "BETWEEN $first AND $last", "<= $last"


def search_days() -> str:
    """Return the SQL that finds the days of searches which events in `fresh` follow, by however many steps."""
    references = [each for event_type in EVENT_TYPES.values() for each in event_type.references]
    parts = []
    for chain in chains_to(EVENT_TYPES, "search"):
        referred = chain[0][0].name if chain else "search"
        ever = [each.any_time for each in references if each.event_type == referred]
        if ever:
            parts.append(_days_of_searches(chain, referred, ever=any(ever)))
    return " UNION ".join(parts)


def _days_of_searches(chain: Chain, referred: str, *, ever: bool) -> str:
    """Return the SQL of the days of searches that follow by the chain from events which refer to the type `referred`."""
    sql, key = "FROM fresh", "fresh.reference"
    for number, (event_type, reference) in enumerate(chain):
        sql += f" JOIN {event_type.raw_table} AS step{number} ON step{number}.event_id = {key}"
        sql += f" AND step{number}.event_ts {EVER if ever else WINDOW}"
        key, ever = _id_in(f"step{number}.payload", reference), ever or reference.any_time
    return (
        f"SELECT DISTINCT searches.event_ts::DATE {sql} JOIN raw.search_events AS searches ON searches.event_id = {key} "
        f"AND searches.event_ts {EVER if ever else WINDOW} WHERE fresh.referred = '{referred}'"
    )


IN_SESSIONS = "SELECT session_id, event_ts FROM raw.{table}"
# Only a session that is awake at the midnight between can reach over it. The cut of a session that never sleeps looks
# one midnight further.
NEIGHBOUR_DAYS = f"""
    WITH days AS (SELECT DISTINCT session_id, event_ts::DATE AS day FROM fresh),
    nearby AS (
        {of_every_type(EVENT_TYPES, IN_SESSIONS + " WHERE event_ts BETWEEN $first AND $last")}
    )
    SELECT DISTINCT nearby.event_ts::DATE
    FROM days
    JOIN nearby ON nearby.session_id = days.session_id
    WHERE nearby.event_ts BETWEEN days.day - to_minutes($gap) AND days.day
        OR nearby.event_ts BETWEEN days.day + INTERVAL 1 DAY AND days.day + INTERVAL 1 DAY + to_minutes($gap)
        OR nearby.event_ts BETWEEN days.day + INTERVAL 2 DAY AND days.day + INTERVAL 2 DAY + to_minutes($gap)
"""

RENAMED_SESSIONS = """
    CREATE TEMP TABLE renamed AS
    SELECT DISTINCT known.session_id, known.first_seen_at
    FROM fresh
    JOIN {identity} AS known ON known.session_id = fresh.session_id
    WHERE fresh.user_id IS NOT NULL
        AND (known.user_id IS NULL OR (known.user_id <> fresh.user_id AND fresh.event_ts <= known.identified_at))
"""

RENAMED_DAYS = f"""
    SELECT DISTINCT event_ts::DATE FROM (
        {of_every_type(EVENT_TYPES, IN_SESSIONS + " WHERE event_ts >= $first")}
    ) JOIN renamed USING (session_id)
"""

ERASED_DAYS = "SELECT DISTINCT day FROM ops.erased_days WHERE mark_id IN (SELECT batch_id FROM new_batches)"
SPEND_DAYS = "SELECT DISTINCT spend_date FROM raw.ad_spend WHERE batch_id IN (SELECT batch_id FROM new_batches)"


@dataclass(frozen=True)
class UnseenCommit:
    """One commit of ingestion, or one mark of an erasure, that no transformation has seen."""

    batch_id: str
    shard: str
    last_event_ts: datetime | None = None
    """The commit's newest event; null for feeds that have days and no moments."""


def new_batches(
    connection: duckdb.DuckDBPyConnection, environment: str, now: datetime, taken: datetime | None = None
) -> list[UnseenCommit]:
    """Return commits from `taken` to `now` that stored or erased something and that no transformation of this
    environment has seen.

    Models read events ingested up to `now` only (the macro KNOWN); a later commit is left to the next transformation.
    """
    if taken is not None and taken.date() < now.date():
        taken = None  # what was left to the new day came before midnight
    found = connection.execute(
        f"""
        WITH batches AS (
            SELECT batch_id, shard, committed_at, last_event_ts FROM ops.ingestion_batches WHERE stored > 0
            UNION ALL
            SELECT mark_id, 'erasure', erased_at, NULL FROM ops.erased_days
        )
        SELECT batch_id, shard, max(last_event_ts) FROM batches
        WHERE committed_at > coalesce(?, TIMESTAMP '1970-01-01') AND committed_at <= ? AND NOT EXISTS (
            SELECT 1 FROM {SEEN} AS seen WHERE seen.batch_id = batches.batch_id AND seen.environment = ?
        )
        GROUP BY batch_id, shard ORDER BY ALL
        """,
        [taken, now, environment],
    ).fetchall()
    return [UnseenCommit(*row) for row in found]


def traces(connection: duckdb.DuckDBPyConnection, environment: str, now: datetime) -> list[str]:
    """Return the spans of the newest commits that the next transformation takes in."""
    found = connection.execute(
        f"""
        SELECT DISTINCT traceparent, committed_at FROM ops.ingestion_batches AS batches
        WHERE stored > 0 AND committed_at <= ? AND traceparent IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM {SEEN} AS seen WHERE seen.batch_id = batches.batch_id AND seen.environment = ?
        )
        ORDER BY committed_at DESC LIMIT {tracing.MOST_LINKS}
        """,
        [now, environment],
    ).fetchall()
    return [str(row[0]) for row in found]


def mark_seen(
    connection: duckdb.DuckDBPyConnection, environment: str, batches: list[UnseenCommit], now: datetime
) -> None:
    """Remember that the days of these commits are on SQLMesh's list. A commit with events of tomorrow is not
    remembered.
    """
    tomorrow = datetime.combine(now.date() + timedelta(days=1), datetime.min.time())
    whole = [batch for batch in batches if batch.last_event_ts is None or batch.last_event_ts < tomorrow]
    if not whole:
        return
    ids = [batch.batch_id for batch in whole]
    shards = [batch.shard for batch in whole]
    connection.execute(
        f"INSERT INTO {SEEN} SELECT ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), ?", [environment, ids, shards, now]
    )


def share_seen(connection: duckdb.DuckDBPyConnection, environment: str, shared: str) -> None:
    """Note what a new environment has seen: it shares the tables of `shared`, so it has seen what is in those."""
    connection.execute(
        f"""
        INSERT INTO {SEEN}
        SELECT ?, batch_id, shard, seen_at FROM {SEEN} AS seen
        WHERE environment = ? AND NOT EXISTS (
            SELECT 1 FROM {SEEN} AS own WHERE own.batch_id = seen.batch_id AND own.environment = ?
        )
        """,
        [environment, shared, environment],
    )


def changed_days(
    connection: duckdb.DuckDBPyConnection,
    batches: list[UnseenCommit],
    *,
    gap_minutes: int,
    window_days: int,
    identity: str | None,
) -> ChangedDays:
    """Return the days in which these commits changed something.

    `identity` is the table that says who sessions belonged to before these commits; None when there is none yet.
    """
    if not batches:
        return ChangedDays()
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE new_batches AS SELECT unnest(?::VARCHAR[]) AS batch_id",
        [[batch.batch_id for batch in batches]],
    )
    known = ChangedDays(spend=frozenset(_days(connection, SPEND_DAYS)))
    known |= ChangedDays.entirely(_days(connection, ERASED_DAYS))
    span = first_row(
        connection.execute(
            "SELECT min(first_event_ts), max(last_event_ts) FROM ops.ingestion_batches "
            "WHERE batch_id IN (SELECT batch_id FROM new_batches)"
        )
    )
    if span is None or span[0] is None:
        return known
    first, last = span
    connection.execute("DROP TABLE IF EXISTS fresh")
    of_batches = "batch_id IN (SELECT batch_id FROM new_batches) AND event_ts BETWEEN $first AND $last"
    connection.execute(fresh_events(of_batches), {"first": first, "last": last})
    return known | days_around(
        connection, first, last, gap_minutes=gap_minutes, window_days=window_days, identity=identity
    )


def days_around(
    connection: duckdb.DuckDBPyConnection,
    first: datetime,
    last: datetime,
    *,
    gap_minutes: int,
    window_days: int,
    identity: str | None,
) -> ChangedDays:
    """Return the days whose rows the events in `fresh`, from `first` to `last`, change in any incremental model."""
    day, window = timedelta(days=1), timedelta(days=window_days + 1)
    visits = set(_days(connection, "SELECT DISTINCT event_ts::DATE FROM fresh"))
    visits |= set(_days(connection, NEIGHBOUR_DAYS, {"first": first - day, "last": last + 3 * day, "gap": gap_minutes}))
    if identity is not None:
        visits |= _renamed_days(connection, identity)
    searches = _days(connection, search_days(), {"first": first - window, "last": last + day})
    return ChangedDays(visits=frozenset(visits), searches=frozenset(searches))


def _renamed_days(connection: duckdb.DuckDBPyConnection, identity: str) -> set[date]:
    """Return the days of sessions into which a user has logged in since."""
    connection.execute("DROP TABLE IF EXISTS renamed")
    connection.execute(RENAMED_SESSIONS.format(identity=identity))
    row = first_row(connection.execute("SELECT min(first_seen_at) FROM renamed"))
    if row is None or row[0] is None:
        return set()
    return set(_days(connection, RENAMED_DAYS, {"first": row[0]}))


def _days(connection: duckdb.DuckDBPyConnection, query: str, values: object = None) -> list[date]:
    return [row[0] for row in connection.execute(query, values).fetchall()]
