"""Metrics: the ops tables in Prometheus' format. This module reads `ops` only, where no event and no person is stored.

Counters over all commits are kept as a sum up to some minutes ago and a sum of the rest, so that a scrape reads what is
new and not the history. An answer is kept for a few seconds: many scrapers cost as much as one.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from searchflow import warehouse
from searchflow.clock import utc_now
from searchflow.ops.levels.measures import USUALLY
from searchflow.ops.views import sync_latency
from searchflow.settings import Settings

CONTENT_TYPE = CONTENT_TYPE_LATEST
KEPT_SECONDS = 5.0
SETTLED = timedelta(minutes=15)
"""The time after which counts are settled: commits become visible within seconds of their time stamp, so nothing is
added behind this any more.
"""
LATENCY_WINDOW = timedelta(hours=3)

COUNTED = ("received", "stored", "duplicates", "dead_letters", "late")

Query = Callable[[str, dict[str, Any]], list[tuple[Any, ...]]]


class Metrics:
    """The text of `/metrics`, read on a connection that `opened` gives when one is needed. It is safe to call from any
    thread.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractContextManager[Query]],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._opened, self._clock = opened, clock
        self._lock = threading.Lock()
        self._kept: tuple[float, bytes] | None = None
        self._settled: dict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTED))
        self._settled_until = datetime(1970, 1, 1)  # noqa: DTZ001  (UTC, as all times of the lake)

    def text(self) -> bytes:
        """Return all metrics as text, as they are now.

        Raises:
            ServiceError: the warehouse does not answer.
        """
        with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] > KEPT_SECONDS:
                registry = CollectorRegistry()
                with self._opened() as self._query:
                    registry.register(_Collected(list(self._families())))
                self._kept = (time.monotonic(), generate_latest(registry))
            return self._kept[1]

    def _families(self) -> Iterator[Metric]:
        now = self._clock().astimezone(UTC).replace(tzinfo=None)
        yield from self._events(now)
        yield from self._streams(now)
        yield from self._runs(now)
        yield from self._models()
        yield from self._syncs(now)
        yield from self._quality()
        yield from self._levels()

    def _events(self, now: datetime) -> Iterator[Metric]:
        border = now - SETTLED
        sums = ", ".join(f"sum({name})::BIGINT" for name in COUNTED)
        query = f"""
            SELECT coalesce(event_type, 'any'), committed_at > $border, {sums} FROM ops.ingestion_batches
            WHERE shard <> 'replay' AND committed_at > $known GROUP BY ALL"""
        fresh: dict[str, list[int]] = {}
        for event_type, recent, *counts in self._query(query, {"border": border, "known": self._settled_until}):
            if recent:
                fresh[event_type] = counts
            else:
                self._settled[event_type] = _added(self._settled[event_type], counts)
        self._settled_until = border
        totals = {
            kind: _added(self._settled[kind], fresh.get(kind, [0] * len(COUNTED))) for kind in {*self._settled, *fresh}
        }
        for place, name in enumerate(COUNTED):
            family = CounterMetricFamily(
                f"searchflow_events_{name}", f"Events {name.replace('_', ' ')}", labels=["type"]
            )
            for kind, counts in sorted(totals.items()):
                family.add_metric([kind], counts[place])
            yield family

    def _streams(self, now: datetime) -> Iterator[Metric]:
        rows = self._query(
            """
            SELECT source, backlog, lag_seconds, epoch(measured_at) FROM ops.ingestion_metrics
            WHERE measured_at >= $since AND source LIKE 'searchflow:events:%'
            QUALIFY row_number() OVER (PARTITION BY source ORDER BY measured_at DESC) = 1 ORDER BY source
            """,
            {"since": now - timedelta(days=7)},
        )
        yield _gauge("searchflow_stream_backlog_entries", "Entries not ingested, at the last sample", ["stream"],
                     ((row[0], row[1]) for row in rows))  # fmt: skip
        yield _gauge("searchflow_stream_lag_seconds", "How long the oldest entry waited, at the last sample", ["stream"],
                     ((row[0], row[2]) for row in rows))  # fmt: skip
        yield _gauge("searchflow_stream_sampled_timestamp_seconds", "When that was", ["stream"],
                     ((row[0], row[3]) for row in rows))  # fmt: skip

    def _runs(self, now: datetime) -> Iterator[Metric]:
        rows = self._query(
            """
            SELECT kind, name, count(*), count(*) FILTER (WHERE NOT ok), arg_max(duration_s, started_at),
                   arg_max(rows, started_at), epoch(max(started_at)), epoch(max(started_at) FILTER (WHERE ok)),
                   sum(rows)
            FROM ops.runs WHERE started_at <= $now GROUP BY kind, name ORDER BY kind, name
            """,
            {"now": now + timedelta(days=1)},
        )
        runs = CounterMetricFamily(
            "searchflow_runs", "Runs of stages, models, syncs and suites", labels=["kind", "name"]
        )
        failures = CounterMetricFamily("searchflow_run_failures", "Those that failed", labels=["kind", "name"])
        total = CounterMetricFamily("searchflow_run_rows", "Rows they wrote, sent or checked", labels=["kind", "name"])
        for kind, name, count, failed, *_, summed in rows:
            runs.add_metric([kind, name], count)
            failures.add_metric([kind, name], failed)
            total.add_metric([kind, name], float(summed or 0))
        yield from (runs, failures, total)
        labels = ["kind", "name"]
        for place, name, text in (
            (4, "searchflow_run_duration_seconds", "Duration of the newest run"),
            (5, "searchflow_run_last_rows", "Rows of the newest run"),
            (6, "searchflow_run_last_timestamp_seconds", "When the newest run began"),
            (7, "searchflow_run_last_success_timestamp_seconds", "When the newest successful run began"),
        ):
            yield _gauge(name, text, labels, ((*row[:2], row[place]) for row in rows))

    def _models(self) -> Iterator[Metric]:
        rows = self._query(
            """
            SELECT model, sum(audits_failed), epoch(max(interval_end)) FROM ops.model_runs
            WHERE environment = 'prod' GROUP BY model ORDER BY model
            """,
            {},
        )
        failed = CounterMetricFamily("searchflow_model_audits_failed", "Audits that failed", labels=["model"])
        for model, count, _ in rows:
            failed.add_metric([model], float(count or 0))
        yield failed
        yield _gauge("searchflow_model_covered_until_timestamp_seconds", "Moment up to which a model covers events", ["model"],
                     ((model, until) for model, _, until in rows))  # fmt: skip

    def _syncs(self, now: datetime) -> Iterator[Metric]:
        changes = CounterMetricFamily(
            "searchflow_sync_rows", "Rows by what was done with them", labels=["sync", "change"]
        )
        kinds = ("added", "changed", "removed", "rejected", "retried")
        sums = ", ".join(f"sum({kind})" for kind in kinds)
        for sync, *counts in self._query(f"SELECT sync, {sums} FROM ops.sync_runs GROUP BY sync ORDER BY sync", {}):
            for kind, count in zip(kinds, counts, strict=True):
                changes.add_metric([sync, kind], float(count or 0))
        yield changes
        rows = self._query(
            f"SELECT sync, quantile_cont(latency_s, {USUALLY}) FROM ({sync_latency('$since')}) "
            "WHERE latency_s IS NOT NULL GROUP BY sync ORDER BY sync",
            {"since": now - LATENCY_WINDOW},
        )
        yield _gauge("searchflow_sync_latency_seconds", "From event to destination, 95th percentile of three hours",
                     ["sync"], rows)  # fmt: skip

    def _quality(self) -> Iterator[Metric]:
        rows = self._query(
            """
            WITH newest AS (
                SELECT suite, run_id FROM ops.pass_rates
                QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC, run_id DESC) = 1
            )
            SELECT suite, outcome, count(*) FROM ops.validation_results JOIN newest USING (suite, run_id)
            GROUP BY suite, outcome ORDER BY suite, outcome
            """,
            {},
        )
        yield _gauge("searchflow_checks", "Checks of the newest run, by outcome", ["suite", "outcome"], rows)
        held = self._query(
            """
            SELECT suite, rows_quarantined FROM ops.validated_tables
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY checked_at DESC, run_id DESC) = 1 ORDER BY suite
            """,
            {},
        )
        yield _gauge("searchflow_quarantined_rows", "Rows in quarantine since the newest run", ["suite"], held)

    def _levels(self) -> Iterator[Metric]:
        rows = self._query(
            """
            SELECT level, target, state, value, limit_value, epoch(since) FROM ops.service_levels
            QUALIFY row_number() OVER (PARTITION BY level, target ORDER BY checked_at DESC) = 1 ORDER BY level, target
            """,
            {},
        )
        labels = ["level", "target"]
        yield _gauge("searchflow_service_level_kept", "1 while a service level is kept, 0 while it is broken", labels,
                     ((level, target, int(state == "kept"))
                      for level, target, state, *_ in rows if state != "unknown"))  # fmt: skip
        for place, name, text in (
            (3, "searchflow_service_level_value", "What was measured: seconds, a share or a count"),
            (4, "searchflow_service_level_limit", "The limit"),
            (5, "searchflow_service_level_since_timestamp_seconds", "When the level got its present state"),
        ):
            yield _gauge(name, text, labels, ((*row[:2], row[place]) for row in rows))


class _Collected(Collector):
    """A collector of families that were made already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return all families that were made."""
        return self._families


def query_of(connection: duckdb.DuckDBPyConnection) -> Query:
    """Return a function that runs queries on a connection."""
    return lambda sql, values: connection.execute(sql, values or None).fetchall()


@contextmanager
def opened(settings: Settings) -> Iterator[Query]:
    """Open a connection of its own and one snapshot of the lake, for as long as the block lasts."""
    with warehouse.connect(settings, read_only=True) as connection, warehouse.transaction(connection):
        yield query_of(connection)


def _gauge(name: str, text: str, labels: list[str], rows: Iterable[tuple[Any, ...]]) -> GaugeMetricFamily:
    """Return a gauge of (label, ..., value) each. What is not known is left out."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for *given, value in rows:
        if value is not None:
            family.add_metric([str(each) for each in given], float(value))
    return family


def _added(one: list[int], other: list[int]) -> list[int]:
    return [mine + int(theirs or 0) for mine, theirs in zip(one, other, strict=True)]
