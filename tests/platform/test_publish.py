"""`searchflow publish`: the marts in PostgreSQL equal those in the lake, only what changed is written, and no more is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import psycopg
import pytest
from psycopg import sql

from searchflow import lifecycle, warehouse
from searchflow.publishing import publish, target
from searchflow.publishing.parts import mart
from searchflow.services import postgres
from searchflow.settings import ROOT, Settings
from tests import clusters
from tests.dashboards.showroom import MODELS, TABLES, build, run_everything, validate

pytestmark = pytest.mark.integration
NOW = datetime(2026, 4, 1, 6, tzinfo=UTC)
MARTS = [name for name in TABLES if name.startswith("marts.")]
TROUBLE = 'a "quote", a comma,\na line, \\N and \x00 a NUL'


@pytest.fixture(scope="module")
def shop(platform: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The showroom's marts in a home of their own on the session's servers; one user's content means trouble."""
    settings = clusters.beside(platform, tmp_path_factory.mktemp("shop"), "shop_")
    clusters.start_beside(platform, settings)
    with warehouse.connect(settings) as lake:
        build(lake)
        lake.execute("ALTER TABLE marts.dim_users ADD COLUMN email VARCHAR")
        lake.execute("ALTER TABLE marts.dim_users ADD COLUMN note VARCHAR")
        lake.execute("UPDATE marts.dim_users SET email = 'ada@example.com', note = ? WHERE user_id = 'u1'", [TROUBLE])
        lake.execute("UPDATE marts.dim_users SET note = '' WHERE user_id = 'u2'")
        run_everything(lake, NOW - timedelta(hours=1))
        for name in set(MARTS) - set(MODELS):
            validate(lake, name, "pass", (NOW - timedelta(hours=1)).replace(tzinfo=None))
    yield settings
    lifecycle.stop_all(settings)


@pytest.fixture
def lake(shop: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with warehouse.connect(shop) as connection:
        yield connection


@pytest.fixture(scope="module")
def published(shop: Settings) -> None:
    """Published once; a test that changes a mart publishes it again before it ends."""
    run(shop)


@pytest.fixture
def bi(shop: Settings, published: None) -> Iterator[psycopg.Connection]:
    """What a BI tool sees: the reading role."""
    with psycopg.connect(target.conninfo(shop), autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(target.role(shop))))
        yield connection


def run(shop: Settings, **options: Any) -> dict[str, tuple[str, int]]:
    done = publish(shop, clock=lambda: NOW, **options)
    return {each.table: (each.outcome, each.rows_written) for each in done}


def one(connection: psycopg.Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return row[0] if row else None


@pytest.mark.parametrize("table", [name for name in MARTS if name != "marts.dim_users"])
def test_every_row_is_there_as_the_lake_has_it(
    table: str, lake: duckdb.DuckDBPyConnection, bi: psycopg.Connection
) -> None:
    ours = lake.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
    columns = [name[0] for name in lake.description or []]
    quoted = ", ".join(f'"{name}"' for name in columns)
    theirs = bi.execute(f"SELECT {quoted} FROM {table}").fetchall()  # type: ignore[call-overload]
    assert sorted(theirs, key=repr) == sorted(ours, key=repr)


def test_personal_columns_stay_and_texts_arrive_as_they_are(bi: psycopg.Connection) -> None:
    columns = {
        row[0]
        for row in bi.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'dim_users'")
    }
    assert "user_id" in columns
    assert not {"email", "part"} & columns
    notes = dict(bi.execute("SELECT user_id, note FROM marts.dim_users").fetchall())
    assert notes == {"u1": TROUBLE.replace("\x00", ""), "u2": "", "u3": None, "u4": None}


def test_the_reading_role_reads_and_nothing_else(bi: psycopg.Connection) -> None:
    assert one(bi, "SELECT count(*) FROM marts.mart_kpi_daily") > 400
    assert one(bi, "SELECT gate FROM marts.trust WHERE table_name = 'marts.mart_kpi_daily'") == "passed"
    for statement in (
        "DELETE FROM marts.mart_kpi_daily",
        "SELECT * FROM published.parts",
        "SELECT * FROM published.dim_users",
        "CREATE TABLE marts.mine (a int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bi.execute(statement)  # type: ignore[call-overload]


def test_a_second_run_writes_nothing_and_a_changed_day_is_all_that_is_written(
    shop: Settings, lake: duckdb.DuckDBPyConnection, bi: psycopg.Connection
) -> None:
    assert set(run(shop).values()) == {("unchanged", 0)}
    assert set(run(shop, full=True).values()) == {("unchanged", 0)}
    lake.execute("UPDATE marts.mart_kpi_daily SET revenue = revenue + 1 WHERE kpi_date = '2026-03-30'")
    try:
        done = run(shop, full=True)
        assert done.pop("marts.mart_kpi_daily") == ("published", 1)
        assert set(done.values()) == {("unchanged", 0)}
        day = lake.execute("SELECT revenue FROM marts.mart_kpi_daily WHERE kpi_date = '2026-03-30'").fetchone()
        assert one(bi, "SELECT revenue FROM marts.mart_kpi_daily WHERE kpi_date = '2026-03-30'") == (day or [None])[0]
    finally:
        lake.execute("UPDATE marts.mart_kpi_daily SET revenue = revenue - 1 WHERE kpi_date = '2026-03-30'")
        run(shop, full=True)


def test_rows_that_left_leave_new_columns_come_and_a_dropped_mart_goes(
    shop: Settings, lake: duckdb.DuckDBPyConnection, bi: psycopg.Connection
) -> None:
    lake.execute("CREATE TABLE marts.mart_passing AS SELECT * FROM (VALUES ('a', 1), ('b', 2)) AS t(user_id, n)")
    validate(lake, "marts.mart_passing", "pass", NOW.replace(tzinfo=None))
    try:
        run(shop, names=["mart_passing"])
        assert one(bi, "SELECT sum(n) FROM marts.mart_passing") == 3
        lake.execute("DELETE FROM marts.mart_passing WHERE user_id = 'a'")
        run(shop, names=["mart_passing"])
        assert bi.execute("SELECT * FROM marts.mart_passing").fetchall() == [("b", 2)]
        lake.execute("ALTER TABLE marts.mart_passing ADD COLUMN more DOUBLE")
        run(shop, names=["mart_passing"])
        assert bi.execute("SELECT * FROM marts.mart_passing").fetchall() == [("b", 2, None)]
    finally:
        lake.execute("DROP TABLE marts.mart_passing")
    assert run(shop)["marts.mart_passing"] == ("removed", 0)
    with pytest.raises(psycopg.errors.UndefinedTable):
        bi.execute("SELECT * FROM marts.mart_passing")


def test_a_failed_gate_holds_a_table_back_as_it_was(
    shop: Settings, lake: duckdb.DuckDBPyConnection, bi: psycopg.Connection
) -> None:
    before = one(bi, "SELECT sum(revenue) FROM marts.mart_kpi_daily")
    lake.execute("UPDATE marts.mart_kpi_daily SET revenue = 0")
    validate(lake, "marts.mart_kpi_daily", "fail", NOW.replace(tzinfo=None), run_id="broken")
    try:
        assert run(shop, full=True)["marts.mart_kpi_daily"] == ("held back", 0)
        assert one(bi, "SELECT sum(revenue) FROM marts.mart_kpi_daily") == before
    finally:
        lake.execute("DELETE FROM ops.validation_results WHERE run_id = 'broken'")
        run(shop, full=True)
    assert one(bi, "SELECT sum(revenue) FROM marts.mart_kpi_daily") == 0


def test_a_run_that_breaks_off_leaves_the_table_as_it_was(shop: Settings, lake: duckdb.DuckDBPyConnection) -> None:
    run(shop)

    def broken() -> Iterator[Any]:
        yield from lake.execute("SELECT * EXCLUDE (email), 0 AS part FROM marts.dim_users").to_arrow_reader(2)
        raise ConnectionError("the power went out")

    table = mart(lake, "marts.dim_users", ["email"])
    digests = table.digests(lake)

    def interrupted() -> None:
        with target.opened(shop) as connection:
            target.replace_parts(connection, shop, table, rebuild=True, changed=digests, gone=[], batches=broken())

    with pytest.raises(ConnectionError):
        interrupted()
    with psycopg.connect(target.conninfo(shop)) as connection:
        assert one(connection, "SELECT count(*) FROM marts.dim_users") == 4
        assert one(connection, "SELECT sum(rows) FROM published.parts WHERE name = 'marts.dim_users'") == 4


def test_the_sql_of_the_guide_runs(shop: Settings, bi: psycopg.Connection) -> None:
    guide = (ROOT / "docs" / "guides" / "own-bi.md").read_text()
    attach, *queries, of_postgres = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    connection = duckdb.connect(
        config={"extension_directory": str(shop.extensions_dir), "allow_unsigned_extensions": True}
    )
    placeholder = "dbname=searchflow_catalog host=db.example.com user=alice"
    assert placeholder in attach
    connection.execute(attach.replace(placeholder, postgres.conninfo(shop, "catalog")))
    for statement in (each for query in queries for each in connection.extract_statements(query)):
        found = connection.execute(statement).fetchall()
        assert found != [] or statement.type != duckdb.StatementType.SELECT
    with pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("DELETE FROM marts.mart_kpi_daily")
    assert len(bi.execute(of_postgres).fetchall()) == len(MARTS)
