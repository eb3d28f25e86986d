"""A field that producers began to send: reported without a migration, and in the models by one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from searchflow import warehouse
from searchflow.ingestion import worker
from searchflow.settings import ROOT, Settings
from searchflow.transformation import project, transform
from tests import foreign

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]

GUIDE = ROOT / "docs" / "guides" / "new-fields.md"
MODEL = "models/staging/stg_search_events.sql"


def the_line() -> str:
    """The line that the guide tells to add."""
    [line] = [line for line in GUIDE.read_text().splitlines() if "'$.loyalty'" in line]
    return line


def staging_alone(folder: Path) -> Path:
    """A copy of the project with nothing but the staging models."""
    for name in ("models/staging", "models/seeds", "seeds", "macros", "audits", "materializations", "linter"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.yaml", "external_models.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_a_new_field_is_in_the_models_by_the_line_that_the_guide_shows(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    events = [foreign.search(1), foreign.search(2, loyalty="gold"), foreign.search(3, loyalty=7)]
    for number, event in enumerate(events):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(foreign.line(**event) + b"\n")
        worker.ingest_files(fresh_platform, path, clock=lambda: foreign.NOW)

    root = staging_alone(tmp_path / "project")
    model = root / MODEL
    last = "  ingested_at::TIMESTAMP AS ingested_at"
    assert model.read_text().count(last) == 1
    model.write_text(model.read_text().replace(last, f"{the_line()}\n{last}"))
    try:
        assert transform(fresh_platform, now=foreign.NOW, root=root).failed == []
    finally:
        project.forget(fresh_platform)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        values = connection.execute("SELECT loyalty FROM staging.stg_search_events ORDER BY event_id").fetchall()
        assert values == [(None,), ("gold",), ("7",)], "events stored before anybody asked for the field have it too"
        noticed = connection.execute(
            "SELECT field, kind, json_type, previous_types FROM ops.schema_changes ORDER BY first_seen_at, kind"
        ).fetchall()
        assert noticed == [("loyalty", "new_field", "string", None), ("loyalty", "type_change", "number", "string")]
