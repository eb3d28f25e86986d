"""The roles have what is declared and documented, and nothing else: the server is asked, and tried."""

from __future__ import annotations

import duckdb
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

import activations
from activations.gate import GateVerdict
from searchflow import streams, transformation, warehouse
from searchflow.ingestion import worker
from searchflow.ops import audit_log
from searchflow.privacy import roles
from searchflow.services import postgres
from searchflow.settings import ROOT, Settings
from tests.privacy.company import OTHER_EVENTS, publish

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def governed(platform: Settings) -> Settings:
    with psycopg.connect(postgres.conninfo(platform, "crm")) as connection:
        connection.execute(
            "CREATE SCHEMA IF NOT EXISTS crm; CREATE TABLE IF NOT EXISTS crm.user_segments (user_id text)"
        )
    roles.create(platform)
    roles.create(platform)  # again, with nothing to do
    return platform


def attempt(settings: Settings, role: str, database: str, statement: str) -> None:
    with psycopg.connect(postgres.conninfo(settings, database)) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(roles.name_of(settings, role))))
        connection.execute(statement)  # type: ignore[call-overload]
        connection.rollback()


def test_the_server_grants_what_is_declared_and_nothing_else(governed: Settings) -> None:
    found = roles.granted(governed)
    for role, (_, grants) in roles.ROLES.items():
        declared = {(grant.database, grant.schema): set(grant.privileges) for grant in grants}
        seen: dict[tuple[str, str], set[str]] = {}
        for database, table, privilege in found[role]:
            seen.setdefault((database, table.partition(".")[0]), set()).add(privilege)
        assert seen.items() <= declared.items(), role
        if role != "bi":  # nothing is published here yet
            assert {"catalog"} <= {database for database, _ in seen}


def test_the_page_shows_the_table_of_the_code() -> None:
    assert roles.table() in (ROOT / "docs" / "reference" / "roles.md").read_text()


@pytest.mark.parametrize(
    ("role", "database", "statement"),
    [
        ("analyst", "catalog", "SELECT * FROM ducklake_snapshot"),
        ("analyst", "catalog", "INSERT INTO audit.log (action, object, detail) VALUES ('read', 'x', '')"),
        ("ingest", "catalog", "DELETE FROM ducklake_snapshot"),
        ("activate", "crm", "INSERT INTO crm.user_segments VALUES ('u-1')"),
    ],
)
def test_a_role_can_do_its_work(governed: Settings, role: str, database: str, statement: str) -> None:
    attempt(governed, role, database, statement)


@pytest.mark.parametrize(
    ("role", "database", "statement"),
    [
        ("analyst", "catalog", "DELETE FROM ducklake_snapshot"),
        ("analyst", "catalog", "CREATE TABLE mine (a int)"),
        ("analyst", "catalog", "SELECT * FROM audit.log"),
        ("activate", "catalog", "UPDATE audit.log SET rows = 0"),
        ("ingest", "crm", "SELECT * FROM crm.user_segments"),
        ("transform", "crm", "SELECT * FROM crm.user_segments"),
        ("analyst", "crm", "SELECT * FROM crm.user_segments"),
    ],
)
def test_a_role_cannot_do_more(governed: Settings, role: str, database: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt(governed, role, database, statement)


def test_only_roles_that_need_a_database_may_connect_to_it(governed: Settings) -> None:
    with psycopg.connect(postgres.server_conninfo(governed)) as connection:
        rows = connection.execute(
            "SELECT role, datname FROM pg_database, unnest(%s::text[]) AS role "
            "WHERE starts_with(datname, %s) AND has_database_privilege(role, datname, 'CONNECT')",
            [[roles.name_of(governed, role) for role in roles.ROLES], governed.postgres_prefix],
        ).fetchall()
    prefix = governed.postgres_prefix
    assert set(rows) == {
        (f"{prefix}{role}", f"{prefix}{grant.database}")
        for role, (_, grants) in roles.ROLES.items()
        for grant in grants
    }


def test_an_analyst_reads_what_is_stored_later_in_the_catalog_itself(governed: Settings) -> None:
    with warehouse.connect(governed) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS ops.small (a INTEGER); INSERT INTO ops.small VALUES (1)")
    with psycopg.connect(postgres.conninfo(governed, "catalog")) as connection:
        row = connection.execute(
            "SELECT bool_and(has_table_privilege(%s, format('public.%%I', tablename), 'SELECT')) FROM pg_tables "
            "WHERE tablename LIKE 'ducklake_inlined_data_%%'",
            [roles.name_of(governed, "analyst")],
        ).fetchone()
    assert row == (True,)


def account(settings: Settings, role: str) -> Settings:
    """Return this platform through an account that has one role, as the page says to make it."""
    login, name = f"{role}_worker_{settings.postgres_prefix}", roles.name_of(settings, role)
    with psycopg.connect(postgres.server_conninfo(settings), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(name), sql.Identifier(login)))
        connection.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(sql.Identifier(login), sql.Literal(name)))
    url = postgres.server_conninfo(settings).replace("user=postgres", f"user={login}")
    return settings.model_copy(update={"postgres_url": SecretStr(url)})


@pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")
def test_each_part_does_its_whole_work_with_its_role_and_an_analyst_only_reads(fresh_platform: Settings) -> None:
    roles.create(fresh_platform)
    ingest, transform, analyst = (account(fresh_platform, role) for role in ("ingest", "transform", "analyst"))
    activate = account(fresh_platform, "activate")
    publish(fresh_platform, OTHER_EVENTS)
    for kind in streams.EVENT_TYPES:
        worker.ingest_stream(ingest, kind)
    assert transformation.transform(transform, now=worker.utc_now()).models
    opens = lambda suite: GateVerdict(suite, "pass")  # noqa: E731
    assert activations.run_sync(activate, "crm_user_segments", now=worker.utc_now(), gate=opens).added == 2
    with warehouse.connect(analyst, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM marts.dim_users").fetchone() == (2,)
        audit_log.append_query(analyst, "SELECT count(*) FROM marts.dim_users", 1)
    with warehouse.connect(analyst) as connection, pytest.raises(duckdb.Error, match="ermission denied"):
        connection.execute("DELETE FROM raw.search_events")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(postgres.conninfo(analyst, "crm"))
