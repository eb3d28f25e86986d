"""A SQLMesh project of two models and a macro, for tests that change, break and delete its files."""

from __future__ import annotations

import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

from searchflow import warehouse
from searchflow.ingestion.worker import ingest_files
from searchflow.settings import ROOT, Settings
from tests import foreign

DAYS, TOTAL, MACRO, TEST = (
    "models/marts/days.sql",
    "models/marts/total.py",
    "macros/counting.py",
    "tests/models/test_days.yaml",
)
FILES = {
    DAYS: """/* Searches: one row per day. */
MODEL (
  name marts.days,
  kind INCREMENTAL_BY_TIME_RANGE (
    time_column day,
    partition_by_time_column FALSE
  ),
  grain (
    day
  ),
  audits (
    NOT_NULL(columns := (
      day
    ))
  )
);

SELECT
  event_ts::DATE AS day, /* Day */
  @COUNTED(event_id)::BIGINT AS searches /* How many */
FROM raw.search_events
WHERE
  event_ts::DATE BETWEEN @start_ds::DATE AND @end_ds::DATE
GROUP BY
  event_ts::DATE
""",
    TOTAL: '''"""All searches: one row."""

from sqlglot import exp
from sqlmesh import ExecutionContext, model

FACTOR = 1


@model(
    "marts.total",
    kind="FULL",
    columns={"searches": "bigint"},
    audits=[("not_null", {"columns": [exp.column("searches")]})],
)
def execute(context: ExecutionContext, **_: object):
    table = context.resolve_table("marts.days")
    yield context.fetchdf(f"SELECT {FACTOR} * coalesce(sum(searches), 0)::BIGINT AS searches FROM {table}")
''',
    MACRO: '''"""One macro."""

from sqlglot import exp
from sqlmesh import macro


@macro()
def counted(evaluator, column):
    """Count: `@COUNTED(a)` is `COUNT(a)`."""
    return exp.Count(this=column)
''',
    TEST: """test_searches_are_counted:
  model: marts.days
  inputs:
    raw.search_events:
      rows:
      - {event_id: a, event_ts: '2026-05-20 10:00:00'}
  outputs:
    query:
      rows:
      - {day: '2026-05-20', searches: 1}
  vars:
    start: '2026-05-20'
    end: '2026-05-20'
""",
}


def make(root: Path) -> Path:
    """Write the project. The rule that each model has a unit test is left out: the Python model has none."""
    for name in ("linter", "materializations"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "external_models.yaml", root)
    config = (ROOT / "config.yaml").read_text()
    assert config.count("    - nomissingunittest\n") == 1
    (root / "config.yaml").write_text(config.replace("    - nomissingunittest\n", ""))
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "macros" / "__init__.py").write_text("")  # else the repository's package is found
    return root


def change(root: Path, name: str, old: str, new: str) -> None:
    """Replace a text that stands once in a file."""
    text = (root / name).read_text()
    assert text.count(old) == 1, (name, old)
    (root / name).write_text(text.replace(old, new))


def ingest(settings: Settings, folder: Path, number: int, day: date, now: datetime) -> None:
    """One search, at noon of a day."""
    path = folder / f"search-{number}.jsonl"
    path.write_bytes(
        foreign.line(**foreign.search(number, timestamp=f"{day}T11:00:00Z", session_id=f"s-{number}")) + b"\n"
    )
    ingest_files(settings, path, clock=lambda: now - timedelta(seconds=1))


def searches(settings: Settings) -> tuple[dict[date, int], int]:
    """By day, and all of them, as production has them."""
    with warehouse.connect(settings, read_only=True) as lake:
        days = dict(lake.execute("SELECT day, searches FROM marts.days ORDER BY day").fetchall())
        [(total,)] = lake.execute("SELECT searches FROM marts.total").fetchall()
    return days, int(total)
