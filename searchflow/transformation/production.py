"""Production as it was promoted: models, macros, audits and variables from SQLMesh's state. No file of the working tree
is used.

A warm process asks the state which plan is production each time it opens it, and reads the models again when that has
changed. Files that were saved, broken or deleted since the promotion make no difference.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from searchflow import actor, warehouse
from searchflow.ops import audit_log
from searchflow.settings import ROOT, Settings
from searchflow.transformation import drift, promotions
from searchflow.transformation import project as projects
from searchflow.transformation.project import Project
from searchflow.transformation.promotions import Difference, Promotion
from searchflow.transformation.result import PRODUCTION

if TYPE_CHECKING:
    from sqlmesh import Context
    from sqlmesh.core.snapshot import Snapshot

VARIABLES = ("__sqlmesh__vars__", "__sqlmesh__vars__metadata__")
"""Names under which a model in SQLMesh's state keeps the variables that it uses."""


@dataclass
class Production(Project):
    """The promoted plan, opened as a project."""

    plan_id: str = ""
    finished: bool = True
    """Whether the plan was promoted to its end: a process that was killed may have left some views behind."""

    ids: list[tuple[str, str]] | None = None
    """Names and identifiers of other versions that the state keeps, instead of those that are production now."""
    version: str | None = None
    """The commit that the plan was made from."""

    def reload(self) -> None:
        """Do nothing: no file belongs to the promoted plan."""

    @property
    def variables(self) -> dict[str, Any]:
        """Return the variables of the promoted configuration. A variable that a model uses has the value it was
        promoted with.
        """
        values = dict(self.context.config.variables)
        for model in self.context.models.values():
            for name in VARIABLES:
                if name in model.python_env:
                    values |= ast.literal_eval(model.python_env[name].payload)
        return values

    def _versions(self) -> list[Snapshot]:
        if self.ids is not None:
            return adopt(self.context, self.ids)
        deployed = self.context.state_reader.get_environment(PRODUCTION)
        return adopt(self.context, _ids(deployed.snapshots))


@contextmanager
def chosen(settings: Settings, environment: str = PRODUCTION, root: Path = ROOT) -> Iterator[Project]:
    """Open production as it was promoted. Open the working tree in `root` for another environment, or before the first
    promotion.
    """
    if environment == PRODUCTION:
        with production(settings, root=root) as opened:
            if opened is not None:
                yield opened
                return
    with projects.project(settings, root=root) as opened_tree:
        yield opened_tree


@contextmanager
def described(settings: Settings, root: Path = ROOT) -> Iterator[Project]:
    """Open what answers questions about models: production as it was promoted, or the files in `root` when it is
    another project.
    """
    with chosen(settings, root=root) if root == ROOT else projects.project(settings, root=root) as opened:
        yield opened


@contextmanager
def production(settings: Settings, *, root: Path = ROOT) -> Iterator[Production | None]:
    """Open production as it was promoted, and keep it open for the next call. Yield None before the first promotion.

    `root` is read only when production was made by an older SearchFlow or by `sqlmesh plan`, which keep no
    configuration.
    """
    with projects.one_at_a_time():
        opened = projects.kept(settings, None)
        if not isinstance(opened, Production) or not _is_current(opened):
            projects.drop(settings, None)
            opened = _open(settings, root)
        if opened is not None:
            projects.keep(settings, None, opened)
            opened.console.take_over()
        yield opened


def from_state(
    settings: Settings, files: dict[str, str], *, ids: list[tuple[str, str]] | None = None, version: str | None = None
) -> Production:
    """Open models from SQLMesh's state, with the files that it does not hold: production now, or the versions `ids`."""
    context, console = projects.load(settings, _written(settings, files), models=False)
    deployed = context.state_reader.get_environment(PRODUCTION)
    finished = deployed.finalized_ts is not None
    opened = Production(context, console, plan_id=deployed.plan_id, finished=finished, ids=ids, version=version)
    with projects.quiet():
        context._load_materializations()
        opened.snapshots()
    return opened


def deployed_versions(opened: Project) -> list[Snapshot]:
    """Return the versions that are production now, beside a project that may become it; none before the first
    promotion.
    """
    state = opened.context.state_reader
    deployed = state.get_environment(PRODUCTION)
    if deployed is None:
        return []
    snapshots = list(state.get_snapshots(deployed.snapshots).values())
    opened.context.state_sync.refresh_snapshot_intervals(snapshots)
    return snapshots


def note_plan(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    opened: Project,
    by: str | None = None,
    *,
    failed: bool = False,
) -> bool:
    """Keep what production is, after a plan of `opened`. A plan that ended half-way is kept once it is finished.

    `failed` says that something went wrong, in the plan or behind it. Return whether the plan became production.
    """
    deployed = opened.context.state_reader.get_environment(PRODUCTION)
    before = promotions.newest(settings)
    root = opened.context.path
    files = promotions.files_of(root)
    if deployed is None or deployed.finalized_ts is None:
        return False
    if before is not None and before.plan_id == deployed.plan_id and (failed or before.files == files):
        return False
    made = Promotion(
        deployed.plan_id,
        datetime.fromtimestamp(deployed.finalized_ts / 1000, UTC),
        by or actor.user(),
        opened.version if isinstance(opened, Production) else promotions.version_of(root),
        _ids(deployed.snapshots),
        files,
    )
    changes = promotions.compare(before.snapshots if before else [], made.snapshots)
    promotions.note(settings, connection, made, changes, opened.variables)
    if opened.signature:
        drift.remember(settings, root, made.plan_id, opened.signature, drift.Drift())
    audit_log.append(settings, "promote", PRODUCTION, rows=len(changes.names), detail=_detail(made, changes))
    return True


def _detail(made: Promotion, changes: Difference) -> str:
    of = f" of {made.version}" if made.version else ""
    return f"by {made.promoted_by}, plan {made.plan_id}{of}: {', '.join(changes.names)}"[:500]


def _is_current(opened: Production) -> bool:
    deployed = opened.context.state_reader.get_environment(PRODUCTION)
    return (
        deployed is not None
        and deployed.plan_id == opened.plan_id
        and (deployed.finalized_ts is not None) == opened.finished
    )


def _open(settings: Settings, root: Path) -> Production | None:
    if promotions.deployed_plan(settings) is None:
        return None
    newest = promotions.newest(settings)
    files = newest.files if newest else promotions.files_of(root)
    opened = from_state(settings, files)
    if opened.finished and (newest is None or newest.plan_id != opened.plan_id):
        with warehouse.connect(settings) as connection:
            note_plan(settings, connection, opened, promotions.BY_HAND)
    return opened


def adopt(context: Context, ids: list[tuple[str, str]]) -> list[Snapshot]:
    """Give these versions from the state, as its models, to a context that has loaded none. Return those found."""
    from sqlmesh.core.snapshot import SnapshotId
    from sqlmesh.utils import UniqueKeyDict
    from sqlmesh.utils.dag import DAG

    wanted = [SnapshotId(name=name, identifier=identifier) for name, identifier in ids]
    snapshots = list(context.state_reader.get_snapshots(wanted).values())
    context._models, context._standalone_audits = UniqueKeyDict("models"), UniqueKeyDict("standaloneaudits")
    context.dag = DAG()
    for snapshot in snapshots:
        (context._models if snapshot.is_model else context._standalone_audits)[snapshot.name] = snapshot.node
        context.dag.add(snapshot.name, snapshot.node.depends_on)
    context._loaded = True
    return snapshots


def _ids(snapshots: Any) -> list[tuple[str, str]]:
    return sorted((each.name, each.identifier) for each in snapshots)


def _written(settings: Settings, files: dict[str, str]) -> Path:
    """Write a folder with the promoted files and nothing else, from which SQLMesh loads its configuration."""
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    folder = settings.run_dir / "promoted" / digest
    if not folder.exists():
        partial = folder.with_name(f"{digest}.{os.getpid()}")
        for name, text in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        try:
            partial.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(partial, ignore_errors=True)
    return folder
