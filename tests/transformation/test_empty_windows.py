"""A window over all rows in no order may break the engine: none is ours, the linter refuses it, a run survives it.

Decision 0021. When `test_this_engine_still_needs_the_rule` fails, the rule, the decision and this file may go.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import duckdb
import pytest

from searchflow.settings import ROOT, Settings
from searchflow.transformation import ModelsFailed, project, transform
from searchflow.transformation.project import quiet
from tests import foreign

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")

EMPTY = re.compile(r"\b(?:OVER|WINDOW\s+\w+\s+AS)\s*\(\s*(?:\)|ROWS\b|RANGE\b|GROUPS\b)", re.IGNORECASE)
FOLDERS = ("activations", "audits", "benchmarks", "dashboards", "expectations", "flows", "generators", "macros")
FOLDERS += ("materializations", "models", "searchflow")
COUNT = (
    "WITH one AS (SELECT i FROM range(1) AS t(i)), parts AS (SELECT * FROM one WHERE i > 5 UNION ALL "
    "SELECT * FROM one WHERE NOT EXISTS (SELECT 1 FROM one WHERE i > 5)) SELECT count(*) OVER {window} AS n FROM parts"
)
"""After duckdb/duckdb#22352: the part of the union that is empty leaves an empty chunk in the window's input."""
TRIES = 20_000
"""It fails in one of some 250 on two threads."""
MESSAGE = "index 0 within vector of size 0"
FAULT = """
from sqlmesh import model

@model("marts.fault", kind="FULL", columns={{"n": "int"}})
def execute(context, **_):
    context.engine_adapter.execute("SET threads = 4")
    for _ in range({tries}):
        context.engine_adapter.fetchall("{count}")
    yield from ()
"""
BESIDE = """
import time
from sqlmesh import model

@model("marts.beside", kind="FULL", columns={"n": "int"})
def execute(context, **_):
    for _ in range(60_000):
        context.engine_adapter.fetchall("SELECT 1")
        time.sleep(0.001)
"""
"""Under way when the engine breaks."""


def breaks(window: str, tries: int) -> bool:
    """Does the engine break on such a window within so many tries?"""
    with duckdb.connect(config={"threads": 4}) as engine:
        try:
            for _ in range(tries):
                engine.execute(COUNT.format(window=window)).fetchall()
        except duckdb.InternalException as error:
            if MESSAGE not in str(error):
                raise
            return True
    return False


def test_this_engine_still_needs_the_rule() -> None:
    assert breaks("()", TRIES)


@pytest.mark.parametrize("window", ["(ORDER BY i)", "(PARTITION BY i)", "(PARTITION BY 1)"])
def test_windows_that_the_rule_allows_do_not_break_it(window: str) -> None:
    assert not breaks(window, 2000)


def test_no_statement_of_ours_has_one() -> None:
    files = [path for folder in FOLDERS for kind in ("*.sql", "*.py") for path in (ROOT / folder).rglob(kind)]
    assert {ROOT / "models/marts/mart_user_segments.sql", ROOT / "dashboards/queries/segments.py"} < set(files)
    assert [str(path.relative_to(ROOT)) for path in files if EMPTY.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("window", "refused"),
    [
        ("COUNT(*) OVER ()", True),
        ("COUNT(*) FILTER (WHERE a > 1) OVER (ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)", True),
        ("COUNT(*) OVER (PARTITION BY a)", False),
        ("COUNT(*) OVER (ORDER BY a)", False),
        ("COUNT(*) OVER named", False),
    ],
)
def test_the_linter_refuses_it_in_a_model(window: str, refused: bool) -> None:
    query = f"SELECT {window} AS n FROM t WINDOW named AS (PARTITION BY a)"
    assert refusals(query) == refused
    assert bool(EMPTY.search(query)) == refused


def test_the_linter_refuses_a_named_one() -> None:
    query = "SELECT COUNT(*) OVER named AS n FROM t WINDOW named AS (ROWS UNBOUNDED PRECEDING)"
    assert refusals(query)
    assert EMPTY.search(query)


def refusals(query: str) -> bool:
    with quiet():
        from sqlmesh.core.dialect import parse
        from sqlmesh.core.model import load_sql_based_model

        from linter.windows import NoEmptyWindow
    model = load_sql_based_model(parse(f"MODEL (name s.m, dialect duckdb); {query}"))
    return NoEmptyWindow(None).check_model(model) is not None  # type: ignore[arg-type]


@pytest.mark.integration
def test_a_run_that_breaks_the_engine_says_so_in_a_sentence_and_the_next_one_goes_on(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "external_models.yaml", tmp_path)
    config = (ROOT / "config.yaml").read_text()
    assert config.count("concurrent_tasks: 1") == 1
    (tmp_path / "config.yaml").write_text(config.replace("concurrent_tasks: 1", "concurrent_tasks: 2"))
    shutil.copytree(ROOT / "linter", tmp_path / "linter", ignore=shutil.ignore_patterns("__pycache__"))
    marts = tmp_path / "models" / "marts"
    marts.mkdir(parents=True)
    (marts / "fault.py").write_text(FAULT.format(tries=TRIES, count=COUNT.format(window="()")))
    (marts / "beside.py").write_text(BESIDE)
    (marts / "behind.sql").write_text("MODEL (name marts.behind, kind FULL); SELECT n FROM marts.fault")
    try:
        with pytest.raises(ModelsFailed) as caught:
            transform(fresh_platform, now=foreign.NOW, root=tmp_path)
        said = str(caught.value)
        assert said.startswith("marts.fault failed: INTERNAL Error: ")
        assert MESSAGE in said
        assert ". 2 models beside and behind were not made. That is a fault of DuckDB's" in said
        assert "FATAL" not in said
        assert {run.name: run.status for run in caught.value.result.models} == {
            "marts.fault": "failed",
            "marts.beside": "failed",
            "marts.behind": "skipped",
        }

        (marts / "fault.py").write_text(FAULT.format(tries=1, count=COUNT.format(window="(PARTITION BY i)")))
        (marts / "beside.py").unlink()
        assert transform(fresh_platform, now=foreign.NOW, root=tmp_path).failed == []
    finally:
        project.forget(fresh_platform)
