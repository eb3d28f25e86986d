"""Imports point one way, and every package says what it is for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from searchflow.settings import ROOT

PACKAGES = ("searchflow", "generators", "activations", "expectations", "dashboards", "flows", "benchmarks")
SIDE_BY_SIDE = {"generators", "activations", "expectations", "dashboards"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def may_import(path: Path) -> set[str]:
    """What of ours a file may know."""
    package = path.relative_to(ROOT).parts[0]
    if path.is_relative_to(ROOT / "searchflow" / "cli"):
        return set(PACKAGES)
    if package == "flows":
        return set(PACKAGES) - {"benchmarks"}
    if package == "benchmarks":
        return set(PACKAGES) - {"dashboards"}
    return {package, "searchflow"}


FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "actor addresses backoff errors fetching garbage key_files markdown progress quoting tracing zones",
        "dotenv_file passing",
        "settings",
        "clock confined documents domain holdout keys spill targets",
        "services",
        "event_types gates moved_home warehouse",
        "events read_only",
        "lines",
        "streams",
        "lake_calls ops",
        "ingestion tables",
        "lifecycle maintenance status",
        "transformation",
        "erasure privacy publishing verification",
        "cli",
        "devtools",
    )
)
"""The rooms of `searchflow/`, from the ground up: its packages and its own modules. A room knows only rooms of floors below
its own, so rooms of one floor do not know each other, and there can be no circle."""


def rooms_imported(path: Path) -> set[str]:
    """Rooms of `searchflow/` that a file imports, also inside functions and for type checking."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("searchflow.")}
    return found - {"__version__"}


def test_each_room_of_searchflow_stands_on_one_floor() -> None:
    rooms = {path.stem if path.is_file() else path.name for path in (ROOT / "searchflow").iterdir()}
    named = [room for floor in FLOORS for room in floor]
    assert sorted(named) == sorted(rooms - {"__init__", "__pycache__"})


@pytest.mark.parametrize("level", range(len(FLOORS)))
def test_rooms_know_only_the_floors_below(level: int) -> None:
    below = frozenset().union(*FLOORS[:level])
    for path in modules("searchflow"):
        room = path.relative_to(ROOT / "searchflow").parts[0].removesuffix(".py")
        if room in FLOORS[level]:
            assert sorted(rooms_imported(path) - {room} - below) == [], f"{path.relative_to(ROOT)} looks up"


def test_nothing_is_imported_by_a_relative_name() -> None:
    """The floors are read from absolute names."""
    for path in modules("searchflow"):
        relative = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level
        ]
        assert relative == [], path


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(imported(path) & set(PACKAGES) - may_import(path))
        for path in modules(package)
        if imported(path) & set(PACKAGES) - may_import(path)
    }
    assert wrong == {}


def test_application_code_imports_nothing_that_sqlmesh_loads() -> None:
    """Loading a SQLMesh context drops and re-imports them."""
    for package in PACKAGES:
        for path in modules(package):
            assert not imported(path) & {"models", "macros", "materializations"}, path


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_it_is_for(package: str) -> None:
    for init in (ROOT / package).rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(init.read_text()))
        assert docstring, init
        assert len(docstring) > 20, init


def test_packages_come_from_the_repository_wherever_one_stands(tmp_path: Path) -> None:
    names = ", ".join(PACKAGES)
    code = f"import {names}\nfor m in ({names}): print(m.__file__)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    for line in shown.stdout.splitlines():
        assert Path(line).is_relative_to(ROOT)
