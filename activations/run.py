"""One run of a sync: gate, plan, limits, delivery, and its record in `ops.sync_runs`.

Syncs, repairs and undos are runs; what they send is staged before (`activations.planner`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb

from activations import holdout, limits, planner, segments
from activations.base import Batch, Delivery, Destination, Kind, utc
from activations.coverage import coverage
from activations.declaration import Sync, destination_module
from activations.delivery import Courier, OnProgress, Tally
from activations.errors import SyncBlocked
from activations.gate import Gate, closed_by, latest_verdicts, named_verdicts, require_open
from activations.ledger import Ledger, attach
from activations.pace import SyncPace
from activations.planner import Plan, SampleRow
from activations.retry import Retries
from searchflow import actor, tracing, warehouse
from searchflow.errors import GateFailed, SearchFlowError
from searchflow.fetching import first_row
from searchflow.ops import audit_log, record
from searchflow.settings import Settings


@dataclass(frozen=True)
class SyncResult:
    """The result of a run: what it did, or with `dry_run` would do. Counts are keys: users, messages."""

    sync: str
    run_id: str
    status: str  # done, unchanged, partial (some rows were rejected), planned (dry run)
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0  # with the refreshed and the held
    rejected: int = 0
    quarantined: int = 0  # rows of the model in quarantine: neither sent nor removed
    held_out: int = 0  # rows of users who are kept out to see what the sync changes
    retried: int = 0
    seconds: float = 0.0
    refreshed: int = 0
    held: int = 0  # rejected before and the same since: not tried again
    repeated: int = 0  # of an append: delivered by a run that was killed, recorded by this one
    batches: int = 0
    blocked: tuple[str, ...] = ()  # dry run: what would stop it
    stale: tuple[str, ...] = ()  # dry run: suites that must look at the data first; the flow lets them
    samples: tuple[SampleRow, ...] = ()  # dry run


def open_destination(sync: Sync, settings: Settings) -> Destination:
    """Return the destination of a sync. It does not connect yet."""
    destination: Destination = destination_module(sync.kind).open_destination(sync, sync.options(), settings)
    return destination


def new_run_id(now: datetime) -> str:
    """Return a new run's id; ids sort by time."""
    return f"{utc(now):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


@contextmanager
def snapshot(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Hold one moment of lake and ledger, so that verdicts, model and what was acknowledged fit together."""
    with warehouse.transaction(connection):
        yield


def verdicts(connection: duckdb.DuckDBPyConnection, sync: Sync, gate: Gate | None) -> tuple[Gate, list[str]]:
    """Return how the suites last ended, and those of them that have not seen what the sync would send."""
    if gate is not None:
        return gate, []
    latest = latest_verdicts(connection)
    named = named_verdicts(sync, latest)
    return latest, coverage(connection, named).stale(sync, named)


@dataclass(frozen=True)
class Look:
    """A look at a sync; a plan that people read and a run take the same look."""

    connection: duckdb.DuckDBPyConnection
    ledger: Ledger
    sync: Sync
    now: datetime
    gate: Gate | None = None
    """The verdicts to use instead of the newest ones in the lake."""
    retry_rejected: bool = False

    def plan(self, *, insist: bool) -> Plan:
        """Compare the model with what was acknowledged, inside `snapshot`. What keeps the sync from sending is in the
        plan.

        Raises:
            GateFailed: with `insist`, when the gate is closed; before the model is read.
        """
        known, stale = verdicts(self.connection, self.sync, self.gate)
        if insist:
            require_open(self.sync, known, stale)
        plan = planner.compare(self.connection, self.sync, now=self.now, retry_rejected=self.retry_rejected)
        plan = self._informed(plan)
        blocked = tuple(limits.exceeded(self.sync, plan))
        return replace(plan, blocked=blocked, gate=tuple(closed_by(self.sync, known)), stale=tuple(stale))

    def _informed(self, plan: Plan) -> Plan:
        """Add what only the ledger knows: whether the sync is on hold, and whether the size of a group is unusual."""
        sizes = segments.sizes(self.connection, self.sync)
        jumps = []
        if sizes or self.sync.limits.groups:
            jumps = segments.jumps(self.sync, sizes, self.ledger.size_history(self.sync))
        return replace(plan, on_hold=self.ledger.on_hold(self.sync), jumps=tuple(jumps), sizes=sizes)


class Run:
    """One run of one sync: what it found, what it sent, and its row in `ops.sync_runs`."""

    def __init__(
        self,
        settings: Settings,
        sync: Sync,
        connection: duckdb.DuckDBPyConnection,
        ledger: Ledger,
        retries: Retries,
        now: datetime,
        mode: str,
    ) -> None:
        self.settings, self.sync, self.connection, self.ledger = settings, sync, connection, ledger
        self.retries, self.now, self.mode, self.by = retries, now, mode, actor.user()
        self.run_id = new_run_id(now)
        self.plan = Plan(sync.name)
        self.tally = Tally()

    def prepare(self, gate: Gate | None, *, retry_rejected: bool) -> None:
        """Check gate, plan and limits: everything that may stop the run before it sends."""
        attach(self.connection, self.settings)
        with snapshot(self.connection):
            look = Look(self.connection, self.ledger, self.sync, self.now, gate, retry_rejected)
            self.plan = look.plan(insist=True)
            approved = limits.require_safe(self.sync, self.plan, approve=self.mode == "approved")
            if self.plan.to_send:
                planner.stage(self.connection, self.sync)
        holdout.assign(self.connection, self.sync, self.run_id, self.now)
        if approved:
            self._record_approval(approved)

    def _record_approval(self, reasons: list[str]) -> None:
        """Record who let what pass, before anything is sent."""
        detail = f"by {self.by}: {'; '.join(reasons)}, sync run {self.run_id}"
        target = f"{self.sync.kind} {self.sync.name}"
        audit_log.append(self.settings, "approve", target, rows=self.plan.to_send, detail=detail)
        self.ledger.release(self.sync)

    def send(self, on_progress: OnProgress | None) -> None:
        """Deliver what is staged. Does not even connect when there is nothing."""
        if self.plan.invalid:
            self._record_invalid()
        if self.plan.to_send:
            self.deliver(on_progress)
            self.ledger.keep_sizes(self.sync, self.plan.sizes)

    def deliver(self, on_progress: OnProgress | None) -> None:
        """Deliver the staged batches. What is about to leave is entered first: a run that is killed is in the log too."""
        total = planner.staged(self.connection)
        detail = f"begins, from {self.sync.model}, {self.mode}, sync run {self.run_id}"
        audit_log.append(self.settings, "send", f"{self.sync.kind} {self.sync.name}", rows=total, detail=detail)
        with closing(open_destination(self.sync, self.settings)) as destination:
            courier = Courier(
                self.sync,
                self.run_id,
                destination,
                self.ledger,
                self.retries,
                self._record_rejected,
                self.tally,
                SyncPace(self.sync.rate, sleep=self.retries.sleep),
            )
            sequence = self.ledger.next_sequence(self.sync)
            if not self.sync.once:  # what is sent once is planned again by its key, whatever the model says then
                self.ledger.set_out(self.sync, self.run_id, planner.in_flight(self.connection, self.sync, sequence))
            keep = self.sync.kept_fields(repair=self.mode == "repair")
            batches = planner.batches(self.connection, self.sync, self.now, sequence, keep, self.run_id)
            courier.deliver(batches, total, on_progress)
            if not self.sync.once:
                self.ledger.arrived(self.sync, self.run_id, all_runs=self.mode in ("run", "approved"))

    def _record_invalid(self) -> None:
        rejections, hashes = planner.invalid_rows(self.connection)
        self._append_rejections([(each.key, each.reason, None) for each in rejections])
        self.ledger.reject(self.sync, self.run_id, rejections, hashes, self.now)
        self.tally.rejected += len(rejections)

    def _record_rejected(self, batch: Batch, delivery: Delivery) -> None:
        known = dict(zip(batch.keys, batch.documents, strict=True)) if batch.has_documents else {}
        refused = [(each.key, each.reason, known.get(each.key)) for each in delivery.rejections]
        self._append_rejections(refused)

    def _append_rejections(self, refused: list[tuple[str, str, str | None]]) -> None:
        rows = [
            {
                "run_id": self.run_id,
                "sync": self.sync.name,
                "key": key,
                "reason": reason,
                "payload": None if document is None else planner.masked_texts([document], self.sync)[0],
                "rejected_at": utc(self.now),
            }
            for key, reason, document in refused
        ]
        record.rows(self.connection, "ops.sync_rejections", rows)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write the run's row however it ends, short of being killed (the ledger's batches tell of those)."""
        clock = time.perf_counter()
        with tracing.span(f"sync {self.sync.name}", links=self._origins(), run=self.run_id, mode=self.mode) as span:
            try:
                yield
            except Exception as error:
                self._write(_status_of(error), _shown(error), time.perf_counter() - clock)
                raise
            self._write(self.status(), None, time.perf_counter() - clock)
            tracing.note(span, status=self.status(), **self.counts())

    def _origins(self) -> list[str | None]:
        """Return the spans of the runs that made what is sent."""
        if not tracing.enabled():
            return []
        row = first_row(
            self.connection.execute(
                "SELECT traceparent FROM ops.model_runs WHERE model = ? AND environment = 'prod' AND status = 'succeeded' "
                "ORDER BY started_at DESC LIMIT 1",
                [self.sync.model],
            )
        )
        return [row[0]] if row else []

    def status(self) -> str:
        """Return in one word how the run ended."""
        if self.tally.rejected:
            return "partial"
        return "done" if self.tally.batches else "unchanged"

    def counts(self) -> dict[str, int]:
        """Return the counts of what was sent and recorded."""
        sent = self.tally.sent
        return {
            "added": sent.get(Kind.ADDED, 0),
            "changed": sum(sent.get(kind, 0) for kind in (Kind.CHANGED, Kind.REPAIRED, Kind.RESTORED)),
            "removed": sent.get(Kind.REMOVED, 0),
            "unchanged": self.plan.unchanged + self.plan.held,
            "rejected": self.tally.rejected,
            "quarantined": self.plan.quarantined,
            "held_out": self.plan.held_out,
            "retried": self.retries.retried,
        }

    def _write(self, status: str, error: str | None, seconds: float) -> None:
        row: dict[str, Any] = {
            "run_id": self.run_id,
            "sync": self.sync.name,
            "started_at": utc(self.now),
            "finished_at": utc(self.now) + timedelta(seconds=seconds),
            "status": status,
            "mode": self.mode,
            "approved_by": self.by if self.mode == "approved" else None,
            "error": error,
            "model": self.sync.model,
            "traceparent": tracing.traceparent(),
        }
        record.rows(self.connection, "ops.sync_runs", [row | self.counts()])
        counts = self.counts()
        audit_log.append(
            self.settings,
            "send",
            f"{self.sync.kind} {self.sync.name}",
            rows=counts["added"] + counts["changed"] + counts["removed"],
            detail=f"from {self.sync.model}, {status}, sync run {self.run_id}",
        )

    def result(self, seconds: float) -> SyncResult:
        """Return the result of the run for the caller."""
        counts = self.counts()
        return SyncResult(
            self.sync.name,
            self.run_id,
            self.status(),
            added=counts["added"],
            changed=counts["changed"],
            removed=counts["removed"],
            unchanged=counts["unchanged"],
            rejected=counts["rejected"],
            quarantined=counts["quarantined"],
            held_out=counts["held_out"],
            retried=counts["retried"],
            seconds=round(seconds, 3),
            refreshed=self.tally.sent.get(Kind.REFRESHED, 0),
            held=self.plan.held,
            repeated=self.tally.repeated,
            batches=self.tally.batches,
        )


def _status_of(error: Exception) -> str:
    if isinstance(error, GateFailed):
        return "gate_closed"
    return "blocked" if isinstance(error, SyncBlocked) else "failed"


def _shown(error: Exception) -> str:
    """Return an error's text for logs: only our own messages are known to hold no personal data."""
    return str(error) if isinstance(error, SearchFlowError) else type(error).__name__
