"""The console that SQLMesh reports to: it turns what the scheduler tells into `ModelRun`s and calls back."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlmesh.core.console import NoopConsole, set_console
from sqlmesh.core.snapshot import Snapshot

from searchflow.transformation.result import ModelProgress, ModelRun

if TYPE_CHECKING:
    from sqlmesh.core.snapshot.definition import Interval, Intervals
    from sqlmesh.utils.concurrency import NodeExecutionFailedError

Callback = Callable[[ModelProgress], None]


class RunConsole(NoopConsole):
    """A console that listens to one run after the other; `listen` starts with a clean sheet."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.listen(None, datetime(1970, 1, 1))  # noqa: DTZ001  (UTC, as all our times are)

    def take_over(self) -> None:
        """Become SQLMesh's console: it has one in a process."""
        set_console(self)

    def listen(self, callback: Callback | None, now: datetime) -> None:
        """Forget the last run, and report the next one, which starts at `now`, to `callback`."""
        self.callback = callback
        self._now, self._clock = now, time.perf_counter()
        self.runs: dict[str, ModelRun] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.planned: dict[str, Intervals] = {}
        self.failures: dict[str, BaseException] = {}
        self.warnings: list[str] = []
        self.problems: list[str] = []

    def start_evaluation_progress(self, batched_intervals: dict[Snapshot, Intervals], *_: Any, **__: Any) -> None:
        """Hear the plan of the run: which models, in how many ranges of days."""
        for snapshot, intervals in batched_intervals.items():
            if intervals:
                due_at = snapshot.node.cron_next(self._now.replace(tzinfo=UTC)).replace(tzinfo=None)
                self.runs[snapshot.name] = ModelRun(snapshot.model.name, batches=len(intervals), due_at=due_at)
                self.snapshots[snapshot.name] = snapshot
                self.planned[snapshot.name] = intervals

    def start_snapshot_evaluation_progress(self, snapshot: Snapshot, audit_only: bool = False) -> None:
        """Hear that one range of days of a model begins."""
        with self._lock:
            run = self.runs[snapshot.name]
            first = run.started_at is None
            if first:
                run.started_at = self._now + timedelta(seconds=time.perf_counter() - self._clock)
                run.status = "started"
        if first:
            self._tell(run)

    def update_snapshot_evaluation_progress(
        self,
        snapshot: Snapshot,
        interval: Interval,
        batch_idx: int,
        duration_ms: int | None,
        num_audits_passed: int,
        num_audits_failed: int,
        *_: Any,
        **__: Any,
    ) -> None:
        """Hear that one range of days of a model is over. Without a duration it failed."""
        if duration_ms is None:
            # The scheduler calls this in its `finally`: the failure is on its way, and is heard here before other models go on.
            self._failed(snapshot.name, sys.exc_info()[1])
            return
        with self._lock:
            run = self.runs[snapshot.name]
            run.duration_s += duration_ms / 1000
            run.audits_passed += num_audits_passed
            run.audits_failed += num_audits_failed
            run.intervals.append((_utc(interval[0]), _utc(interval[1])))
            if run.status == "failed":  # an earlier range of its days did
                return
            if len(run.intervals) == run.batches:
                run.status = "succeeded"
        self._tell(run, "batch" if run.status == "started" else None)

    def log_skipped_models(self, snapshot_names: set[str]) -> None:
        """Hear which models were skipped because they are below one that failed."""
        for name in sorted(snapshot_names):
            run = self.runs.get(name)
            if run is not None and run.status in ("planned", "started"):
                run.status = "skipped"
                self._tell(run)

    def log_failed_models(self, errors: Iterable[NodeExecutionFailedError[Any]]) -> None:
        """Hear which models failed, and why. Those that failed before they were begun were not heard of yet."""
        for error in errors:
            name = getattr(error.node, "snapshot_name", None) or error.node.name
            if name not in self.failures:
                self._failed(name, error.__cause__ or error)

    def skip_the_rest(self) -> None:
        """Mark what was planned and never begun as skipped, because the run was stopped."""
        self.log_skipped_models(set(self.runs))

    def _failed(self, name: str, cause: BaseException | None) -> None:
        cause = cause or RuntimeError("it did not say why")
        with self._lock:
            again = name in self.failures
            self.failures.setdefault(name, cause)
            run = self.runs.get(name)
            if run is None:
                return
            run.status, run.error = "failed", run.error or str(cause)
            run.audits_failed += len(getattr(cause, "errors", []))
        if not again:
            self._tell(run)

    def log_warning(self, short_message: str, long_message: str | None = None, *_: Any, **__: Any) -> None:
        """Hear a warning, mostly of an audit that does not block."""
        self.warnings.append(short_message.strip())

    def log_error(self, message: str, *_: Any, **__: Any) -> None:
        """Hear an error that belongs to no model."""
        self.problems.append(message.strip())

    def _tell(self, run: ModelRun, state: str | None = None) -> None:
        if self.callback is not None:
            with self._lock:  # callbacks come for one model at a time, however many are made at once
                done = sum(1 for other in self.runs.values() if other.status in ("succeeded", "failed", "skipped"))
                self.callback(ModelProgress(run.name, state or run.status, done, len(self.runs), run))


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)
