"""Live progress of a long ingestion: an artifact that is updated in place, a line in the log, samples in ops.

One run shows its state every few seconds, however many commits it makes in between.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import duckdb
import httpx
import redis
from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.futures import PrefectFuture, wait

from flows.support import utc_now
from searchflow.errors import SearchFlowError
from searchflow.ingestion import meter
from searchflow.ingestion.commit import Counts
from searchflow.progress import Bar
from searchflow.settings import Settings

SECONDS = 5.0
"""The seconds between two updates."""
PASSING = (SearchFlowError, duckdb.Error, redis.RedisError, httpx.HTTPError, OSError)
"""The errors of a server that is away: the figures wait, ingestion goes its own way."""


class LiveTable:
    """A table artifact of this run that shows its newest state, not one artifact per update."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._artifact: UUID | None = None

    def show(self, rows: Sequence[dict[str, Any]], description: str) -> None:
        """Replace what the table shows."""
        if self._artifact is None:
            self._artifact = create_table_artifact(key=self._key, table=list(rows), description=description)
            return
        with get_client(sync_client=True) as client:
            update = ArtifactUpdate(data=json.dumps(list(rows)), description=description)
            client.update_artifact(self._artifact, update)


class Live:
    """A listener that hears of every commit, from any thread; `watch` shows and keeps the figures while tasks run."""

    def __init__(self, settings: Settings, bar: Bar) -> None:
        self._settings, self._bar = settings, bar
        self._meter = meter.Meter(utc_now())
        self._table = LiveTable("ingestion-live")
        self._said = ""

    def note(self, source: str, counts: Counts) -> None:
        """Note the counts of a commit."""
        self._meter.note(source, counts)
        self._bar.advance(counts.received)

    def trouble_of(self, log: Any) -> Callable[[Exception], None]:
        """Return a callback for a worker that goes on after trouble: each new kind is logged, and said on standard
        error."""

        def tell(error: Exception) -> None:
            message = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            if message != self._said:
                self._said = message
                log.warning("%s", message)
                sys.stderr.write(f"searchflow: {message}\n")

        return tell

    def watch(self, futures: Sequence[PrefectFuture[Any]]) -> None:
        """Show and keep the figures until all tasks have ended."""
        if wait(list(futures), timeout=SECONDS).not_done:  # a follower; a short drain leaves the cleaning to it
            self._attempt(lambda: meter.forget(self._settings, utc_now()))
            self._attempt(self._update)
        while wait(list(futures), timeout=SECONDS).not_done:
            self._attempt(self._update)
        self._attempt(self._update)

    def _attempt(self, step: Callable[[], Any]) -> None:
        try:
            step()
        except PASSING as error:
            get_run_logger().warning("the figures could not be kept: %s", str(error).splitlines()[0][:200])

    def _update(self) -> None:
        now = utc_now()
        backlogs = meter.backlogs(self._settings, now)
        samples = self._meter.sample(now, backlogs)
        if not samples:
            return
        meter.keep(self._settings, samples)
        rates = {sample.source: sample.events_per_second for sample in samples}
        rows = [
            {
                "source": source,
                "backlog_entries": backlogs.get(source, meter.Backlog()).entries,
                "lag_seconds": backlogs.get(source, meter.Backlog()).lag_seconds,
                "events_per_second": rates.get(source, 0.0),
                **asdict(self._meter.totals.get(source, Counts())),
            }
            for source in sorted({*self._meter.totals, *rates})
        ]
        total = sum(row["received"] for row in rows)
        description = f"Received {total:,} so far, {sum(rates.values()):,.0f}/s now ({now:%H:%M:%S} UTC)."
        self._table.show(rows, description)
        get_run_logger().info("%s %s", description, rows)
