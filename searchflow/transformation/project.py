"""The SQLMesh project, opened for one home and kept warm: importing and loading it takes seconds, a run one."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from searchflow import warehouse
from searchflow.collector import collect_rarely
from searchflow.errors import ConfigurationError, ServiceError
from searchflow.services import forks, sqlmesh_environment
from searchflow.settings import ROOT, Settings

if TYPE_CHECKING:
    from sqlmesh import Context
    from sqlmesh.core.snapshot import Snapshot

    from searchflow.transformation.console import RunConsole

_lock = threading.RLock()
_projects: dict[tuple[Path, Path], Project] = {}


@dataclass
class Project:
    """A loaded project and the console it reports to."""

    context: Context
    console: RunConsole
    _snapshots: list[Snapshot] | None = None

    def snapshots(self) -> list[Snapshot]:
        """The models as SQLMesh versions them, with the days that each has. Kept: they remember how they render."""
        if self._snapshots is None:
            self._snapshots = list(self.context.snapshots.values())
        self.context.state_sync.refresh_snapshot_intervals(self._snapshots)
        return self._snapshots

    def reload(self) -> None:
        """Read the files again that changed since."""
        if any(loader.reload_needed() for loader in self.context._loaders):
            with quiet():
                self.context.load()
            self.forget_snapshots()

    def forget_snapshots(self) -> None:
        """After a plan: it gave the changed models their versions."""
        self._snapshots = None


@contextmanager
def project(settings: Settings, *, root: Path = ROOT) -> Iterator[Project]:
    """The project in `root` on the warehouse of this home; files that changed since are loaded again.

    One block at a time in a process: SQLMesh reports to one console.
    """
    with _lock, forks.children_recorded(settings.run_dir):  # SQLMesh forks workers to load the files
        key = (root, settings.home)
        if key in _projects:
            _projects[key].reload()
        else:
            _projects[key] = _open(settings, root)
        _projects[key].console.take_over()
        yield _projects[key]


def forget(settings: Settings) -> None:
    """Close what was kept for this home, for example before its servers stop."""
    with _lock:
        for key in [key for key in _projects if key[1] == settings.home]:
            closed = _projects.pop(key).context
            closed.close()
            _forget_adapter(closed)


def _forget_adapter(context: Context) -> None:
    """SQLMesh keeps one DuckDB adapter a catalog for the life of the process, also a closed one."""
    from sqlmesh.core.config.connection import BaseDuckDBConnectionConfig

    kept = BaseDuckDBConnectionConfig._data_file_to_adapter
    for name in [name for name, adapter in kept.items() if adapter is context.engine_adapter]:
        del kept[name]


def _open(settings: Settings, root: Path) -> Project:
    collect_rarely()
    with quiet():
        return _load(settings, root)


@contextmanager
def quiet() -> Iterator[None]:
    """SQLMesh 0.236 uses what Pydantic and pandas have deprecated; nothing that anybody here could act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(settings: Settings, root: Path) -> Project:
    from ruamel.yaml.error import YAMLError
    from sqlmesh import Context
    from sqlmesh.core.config import Config
    from sqlmesh.core.config.loader import load_configs
    from sqlmesh.utils.errors import SQLMeshError

    from searchflow.transformation import atomic
    from searchflow.transformation.console import RunConsole

    atomic.install()
    warehouse.stage_extensions(settings.extensions_dir)
    console = RunConsole()
    console.take_over()
    try:
        # A file of ours: otherwise SQLMesh reads the repository's .env over everything, and that may be another home's.
        with environment_kept():
            configs = load_configs("config", Config, [root], dotenv_path=_environment_file(settings))
        context = Context(paths=[root], config=configs)
    except (SQLMeshError, YAMLError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigurationError(
            "config.yaml, models/", f"the SQLMesh project does not load: {first}.", "Run `sqlmesh lint`."
        ) from error
    try:
        context.state_sync  # noqa: B018  (connects, and makes its tables in a fresh database)
    except Exception as error:
        context.close()
        raise ServiceError(
            f"SQLMesh cannot reach its state or the warehouse: {str(error).splitlines()[0]}. Run `searchflow status`."
        ) from error
    return Project(context, console)


def _environment_file(settings: Settings) -> Path:
    path = settings.run_dir / "sqlmesh.env"
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    lines = [f"{name}='{value}'" for name, value in sqlmesh_environment(settings).items()]
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
