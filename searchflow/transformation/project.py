"""The SQLMesh project, opened for one home and kept warm: importing and loading it takes seconds, a run takes one."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchflow import warehouse
from searchflow.errors import ConfigurationError, ServiceError
from searchflow.garbage import collect_rarely
from searchflow.services import forks, postgres, sqlmesh_environment
from searchflow.settings import ROOT, Settings
from searchflow.transformation.broken import unbroken
from searchflow.transformation.files import signature_of

if TYPE_CHECKING:
    from sqlmesh import Context
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.console import RunConsole

_lock = threading.RLock()
_projects: dict[tuple[Path | None, Path], Project] = {}
"""Open projects by the folder of the files (None: production as it was promoted) and the home."""


@dataclass
class Project:
    """A loaded project and the console it reports to."""

    context: Context
    console: RunConsole
    signature: str = ""
    """The signature of the project's files, from before they were read."""
    _snapshots: list[Snapshot] | None = None

    def snapshots(self) -> list[Snapshot]:
        """Return the models as SQLMesh versions them, with the days that each has. They are kept: they remember how
        they render.
        """
        if self._snapshots is None:
            self._snapshots = self._versions()
        self.context.state_sync.refresh_snapshot_intervals(self._snapshots)
        return self._snapshots

    @property
    def variables(self) -> dict[str, Any]:
        """Return the domain's numbers that the project's models are made with."""
        return dict(self.context.config.variables)

    def _versions(self) -> list[Snapshot]:
        return list(self.context.snapshots.values())

    def reload(self) -> None:
        """Read the files again that changed since the last time."""
        signature = signature_of(self.context.path)
        # SQLMesh looks at the files that it has read; a new one is seen by the signature only.
        if signature != self.signature or any(loader.reload_needed() for loader in self.context._loaders):
            with quiet(), unbroken(self.context.path):
                self.context.load()
            self.signature = signature
            self.forget_snapshots()

    def forget_snapshots(self) -> None:
        """Forget the snapshots after a plan, which gave the changed models their versions."""
        self._snapshots = None


@contextmanager
def project(settings: Settings, *, root: Path = ROOT) -> Iterator[Project]:
    """Open the project in `root` on the warehouse of this home. Files that changed since the last call are loaded
    again.

    One block runs at a time in a process: SQLMesh reports to one console.
    """
    with _lock, forks.children_recorded(settings.run_dir):  # SQLMesh forks workers to load the files
        opened = kept(settings, root)
        if opened is not None:
            try:
                opened.reload()
            except ConfigurationError:
                drop(settings, root)  # half of it is loaded: the next call begins again
                raise
        else:
            signature = signature_of(root)
            opened = keep(settings, root, Project(*load(settings, root), signature=signature))
        opened.console.take_over()
        yield opened


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one block run at a time: SQLMesh reports to one console in a process."""
    with _lock:
        yield


def kept(settings: Settings, root: Path | None) -> Project | None:
    """Return the project that is open for this home and folder."""
    return _projects.get((root, settings.home))


def keep(settings: Settings, root: Path | None, opened: Project) -> Project:
    """Leave the project open for the next call."""
    _projects[root, settings.home] = opened
    return opened


def drop(settings: Settings, root: Path | None) -> None:
    """Forget one project. The engine's connection stays: other projects of this home use it too."""
    dropped = _projects.pop((root, settings.home), None)
    if dropped is not None:
        dropped.context.state_sync.close()


def forget(settings: Settings) -> None:
    """Close what was kept for this home, for example before its servers stop."""
    with _lock:
        for key in [key for key in _projects if key[1] == settings.home]:
            closed = _projects.pop(key).context
            closed.close()
            _forget_adapter(closed)


def _forget_adapter(context: Context) -> None:
    """Make SQLMesh forget a DuckDB adapter: it keeps one for each catalog for the life of the process, also a closed
    one.
    """
    from sqlmesh.core.config.connection import BaseDuckDBConnectionConfig

    kept = BaseDuckDBConnectionConfig._data_file_to_adapter
    for name in [name for name, adapter in kept.items() if adapter is context.engine_adapter]:
        del kept[name]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings inside the block: SQLMesh 0.236 uses what Pydantic and pandas have deprecated, and no user could
    act on them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(settings: Settings, root: Path, *, models: bool = True) -> tuple[Context, RunConsole]:
    """Read the configuration in `root` and, with `models`, everything else that is there. Connect to SQLMesh's state.

    Raises:
        ConfigurationError: a file cannot be read; names it, its line and the reason.
        ServiceError: the state or the warehouse does not answer.
    """
    collect_rarely()
    warehouse.stage_extensions(settings.extensions_dir)
    with quiet():
        return _load(settings, root, models)


def _load(settings: Settings, root: Path, models: bool) -> tuple[Context, RunConsole]:
    from sqlmesh import Context
    from sqlmesh.core.config import Config
    from sqlmesh.core.config.loader import load_configs

    from searchflow.transformation import lake_adapter
    from searchflow.transformation.console import RunConsole

    lake_adapter.install()
    console = RunConsole()
    console.take_over()
    with unbroken(root):
        # Our own file: otherwise SQLMesh reads the repository's .env over everything, and that may be another home's.
        with environment_kept():
            configs = load_configs("config", Config, [root], dotenv_path=environment_file(settings))
        context = Context(paths=[root], config=configs, load=models)
    try:
        context.state_sync  # noqa: B018  (connects, and makes its tables in a fresh database)
    except Exception as error:
        context.close()
        raise ServiceError(
            f"SQLMesh cannot reach its state or the warehouse: {str(error).splitlines()[0]}. Run `searchflow status`."
        ) from error
    return context, console


def environment_file(settings: Settings) -> Path:
    """Write a `.env` that says where this home's servers are, for SQLMesh to read instead of the repository's."""
    path = settings.run_dir / "sqlmesh.env"
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    # What models commit is entered in the audit log under the name of the run that opened the project.
    values = sqlmesh_environment(settings) | {
        "SEARCHFLOW_CATALOG": f"postgres:{postgres.conninfo(settings, 'catalog')}"
    }
    lines = [f"{name}='{value}'" for name, value in values.items()]
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write("\n".join(lines) + "\n")
    partial.replace(path)
    return path


@contextmanager
def environment_kept() -> Iterator[None]:
    """Undo what SQLMesh puts into our environment from a `.env`."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
