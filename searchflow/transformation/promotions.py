"""Promotions: what was promoted to production, when, by whom and from which commit.

SQLMesh's state holds the promoted models with their macros, audits and variables. Two kinds of files are not in it, the
configuration and the materializations. They are kept here, beside the state, so that production needs no file of the
working tree. A row of `ops.promotions` in the lake holds what a reader may want to know; the files stay with the state,
because a configuration may hold what not every reader of the lake should see.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg.types.json import Jsonb

from searchflow.errors import ServiceError
from searchflow.fetching import first_row
from searchflow.ops import record
from searchflow.services import postgres
from searchflow.settings import Settings

CONFIGURATIONS = ("config.yaml", "config.yml", "config.py")
BY_HAND = "unknown (a plan that was not made by searchflow)"
SETUP = """
    CREATE TABLE IF NOT EXISTS searchflow_promotions (
        sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, plan_id TEXT NOT NULL, promoted_at TIMESTAMPTZ NOT NULL,
        promoted_by TEXT NOT NULL, version TEXT, snapshots JSONB NOT NULL, files JSONB NOT NULL)
"""
COLUMNS = "plan_id, promoted_at, promoted_by, version, snapshots, files"


@dataclass(frozen=True)
class Promotion:
    """One plan that became production."""

    plan_id: str
    promoted_at: datetime
    promoted_by: str
    version: str | None
    """The commit of the working tree that it was made from; ends with `-dirty` when files differed; None outside of
    Git.
    """
    snapshots: list[tuple[str, str]]
    """Name and identifier of each model's version in SQLMesh's state."""
    files: dict[str, str] = field(default_factory=dict)
    """Path -> text of the files that the state does not hold."""


@dataclass(frozen=True)
class Difference:
    """Models of one plan beside those of another, by name."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Return all names of models that differ, in order."""
        return sorted([*self.added, *self.changed, *self.removed])


def deployed_plan(settings: Settings) -> str | None:
    """Return the id of the plan that is production, by SQLMesh's state, or None when nothing was ever promoted."""
    with _state(settings) as connection:
        try:
            row = connection.execute("SELECT plan_id FROM sqlmesh._environments WHERE name = 'prod'").fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return None
    return str(row[0]) if row else None


def newest(settings: Settings) -> Promotion | None:
    """Return the last promotion, or None before the first."""
    found = _read(settings, "ORDER BY sequence DESC LIMIT 1")
    return found[0] if found else None


def earlier(settings: Settings, current: str) -> Promotion | None:
    """Return the last promotion whose models were not those of the plan `current`, or None when there was no other."""
    found = _read(settings, "ORDER BY sequence DESC LIMIT 100")
    now = next((each for each in found if each.plan_id == current), None)
    if now is None:
        return None
    before = found[found.index(now) + 1 :]
    return next((each for each in before if sorted(each.snapshots) != sorted(now.snapshots)), None)


def note(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    promotion: Promotion,
    changes: Difference,
    variables: Mapping[str, Any],
) -> None:
    """Keep a promotion.

    The row for readers comes first: when a process is killed in between, the next run finds the other missing and notes
    both.
    """
    record.rows(
        connection,
        "ops.promotions",
        [
            {
                "promoted_at": promotion.promoted_at.replace(tzinfo=None),
                "promoted_by": promotion.promoted_by,
                "plan_id": promotion.plan_id,
                "version": promotion.version,
                "models_added": changes.added,
                "models_changed": changes.changed,
                "models_removed": changes.removed,
                "variables": json.dumps(dict(variables), sort_keys=True, default=str),
            }
        ],
    )
    with _state(settings) as state:
        state.execute(SETUP)
        state.execute(
            f"INSERT INTO searchflow_promotions ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s)",
            [
                promotion.plan_id,
                promotion.promoted_at,
                promotion.promoted_by,
                promotion.version,
                Jsonb(promotion.snapshots),
                Jsonb(promotion.files),
            ],
        )


def variables(connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    """Return the variables that production was promoted with, or None before the first promotion."""
    row = first_row(connection.execute("SELECT variables FROM ops.promotions ORDER BY promoted_at DESC LIMIT 1"))
    return dict(json.loads(row[0])) if row and row[0] else None


def compare(before: Sequence[tuple[str, str]], after: Sequence[tuple[str, str]]) -> Difference:
    """Return which models differ between two lists of names and identifiers."""
    old, new = dict(before), dict(after)
    return Difference(
        sorted(shown(name) for name in new.keys() - old.keys()),
        sorted(shown(name) for name in new.keys() & old.keys() if new[name] != old[name]),
        sorted(shown(name) for name in old.keys() - new.keys()),
    )


def shown(name: str) -> str:
    """Return a model's name without the catalog: `"lake"."marts"."dim_users"` is `marts.dim_users`."""
    return ".".join(name.replace('"', "").split(".")[-2:])


def files_of(root: Path) -> dict[str, str]:
    """Return the files of a project that SQLMesh's state does not hold."""
    paths = [root / name for name in CONFIGURATIONS] + sorted((root / "materializations").rglob("*.py"))
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def version_of(root: Path) -> str | None:
    """Return the commit that the working tree stands on, with `-dirty` when files differ from it, or None outside of
    Git.
    """
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


@contextmanager
def _state(settings: Settings) -> Iterator[psycopg.Connection]:
    """Open a transaction in the database of SQLMesh's state."""
    try:
        with psycopg.connect(postgres.conninfo(settings, "sqlmesh")) as connection:
            yield connection
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ServiceError(f"SQLMesh's state does not answer: {reason}. Run `searchflow status`.") from error


def _read(settings: Settings, order: str) -> list[Promotion]:
    with _state(settings) as connection:
        try:
            rows = connection.execute(f"SELECT {COLUMNS} FROM searchflow_promotions {order}").fetchall()
        except psycopg.errors.UndefinedTable:
            return []
    return [
        Promotion(plan, at, by, version, [(name, identifier) for name, identifier in snapshots], dict(files))
        for plan, at, by, version, snapshots, files in rows
    ]
