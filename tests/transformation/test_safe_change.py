"""A changed mart is built beside production without copying it, compared with it, and promoted by a swap."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import ROOT, Settings
from searchflow.transformation import deployment, project, transform
from tests import foreign

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MART = "marts.mart_kpi_daily"
BEFORE = "daily.searches_with_conversion / NULLIF(daily.searches, 0)::DOUBLE"
AFTER = "daily.searches_with_conversion / NULLIF(daily.searches - daily.zero_result_searches, 0)::DOUBLE"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of this mart and what it is made from, to be changed."""
    for name in ("config.yaml", "external_models.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("macros", "audits", "seeds", "materializations", "linter"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in {*sources(MART), *(ROOT / "models" / "seeds").glob("*.sql")}:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


def sources(name: str) -> set[Path]:
    """The files of a model and of all models that it names, theirs too."""
    found: dict[Path, str] = {}
    waiting = {name}
    while waiting:
        path = ROOT / "models" / f"{waiting.pop().replace('.', '/')}.sql"
        if path.exists() and path not in found:
            found[path] = path.read_text()
            waiting |= set(re.findall(r"\b(?:staging|intermediate|marts|ops)\.\w+", found[path]))
    return set(found)


def answer(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with warehouse.connect(settings, read_only=True) as lake:
        return lake.execute(sql).fetchall()


def tables(settings: Settings) -> set[str]:
    """What is stored: environments are views on it."""
    names = "SELECT table_name FROM information_schema.tables WHERE table_schema LIKE 'sqlmesh\\_\\_%' ESCAPE '\\'"
    return {name for (name,) in answer(settings, f"{names} AND table_type = 'BASE TABLE'")}


def rate(settings: Settings, schema: str) -> float:
    [(found,)] = answer(settings, f"SELECT conversion_rate FROM {schema}.mart_kpi_daily")
    return float(found)


def test_a_change_is_built_beside_production_compared_and_swapped_in(
    fresh_platform: Settings, root: Path, tmp_path: Path
) -> None:
    settings, when = fresh_platform, "2026-03-10T10:00:00Z"
    events = [
        foreign.search(1, timestamp=when),
        foreign.click(1, 1, timestamp="2026-03-10T10:01:00Z"),
        foreign.conversion(1, of=1, timestamp="2026-03-10T10:02:00Z"),
        foreign.search(2, timestamp=when, results_count=0),
    ]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(foreign.line(**event) for event in events))
    ingest_files(settings, tmp_path / "events.jsonl", clock=lambda: NOW)
    try:
        transform(settings, now=NOW, root=root)
        stored = tables(settings)
        assert rate(settings, "marts") == 0.5

        mart = root / "models" / "marts" / "mart_kpi_daily.sql"
        assert mart.read_text().count(BEFORE) == 1
        mart.write_text(mart.read_text().replace(BEFORE, AFTER))
        built = transform(settings, environment="dev", now=NOW, root=root)
        assert [run.name for run in built.models] == [MART]
        new = tables(settings) - stored
        assert {name.rpartition("__")[0] for name in new} == {"marts__mart_kpi_daily"}, "nothing else was copied"
        assert (rate(settings, "marts"), rate(settings, "marts__dev")) == (0.5, 1.0)
        assert answer(settings, "SELECT count(*) FROM marts__dev.fct_search_funnel") == [(2,)]

        with project.project(settings, root=root) as opened:
            [difference] = opened.context.table_diff("prod", "dev", select_models={MART}, show=False)
            moved = difference.row_diff().column_stats
            rows = difference.row_diff().full_match_count, difference.row_diff().join_count
        assert moved.loc["conversion_rate", "pct_match"] == 0
        assert moved.loc["searches", "pct_match"] == 100
        assert rows == (0, 1)

        promoted = deployment.promote(settings, now=NOW, root=root)
        assert (promoted.mode, promoted.models) == ("plan", [])
        assert tables(settings) - stored == new
        assert rate(settings, "marts") == 1.0
    finally:
        project.forget(settings)
