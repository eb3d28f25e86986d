"""Results of a transformation: what it tells about each model while it runs, and about all of them at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

PRODUCTION = "prod"
"""The environment that syncs, gates and dashboards read."""


@dataclass(frozen=True)
class ModelProgress:
    """One step of one model. The callback gets it on the thread that did the work."""

    model: str
    state: str
    """The step: started, batch (one range of days is done), succeeded, failed or skipped."""
    models_done: int
    models_total: int
    run: ModelRun


@dataclass
class ModelRun:
    """What one model did in one transformation."""

    name: str
    batches: int = 0
    """The number of ranges of days in which the model is made."""
    intervals: list[tuple[datetime, datetime]] = field(default_factory=list)
    """Ranges of days that were made: from, until (exclusive), UTC without a zone."""
    started_at: datetime | None = None
    due_at: datetime | None = None
    """The moment at which its schedule makes it next."""
    duration_s: float = 0.0
    rows: int | None = None
    """Rows of those days afterwards; of the whole table for a model that is made as a whole; null for a view."""
    audits_passed: int = 0
    audits_failed: int = 0
    status: str = "planned"
    error: str | None = None
    """Why it failed, as a sentence."""
    broken: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    """Blocking audit -> the first rows that break it, personal columns masked."""


@dataclass
class TransformationResult:
    """What one transformation did, over all models."""

    run_id: str
    environment: str
    mode: str
    """plan (a promotion, the first one included, or changed files of another environment), run, or nothing (no new
    data, and no new day)"""
    started_at: datetime
    models: list[ModelRun] = field(default_factory=list)
    new_batches: int = 0
    """Ingestion commits that no transformation had seen yet."""
    restated_days: list[date] = field(default_factory=list)
    """Earlier days that those commits changed, and that were therefore rebuilt."""
    restatements: int = 0
    """Key figures of closed days that changed (`ops.kpi_restatements`)."""
    warnings: list[str] = field(default_factory=list)
    """Audits that do not block, and failed."""
    duration_s: float = 0.0

    @property
    def audits_passed(self) -> int:
        """Return the number of audits that passed, over all models."""
        return sum(model.audits_passed for model in self.models)

    @property
    def audits_failed(self) -> int:
        """Return the number of audits that failed, over all models."""
        return sum(model.audits_failed for model in self.models)

    @property
    def failed(self) -> list[ModelRun]:
        """Return models that failed. What depends on them was skipped."""
        return [model for model in self.models if model.status == "failed"]

    def as_dict(self) -> dict[str, object]:
        """Return the result as a dictionary for `--json`."""
        return {
            "run_id": self.run_id,
            "environment": self.environment,
            "mode": self.mode,
            "models": len(self.models),
            "audits_passed": self.audits_passed,
            "audits_failed": self.audits_failed,
            "new_batches": self.new_batches,
            "restated_days": [day.isoformat() for day in self.restated_days],
            "restatements": self.restatements,
            "warnings": self.warnings,
            "seconds": round(self.duration_s, 3),
        }
