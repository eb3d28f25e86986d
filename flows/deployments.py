"""Every deployment and its schedule, each with its reason. `serve` runs them here; `prefect.yaml` deploys the same.

Each file in `activations/syncs/` is a deployment too, with the schedule that stands in it.

Runs of one kind never overlap: they hold a lock in PostgreSQL, which a killed process cannot keep. (A concurrency limit of
Prefect stays taken for good when its holder is killed and the server restarts: findings/prefect_slot_of_a_killed_run.sh.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import Flow, serve
from prefect.deployments.runner import RunnerDeployment
from prefect.logging import get_logger
from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType

import activations
from activations.sync_files import SYNCS_DIR
from flows.activation import activate
from flows.delivery import deliver
from flows.generation import generate
from flows.ingestion import ingest
from flows.maintenance import maintain
from flows.monitoring import monitor
from flows.pipeline import run_pipeline
from flows.publication import publish
from flows.reconciliation import reconcile
from flows.transformation import transform
from flows.validation import check
from searchflow.clock import server_now
from searchflow.errors import ConfigurationError

PARALLEL_RUNS = 6
"""The number of runs at a time. Ingestion and the models follow all the time. A validation and a sync may wait for the
models to rest, and a run that waits keeps its place: monitoring, deliveries and maintenance need places beside them."""


@dataclass(frozen=True)
class Deployment:
    """A flow, when it runs, with which parameters, and why so."""

    name: str
    flow: Flow[Any, Any]
    schedule: Schedule | None
    why: str
    parameters: dict[str, Any] = field(default_factory=dict)
    first_after: int = 0  # seconds after `serve` starts: soon, not all together, and not before all are registered

    @property
    def entrypoint(self) -> str:
        """Return where the flow is, as `prefect.yaml` writes it."""
        return f"{self.flow.fn.__module__}:{self.flow.fn.__name__}"

    @property
    def schedule_text(self) -> str | None:
        """Return the schedule as people write it: `300 s` or a cron line."""
        if self.schedule is None:
            return None
        if self.schedule.interval is not None:
            return f"{self.schedule.interval.total_seconds():.0f} s"
        return self.schedule.cron

    def prepared(self) -> RunnerDeployment:
        """Return the deployment as `serve` needs it."""
        schedule = self.schedule
        if schedule is not None and schedule.interval is not None:
            schedule = Interval(
                schedule.interval, anchor_date=server_now() + timedelta(seconds=self.first_after), timezone="UTC"
            )
        made = self.flow.to_deployment(
            self.name,
            schedules=[schedule] if schedule else [],
            parameters=self.parameters,
            description=self.why,
            # The file form would load a second copy of the module and put flows/ first on sys.path.
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        assert isinstance(made, RunnerDeployment)
        return made


def every(**period: int) -> Schedule:
    """Return a schedule that runs at an interval."""
    return Interval(timedelta(**period), timezone="UTC")


DEPLOYMENTS = (
    Deployment(
        "ingest",
        ingest,
        every(minutes=5),
        "Follows the streams until its next run takes over, so a crash costs at most five minutes.",
        {"follow_seconds": 300.0},
        first_after=20,
    ),
    Deployment(
        "transform",
        transform,
        every(minutes=5),
        "Follows ingestion: the funnel is seconds behind the events, every other model a minute or two.",
        {"follow_seconds": 300.0, "follow_pause": 5.0},
        first_after=75,
    ),
    Deployment(
        "validate",
        check,
        every(minutes=15),
        "Gates open and close with the data; syncs look at the last outcome.",
        first_after=110,
    ),
    Deployment("activate", activate, None, "Every sync at once, on demand; each has a schedule of its own."),
    Deployment(
        "deliver",
        deliver,
        every(minutes=5),
        "A message that may go waits no longer than that. Does nothing until SEARCHFLOW_SMTP_URL is set.",
        first_after=170,
    ),
    Deployment(
        "publish",
        publish,
        every(minutes=30),
        "BI tools read what is half an hour old at most. Does nothing until SEARCHFLOW_PUBLISH_URL is set.",
        first_after=230,
    ),
    Deployment(
        "reconcile",
        reconcile,
        Cron("30 3 * * *", timezone="UTC"),
        "Drift is rare and reading destinations is slow: nightly.",
    ),
    Deployment(
        "maintain",
        maintain,
        every(hours=1),
        "Keeps files and the catalog small under constant commits.",
        first_after=900,
    ),
    Deployment("monitor", monitor, every(minutes=5), "People hear of trouble before they ask.", first_after=45),
    Deployment(
        "pipeline",
        run_pipeline,
        Cron("0 4 * * *", timezone="UTC"),
        "The run of record of the day before, end to end, in one place.",
    ),
    Deployment("generate", generate, None, "Simulated traffic on demand."),
)


def sync_deployments(folder: Path = SYNCS_DIR) -> Iterator[Deployment]:
    """Yield one deployment for each sync file. A file that is wrong is named in the log, and the others are served."""
    for name in activations.sync_names(folder):
        try:
            sync = activations.load_sync(name, folder)
        except ConfigurationError as error:
            get_logger().error("the sync %s is not scheduled: %s", name, error)
            continue
        schedule = Cron(sync.schedule, timezone="UTC") if sync.schedule else None
        yield Deployment(f"sync-{name}", activate, schedule, sync.description, {"syncs": [name]})


def all_deployments() -> list[Deployment]:
    """Return all deployments, which `serve` runs."""
    return [*DEPLOYMENTS, *sync_deployments()]


def run() -> None:
    """Serve all deployments in this process until it is told to stop."""
    serve(*(deployment.prepared() for deployment in all_deployments()), limit=PARALLEL_RUNS)


if __name__ == "__main__":
    run()
