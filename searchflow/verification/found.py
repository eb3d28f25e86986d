"""The findings: what the platform holds, read on one connection, and the moments for which it holds.

Models know the events ingested up to the moment their transformation began (docs/decisions/0010), a destination what
the model before its last sync knew. Both moments are recorded. From raw, only the moment of an event's ingestion is
taken to say what must be in a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import duckdb
import msgspec
import polars as pl

from searchflow import streams
from searchflow.ingestion.positions import position
from searchflow.ingestion.stream_source import StreamPosition
from searchflow.settings import Settings

USERS = "marts.mart_user_segments"
"""The model behind what is sent. It is made at each transformation of all models that has new events."""
SENT = ("done", "partial", "unchanged")
"""The states of a sync run that brought its destination up to date."""


Entries = dict[tuple[str, str], list[tuple[str, list[bytes]]]]
"""(Event type, stream) -> its entries: id and lines."""


def read_streams(settings: Settings) -> Entries:
    """Return everything that is in the event streams now.

    Read it before the snapshot of the lake begins: a worker removes what it has committed, so an entry that is gone
    when the snapshot begins is in the snapshot.
    """
    found: Entries = {}
    with streams.connect(settings) as client:
        for event_type, shards in streams.names(settings).items():
            for stream in shards:
                place, read = streams.START, found.setdefault((event_type, stream), [])
                while entries := streams.read(client, stream, place, entries=500):
                    place = entries[-1][0]
                    read += [(entry, _lines(fields)) for entry, fields in entries]
    return found


def _lines(fields: dict[bytes, bytes]) -> list[bytes]:
    try:
        return streams.decode(fields)
    except ValueError:
        return []


@dataclass
class PlatformState:
    """The platform's side of the comparison: one snapshot of the lake, and the streams as they were before it."""

    settings: Settings
    connection: duckdb.DuckDBPyConnection
    entries: Entries = field(default_factory=dict)

    def query(self, sql: str, *values: Any) -> pl.DataFrame:
        """Return the result of a query as a frame."""
        return self.connection.execute(sql, list(values)).pl()

    @cached_property
    def tables(self) -> frozenset[str]:
        """Return the tables that were made already, as `schema.table`."""
        names = self.query("SELECT table_schema || '.' || table_name AS name FROM information_schema.tables")
        return frozenset(names["name"])

    @cached_property
    def raw(self) -> pl.DataFrame:
        """Return one row for each raw row: event_type, event_id, ingested_at, source."""
        return self.query(
            " UNION ALL ".join(
                f"SELECT '{kind}' AS event_type, event_id, ingested_at, source FROM raw.{kind}_events"
                for kind in streams.EVENT_TYPES
            )
        )

    @cached_property
    def transformations(self) -> list[datetime]:
        """Return the moments up to which the transformations of all of `prod` knew events, oldest first.

        Transformations of the funnel alone, every few seconds, are not among them: what is sent is made from users.
        """
        seen = self.query(
            "SELECT known_until FROM ops.model_runs WHERE environment = 'prod' AND status = 'succeeded' AND model = ?",
            USERS,
        )["known_until"].to_list()
        if USERS in self.tables:  # a release before moments were recorded
            seen += self.query("SELECT max(segment_as_of) AS made FROM marts.mart_user_segments")["made"].to_list()
        return sorted({moment for moment in seen if moment is not None})

    @cached_property
    def _known_until(self) -> dict[str, datetime]:
        made = self.query("SELECT model, known_until FROM ops.made_until WHERE environment = 'prod'")
        return dict(made.iter_rows())

    def known_until(self, model: str) -> datetime | None:
        """Return the moment up to which this model knows events."""
        return self._known_until.get(model, self.transformed_at)

    @cached_property
    def transformed_at(self) -> datetime | None:
        """Return the last moment up to which every model knows events, or None before the first transformation."""
        made = self.transformations and "marts.mart_kpi_daily" in self.tables
        return self.transformations[-1] if made else None

    def sync_moments(self, sync: str) -> list[datetime]:
        """Return, for each run of a sync that reached its destination, the moment its model knew; oldest first, each
        once.
        """
        return sorted(self.sync_runs(sync))

    def sync_runs(self, sync: str) -> dict[datetime, list[datetime]]:
        """Return the moment that a sync's model knew -> when the runs began that sent it and reached the destination."""
        runs = self.query(
            "SELECT started_at FROM ops.sync_runs WHERE sync = ? AND list_contains(?, status) AND mode <> 'planned'",
            sync,
            list(SENT),
        )["started_at"].to_list()
        found: dict[datetime, list[datetime]] = {}
        for run in runs:
            known = max((each for each in self.transformations if each <= run), default=None)
            if known is not None:
                found.setdefault(known, []).append(run)
        return found

    def suppressed(self, moment: datetime) -> set[str]:
        """Return users on the e-mail suppression list at a moment."""
        rows = self.query(
            "SELECT user_id FROM ops.email_suppressions WHERE user_id IS NOT NULL AND changed_at <= ? "
            "QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY changed_at DESC, suppressed DESC) = 1 AND suppressed",
            moment,
        )
        return set(rows["user_id"])

    def holdout_since(self, sync: str, seed: str) -> datetime | None:
        """Return when a sync began to hold users out by a seed: what was sent before was sent to every user."""
        rows = self.query(
            "SELECT min(assigned_at) AS since FROM ops.sync_assignments WHERE sync = ? AND seed = ?", sync, seed
        )
        since: datetime | None = rows["since"].item()
        return since

    @cached_property
    def profiles(self) -> pl.DataFrame:
        """Return when versions of user profiles were loaded: (ingested_at, updated_at of the newest)."""
        return self.query(
            "SELECT ingested_at, max(updated_at) AS updated_at FROM raw.user_profiles GROUP BY ingested_at"
        )

    @cached_property
    def _unread(self) -> list[bytes]:
        """Return lines that were in the streams and are not ingested in the snapshot."""
        lines: list[bytes] = []
        for (event_type, stream), entries in self.entries.items():
            stored = position(self.connection, event_type, stream)
            place = streams.as_pair(StreamPosition.parse(stored).entry_id if stored else streams.START)
            lines += [line for entry, content in entries if streams.as_pair(entry) > place for line in content]
        return lines

    @property
    def waiting_lines(self) -> int:
        """Return how many lines wait, good or bad."""
        return len(self._unread)

    @cached_property
    def waiting(self) -> set[str]:
        """Return ids of events that wait in the streams."""
        return {event_id for line in self._unread if (event_id := _id(line)) is not None}


class _Id(msgspec.Struct):
    event_id: str


def _id(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=_Id).event_id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
