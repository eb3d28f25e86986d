"""Production is what was promoted, whatever happens to the files; a deployment is checked, shown, and can be taken back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from searchflow import actor, warehouse
from searchflow.cli.app import run
from searchflow.errors import ConfigurationError, UsageError
from searchflow.ops import audit_log
from searchflow.services import postgres_dsn, sqlmesh_environment
from searchflow.settings import Settings
from searchflow.transformation import deployment, differences, drift, project, promotions, transform
from tests import small_project
from tests.foreign import NOW
from tests.small_project import DAYS, MACRO, TEST, TOTAL, change, ingest, searches

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
TODAY, YESTERDAY = date(2026, 5, 20), date(2026, 5, 19)


def later(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


@pytest.fixture
def root(fresh_platform: Settings, tmp_path: Path) -> Iterator[Path]:
    """A small project that was promoted, with one search in it."""
    made = small_project.make(tmp_path / "project")
    ingest(fresh_platform, tmp_path, 1, TODAY, NOW)
    try:
        assert transform(fresh_platform, now=NOW, root=made).mode == "plan", "the first transformation promotes"
        assert searches(fresh_platform) == ({TODAY: 1}, 1)
        yield made
    finally:
        project.forget(fresh_platform)


def test_production_goes_on_as_promoted_when_files_change_break_or_go(
    fresh_platform: Settings, root: Path, tmp_path: Path
) -> None:
    settings = fresh_platform
    assert drift.look(settings, root=root) == drift.Drift(), "remembered from the promotion"

    change(root, DAYS, "@COUNTED(event_id)", "2 * @COUNTED(event_id)")
    ingest(settings, tmp_path, 2, TODAY, later(5))
    assert transform(settings, now=later(5), root=root).mode == "run"
    assert searches(settings) == ({TODAY: 2}, 2), "a saved file is not production"
    found = drift.look(settings, root=root)
    assert found is not None
    assert (found.models, found.files) == (["marts.days"], [])
    assert found.sentence.startswith("1 model (marts.days) differs from production: `searchflow deploy --plan`")

    change(root, TOTAL, "def execute(", "def execute((")
    broken = drift.look(settings, root=root)
    assert broken is not None
    assert "\n" not in broken.sentence
    assert broken.sentence.startswith("The model files do not load, production goes on as it was promoted:")
    assert "models/marts/total.py, line 15: " in broken.sentence
    assert "invalid syntax" in broken.sentence
    with pytest.raises(ConfigurationError, match=r"^models/marts/total\.py, line 15: .*invalid syntax"):
        transform(settings, environment="dev", now=later(6), root=root)
    (root / MACRO).unlink()
    ingest(settings, tmp_path, 3, TODAY, later(10))
    assert transform(settings, now=later(10), root=root).mode == "run"
    assert searches(settings) == ({TODAY: 3}, 3)

    project.forget(settings)  # as a process that begins now
    shutil.rmtree(root)
    ingest(settings, tmp_path, 4, YESTERDAY, later(15))
    result = transform(settings, now=later(15), root=root)
    assert (result.mode, result.failed) == ("run", [])
    assert searches(settings) == ({YESTERDAY: 1, TODAY: 3}, 4)

    # A promotion that was killed while it swapped views: the next pass ends it, without a file.
    with psycopg.connect(postgres_dsn(settings, "sqlmesh")) as state:
        state.execute("UPDATE sqlmesh._environments SET finalized_ts = NULL WHERE name = 'prod'")
    with warehouse.connect(settings) as lake:
        lake.execute("DROP VIEW marts.total")
    assert transform(settings, now=later(20), root=root).mode == "plan"
    assert searches(settings) == ({YESTERDAY: 1, TODAY: 3}, 4)
    assert transform(settings, now=later(20), root=root).mode == "nothing"


def test_a_deployment_is_checked_shown_promoted_and_taken_back(
    fresh_platform: Settings, root: Path, tmp_path: Path
) -> None:
    settings = fresh_platform
    change(root, DAYS, "@COUNTED(event_id)", "2 * @COUNTED(event_id)")
    with pytest.raises(deployment.DeployRefused, match="1 of 1 unit test failed: test_searches_are_counted") as refused:
        deployment.prepare(settings, now=later(1), root=root)
    assert "searches" in refused.value.report
    assert refused.value.exit_status == 1
    change(root, TEST, "searches: 1}", "searches: 2}")
    unaudited = root / "models/marts/unaudited.sql"
    unaudited.write_text("MODEL (\n  name marts.unaudited\n);\n\nSELECT\n  1 AS one\n")
    with pytest.raises(deployment.DeployRefused, match=r"linter refuses .*marts\.unaudited: nomissingaudits"):
        deployment.prepare(settings, now=later(1), root=root)
    unaudited.unlink()

    prepared = deployment.prepare(settings, now=later(1), root=root)
    assert prepared.difference == promotions.Difference(changed=["marts.days", "marts.total"])
    assert prepared.to_make.keys() == {"marts.days", "marts.total"}
    assert "Directly Modified: marts.days (Breaking)" in prepared.text
    assert "Indirectly Modified Children" in prepared.text
    assert "Models needing backfill" in prepared.text
    assert searches(settings) == ({TODAY: 1}, 1), "looking changes nothing"

    change(root, TOTAL, "FACTOR = 1", "FACTOR = 10")
    with pytest.raises(UsageError, match="Files changed since they were checked"):
        deployment.promote(settings, now=later(2), root=root, digest=prepared.digest)
    change(root, TOTAL, "FACTOR = 10", "FACTOR = 1")
    promoted = deployment.promote(settings, now=later(2), root=root, digest=prepared.digest)
    assert (promoted.mode, promoted.failed) == ("plan", [])
    assert searches(settings) == ({TODAY: 2}, 2)
    assert not deployment.prepare(settings, now=later(2), root=root).differs
    [entry, *_] = audit_log.show(settings, action="promote")
    assert f"by {actor.user()}" in entry["detail"]
    assert "marts.days, marts.total" in entry["detail"]

    ingest(settings, tmp_path, 2, YESTERDAY, later(5))
    ingest(settings, tmp_path, 3, TODAY, later(5))
    transform(settings, now=later(5), root=root)
    assert searches(settings) == ({YESTERDAY: 2, TODAY: 4}, 6)

    shutil.rmtree(root)  # going back needs no file
    back = deployment.prepare(settings, now=later(6), root=root, back=True)
    assert back.difference.changed == ["marts.days", "marts.total"]
    deployment.promote(settings, now=later(6), back=True, digest=back.digest, root=root)
    assert searches(settings) == ({YESTERDAY: 1, TODAY: 2}, 3), "with what came in since, late or not"
    assert transform(settings, now=later(7), root=root).failed == []
    with warehouse.connect(settings, read_only=True) as lake:
        rows = lake.execute("SELECT models_added, models_changed FROM ops.promotions ORDER BY promoted_at").fetchall()
        assert [len(changed) for _, changed in rows] == [0, 2, 2]
        assert {"marts.days", "marts.total"} < set(rows[0][0])
        assert promotions.variables(lake) is not None


def test_a_plain_sqlmesh_process_replaces_days_in_one_commit(fresh_platform: Settings, root: Path) -> None:
    with warehouse.connect(fresh_platform, read_only=True) as lake:
        before = differences.marts(lake)
    command = ["plan", "--restate-model", "marts.days", "--start", str(TODAY), "--end", str(TODAY)]
    made = subprocess.run(
        [str(Path(sys.executable).parent / "sqlmesh"), *command, "--auto-apply", "--no-prompts", "--skip-tests"],
        cwd=root,
        env=dict(os.environ) | sqlmesh_environment(fresh_platform),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    with warehouse.connect(fresh_platform, read_only=True) as lake:
        table, last = before.tables["marts.days"], warehouse.snapshot_id(lake)
        changes = f"ducklake_table_changes('lake', 'sqlmesh__marts', '{table}', {before.snapshot + 1}, {last})"
        kinds = dict(lake.execute(f"SELECT change_type, count(*) FROM {changes} GROUP BY ALL").fetchall())
        assert kinds.get("delete") == kinds.get("insert") == 1 or kinds.get("update_postimage") == 1, kinds
        seen = {
            lake.execute(f"SELECT count(*) FROM sqlmesh__marts.{table} AT (VERSION => {version})").fetchone()
            for version in range(before.snapshot, last + 1)
        }
    assert seen == {(1,)}, "at no moment a reader finds the day empty"


def test_without_a_terminal_deploy_asks_for_yes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy"]) == 2
    assert "give --yes" in capsys.readouterr().err


def test_a_process_that_waits_for_work_keeps_no_transaction_of_the_catalog_open(
    fresh_platform: Settings, root: Path, tmp_path: Path
) -> None:
    """`forget` drops tables of rows in the catalog: a read that does not end would hold it up for good."""
    ingest(fresh_platform, tmp_path, 2, TODAY, later(5))
    transform(fresh_platform, now=later(5), root=root)  # keeps the project open for the next run
    with psycopg.connect(postgres_dsn(fresh_platform, "catalog")) as catalog:
        waiting = catalog.execute(
            "SELECT application_name, query FROM pg_stat_activity WHERE datname = current_database() "
            "AND state = 'idle in transaction'"
        ).fetchall()
    assert waiting == []
