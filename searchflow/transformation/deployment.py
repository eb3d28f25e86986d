"""Deployment: promotes the working tree to production. It checks the tree, says what would change, and promotes exactly
that.

    prepared = deployment.prepare(settings, now=now)      # linter and unit tests; raises when one fails
    print(prepared.text)                                  # SQLMesh's own diff
    deployment.promote(settings, now=now, digest=prepared.digest)

`back=True` means the models that were production before these: they come from SQLMesh's state, no file is read for
them.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchflow.errors import NegativeAnswer, UsageError
from searchflow.settings import ROOT, Settings
from searchflow.transformation import production, promotions, runner
from searchflow.transformation import project as projects
from searchflow.transformation.promotions import Difference
from searchflow.transformation.result import PRODUCTION, ModelProgress, TransformationResult

if TYPE_CHECKING:
    from sqlmesh.core.console import TerminalConsole
    from sqlmesh.core.plan import Plan

    from searchflow.transformation.project import Project

WIDTH = 120


class DeployRefused(NegativeAnswer):
    """The linter or a unit test refused the working tree. `report` is what it said, over several lines."""

    def __init__(self, message: str, report: str) -> None:
        self.report = report
        super().__init__(message)


@dataclass
class Prepared:
    """What a promotion would do, as it was prepared."""

    digest: str
    """The digest of all versions and files: what is promoted is what was shown."""
    text: str
    """SQLMesh's own diff, its categories, and the days that it would make."""
    difference: Difference
    files: list[str] = field(default_factory=list)
    """Files beside the models that differ from the promoted ones, such as config.yaml."""
    to_make: dict[str, str] = field(default_factory=dict)
    """Model -> its days that would be made."""
    tests: int = 0
    seconds: float = 0.0
    """The seconds that the linter and the unit tests took."""

    @property
    def differs(self) -> bool:
        """Return whether there is anything to promote."""
        return bool(self.difference.names or self.files)


def prepare(settings: Settings, *, now: datetime, root: Path = ROOT, back: bool = False) -> Prepared:
    """Check the working tree in `root` and compare it with production. This changes nothing.

    Raises:
        DeployRefused: the linter or a unit test says no.
        ConfigurationError: a file does not load.
        UsageError: with `back`, nothing was production before.
    """
    began, tests = time.perf_counter(), 0
    projects.drop(settings, root)  # read every file again, the unit tests too
    with _opened(settings, root, back) as opened:
        if not back:
            _lint(opened)
            tests = _test(opened)
        seconds = time.perf_counter() - began
        with projects.quiet():
            plan = plan_of(opened, now)
            prepared = Prepared(digest_of(opened), _rendered(opened, plan), _difference(opened), tests=tests)
        prepared.files = _changed_files(settings, opened)
        prepared.to_make = _to_make(plan)
        prepared.seconds = seconds
    return prepared


def promote(
    settings: Settings,
    *,
    now: datetime,
    root: Path = ROOT,
    back: bool = False,
    digest: str | None = None,
    on_progress: Callable[[ModelProgress], None] | None = None,
    fail_fast: bool = False,
) -> TransformationResult:
    """Make the models of the working tree in `root` production, and bring production up to `now`.

    What changed is made beside production, and swapped in when all of it is made and audited. With `digest`, the
    working tree is promoted only if it is still what it was when it was prepared.

    Raises:
        TransformationFailed: a model or a blocking audit failed; production is what it was.
        UsageError: files changed since they were prepared.
    """
    using: AbstractContextManager[Project] = _checked(settings, root, back, digest)
    return runner.transform(settings, now=now, on_progress=on_progress, fail_fast=fail_fast, using=using)


@contextmanager
def _checked(settings: Settings, root: Path, back: bool, digest: str | None) -> Iterator[Project]:
    with _opened(settings, root, back) as opened:
        if digest is not None and digest != digest_of(opened):
            raise UsageError("Files changed since they were checked. Run `searchflow deploy` again.")
        yield opened


@contextmanager
def _opened(settings: Settings, root: Path, back: bool) -> Iterator[Project]:
    if not back:
        with projects.project(settings, root=root) as opened:
            yield opened
        return
    with projects.one_at_a_time():
        earlier = _earlier(settings)
        try:
            yield earlier
        finally:
            earlier.context.state_sync.close()


def _earlier(settings: Settings) -> Project:
    """Return what was production before it became what it is."""
    with production.production(settings) as current:  # notes a plan that was made by hand
        before = promotions.earlier(settings, current.plan_id) if current is not None else None
    if before is None:
        raise UsageError("Nothing else was production before. `searchflow deploy` promotes the working tree.")
    opened = production.from_state(settings, before.files, ids=before.snapshots, version=before.version)
    kept = {(each.name, each.identifier) for each in opened.snapshots()}
    computed = {(each.name, each.identifier) for each in opened.context.snapshots.values()}
    gone = sorted(promotions.shown(name) for name, _ in {*before.snapshots} - (kept & computed))
    if gone:
        of = f" (commit {before.version})" if before.version else ""
        raise UsageError(
            f"The models that were production before{of} are no longer kept: {', '.join(gone[:5])}. "
            "Check out that version of the files and run `searchflow deploy`."
        )
    return opened


def plan_of(opened: Project, now: datetime) -> Plan:
    """Return SQLMesh's plan for production. Nothing is done yet."""
    return opened.context.plan_builder(
        PRODUCTION,
        execution_time=now.astimezone(UTC),
        ignore_cron=True,
        include_unmodified=True,
        skip_tests=True,
        skip_linter=True,
    ).build()


def digest_of(opened: Project) -> str:
    """Return one text that stands for all versions and files of a project."""
    ids = sorted((each.name, each.identifier) for each in opened.snapshots())
    files = sorted(promotions.files_of(opened.context.path).items())
    return hashlib.sha256(repr((ids, files)).encode()).hexdigest()


def _lint(opened: Project) -> None:
    with projects.quiet():
        found = opened.context.lint_models(raise_on_error=False)
    errors = [each for each in found if each.violation_type == "error"]
    if errors:
        lines = [f"{each.model.name}: {each.rule.name}: {' '.join(each.violation_msg.split())}" for each in errors]
        raise DeployRefused(
            f"The linter refuses {_count(len(errors), 'thing')}, for example {lines[0].rstrip('.')}. Production goes on as it "
            "was promoted; `sqlmesh lint` shows all.",
            "\n".join(lines),
        )


def _test(opened: Project) -> int:
    """Run SQLMesh's unit tests of the models. They need no server."""
    with projects.quiet():
        result = opened.context.test(stream=io.StringIO())
    failed = [*result.failures, *result.errors]
    if failed:
        console, buffer = _terminal(opened)
        console.log_test_results(result, "duckdb")
        names = sorted({getattr(each, "test_name", str(each)) for each, *_ in failed})
        raise DeployRefused(
            f"{len(failed)} of {_count(result.testsRun, 'unit test')} failed: {', '.join(names[:5])}. Production goes on as it "
            "was promoted; `sqlmesh test` shows them.",
            buffer.getvalue(),
        )
    return int(result.testsRun)


def _rendered(opened: Project, plan: Plan) -> str:
    """Return what `sqlmesh plan` shows before it asks."""
    console, buffer = _terminal(opened)
    catalog = opened.context.default_catalog
    console.show_environment_difference_summary(plan.context_diff, no_diff=False)
    if plan.context_diff.has_changes:
        console.show_model_difference_summary(plan.context_diff, plan.environment_naming_info, catalog)
        console._show_categorized_snapshots(plan, catalog)
    console._show_missing_dates(plan, catalog)
    return buffer.getvalue().strip()


def _terminal(opened: Project) -> tuple[TerminalConsole, io.StringIO]:
    from rich.console import Console
    from sqlmesh.core.console import TerminalConsole

    buffer = io.StringIO()
    rich = Console(file=buffer, width=WIDTH, color_system=None, force_terminal=False)
    return TerminalConsole(console=rich, dialect=opened.context.default_dialect), buffer


def _difference(opened: Project) -> Difference:
    deployed = opened.context.state_reader.get_environment(PRODUCTION)
    before = [(each.name, each.identifier) for each in deployed.snapshots] if deployed is not None else []
    return promotions.compare(before, [(each.name, each.identifier) for each in opened.snapshots()])


def _changed_files(settings: Settings, opened: Project) -> list[str]:
    newest = promotions.newest(settings)
    if newest is None:
        return []
    now = promotions.files_of(opened.context.path)
    return sorted(name for name in newest.files.keys() | now.keys() if newest.files.get(name) != now.get(name))


def _to_make(plan: Plan) -> dict[str, str]:
    made: dict[str, str] = {}
    for each in plan.missing_intervals:
        snapshot = plan.context_diff.snapshots[each.snapshot_id]
        if snapshot.is_model:
            whole = snapshot.is_model and (snapshot.model.kind.is_view or snapshot.model.kind.is_full)
            made[snapshot.model.name] = "all" if whole else _days(each)
    return made


def _days(missing: Any) -> str:
    return str(missing.format_intervals())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
