"""No role gets more than `docs/reference/roles.md` says: not by asking, and not by leaving something that others run."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from searchflow import actor, lifecycle, warehouse
from searchflow.ops import audit_log
from searchflow.privacy import roles
from searchflow.services import postgres
from searchflow.settings import Settings

pytestmark = pytest.mark.integration
WRITERS = ("ingest", "transform", "activate")
ENTRY = "INSERT INTO audit.log (action, object, detail) VALUES ('{}', 'x', '')"
DENIED: dict[str, tuple[str, Collection[str]]] = {
    "SELECT * FROM audit.log": ("catalog", roles.ROLES),
    "UPDATE audit.log SET actor = 'x'": ("catalog", roles.ROLES),
    "DELETE FROM audit.log": ("catalog", roles.ROLES),
    "UPDATE audit.head SET sequence = 1": ("catalog", roles.ROLES),
    "ALTER TABLE audit.log DISABLE TRIGGER ALL": ("catalog", roles.ROLES),
    "ALTER TABLE audit.log DISABLE ROW LEVEL SECURITY": ("catalog", roles.ROLES),
    "DROP TRIGGER audit_lake_commit ON public.ducklake_snapshot_changes": ("catalog", roles.ROLES),
    "CREATE TABLE audit.mine (a int)": ("catalog", roles.ROLES),
    "CREATE SCHEMA mine": ("catalog", roles.ROLES),
    "CREATE TEMPORARY TABLE ducklake_data_file (a int)": ("catalog", roles.ROLES),
    "SET session_replication_role = replica": ("catalog", roles.ROLES),
    "CREATE TABLE public.mine (a int)": ("catalog", ("analyst", "bi")),
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": ("catalog", ("analyst", "bi")),
    "INSERT INTO public.ducklake_snapshot_changes (snapshot_id) VALUES (0)": ("catalog", ("analyst", "bi")),
    "SELECT * FROM crm.user_segments": ("crm", ("ingest", "transform", "analyst", "bi")),
    "SELECT * FROM erasure.erased": ("ledger", ("analyst", "bi")),
    ENTRY.format("approve"): ("catalog", ("ingest", "transform", "analyst", "bi")),
    ENTRY.format("undo"): ("catalog", ("ingest", "transform", "analyst", "bi")),
    ENTRY.format("promote"): ("catalog", ("ingest", "activate", "analyst", "bi")),
    ENTRY.format("suppress"): ("catalog", ("ingest", "transform", "analyst", "bi")),
    ENTRY.format("grant"): ("catalog", roles.ROLES),
    ENTRY.format("erase"): ("catalog", roles.ROLES),
    ENTRY.format("anything else"): ("catalog", roles.ROLES),
}
CASES = [(role, database, statement) for statement, (database, denied) in DENIED.items() for role in denied]
PLANTED = """
    CREATE TABLE public.ran (who text);
    GRANT ALL ON public.ran TO PUBLIC;
    CREATE FUNCTION public.note() RETURNS bigint LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN {snapshot}; END $$;
"""
VIEW = "CREATE VIEW public.{name} AS SELECT public.note() AS begin_snapshot, public.note() AS end_snapshot"
LISTED = "INSERT INTO public.ducklake_inlined_data_tables (table_id, table_name, schema_version) VALUES ({table}, 'listed', 0)"
OPERATOR = """
    CREATE FUNCTION public.same(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT public.note() IS NOT NULL';
    CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.same);
    CREATE FUNCTION public.greatest_of(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT public.note()';
    CREATE FUNCTION public.count() RETURNS bigint LANGUAGE sql AS 'SELECT public.note()'
"""
PLANTS = {
    "a view that the catalog names": [VIEW.format(name="listed"), LISTED],
    "a view named as the table of deleted rows": [VIEW.format(name="ducklake_inlined_delete_{table}")],
    "a function and an operator named like the server's": [OPERATOR],
}


@pytest.fixture(scope="module")
def governed(platform: Settings) -> Settings:
    with psycopg.connect(postgres.conninfo(platform, "crm")) as connection:
        connection.execute(
            "CREATE SCHEMA IF NOT EXISTS crm; CREATE TABLE IF NOT EXISTS crm.user_segments (user_id text)"
        )
    roles.create(platform)
    return platform


@pytest.mark.parametrize(("role", "database", "statement"), CASES)
def test_a_role_is_denied_what_the_page_does_not_name(
    governed: Settings, role: str, database: str, statement: str
) -> None:
    with psycopg.connect(postgres.conninfo(governed, database)) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(roles.name_of(governed, role))))
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidSchemaName)):
            connection.execute(statement)
        connection.rollback()


def login(settings: Settings, role: str) -> Iterator[str]:
    """An account with one role, and the connection string for the catalog's database."""
    name, account = roles.name_of(settings, role), f"a_{role}_{settings.postgres_prefix}"
    with psycopg.connect(postgres.server_conninfo(settings), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(account)))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(account)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(name), sql.Identifier(account)))
        connection.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(sql.Identifier(account), sql.Literal(name)))
    yield account
    with psycopg.connect(postgres.server_conninfo(settings), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(account)))


@pytest.mark.parametrize("claim", ["worker|the-director|run-1", "the-director", "|the-director|", ""])
def test_an_entry_names_who_is_connected_whatever_the_client_says(governed: Settings, claim: str) -> None:
    for account in login(governed, "activate"):
        where = psycopg.conninfo.make_conninfo(postgres.conninfo(governed, "catalog"), user=account)
        with psycopg.connect(where, application_name=claim) as connection:
            connection.execute(
                "INSERT INTO audit.log (action, object, detail, actor, process, logged_at, sequence) "
                "VALUES ('approve', 'a sync', 'by ' || current_user, 'the-director', 'x', 'epoch', 1)"
            )
        [entry] = audit_log.show(governed, action="approve", limit=1)
        assert entry["actor"] == f"{actor.user()} as {account}"
        assert ("the-director" in entry["detail"]) is ("|the-director|" in claim)  # told as what it is: a claim
        assert entry["logged_at"].year > 2000
    audit_log.verify(governed)


@pytest.fixture
def planted(fresh_platform: Settings) -> Settings:
    """A lake with a table of a few inlined rows, and its roles."""
    roles.create(fresh_platform)
    with warehouse.connect(fresh_platform) as connection:
        connection.execute("CREATE TABLE ops.small (a INTEGER); INSERT INTO ops.small VALUES (1), (2)")
    return fresh_platform


@pytest.mark.parametrize("what", PLANTS)
@pytest.mark.parametrize("role", WRITERS)
def test_what_a_role_leaves_runs_with_its_own_rights_only(planted: Settings, role: str, what: str) -> None:
    name = roles.name_of(planted, role)
    with psycopg.connect(postgres.conninfo(planted, "catalog"), autocommit=True) as connection:
        row = connection.execute(
            "SELECT t.table_id, (SELECT max(snapshot_id) FROM public.ducklake_snapshot) FROM public.ducklake_table t "
            "WHERE t.table_name = 'small'"
        ).fetchone()
        assert row is not None
        table, snapshot = row
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
        for statement in (PLANTED.format(snapshot=snapshot + 1), *PLANTS[what]):
            connection.execute(statement.format(table=table) if "{table}" in statement else statement)
        change = f"inserted_into_table:{table},deleted_from_table:{table}"
        commit(connection, snapshot + 1, change)  # as the role
        connection.execute("RESET ROLE")
        commit(connection, snapshot + 2, change)  # as the owner
        ran = {row[0] for row in connection.execute("SELECT who FROM public.ran").fetchall()}
        assert ran <= {name}
    [entry] = audit_log.show(planted, object="ops.small", limit=1)
    assert entry["action"] == "write"
    assert (entry["rows"] is None) is ("view" in what)  # what may not be counted is not known


def commit(connection: psycopg.Connection, snapshot: int, change: str) -> None:
    """What the catalog's trigger hears of a commit of the lake."""
    connection.execute(
        "INSERT INTO public.ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (%s, %s)", [snapshot, change]
    )


def test_no_function_with_the_owners_rights_finds_names_in_a_schema_of_others(governed: Settings) -> None:
    with psycopg.connect(postgres.conninfo(governed, "catalog")) as connection:
        found = connection.execute(
            "SELECT p.proname, p.proconfig FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE p.prosecdef AND n.nspname !~ '^pg_' ORDER BY 1"
        ).fetchall()
    assert found == [(name, ["search_path=pg_catalog, pg_temp"]) for name in ("chain", "newest")]


def test_a_session_of_the_catalog_follows_no_name_to_a_view(governed: Settings) -> None:
    with psycopg.connect(postgres.conninfo(governed, "catalog")) as connection:
        known = connection.execute("SHOW restrict_nonsystem_relation_kind").fetchone()
        assert known == ("view, foreign-table",)


def test_the_roles_can_be_made_by_an_account_that_is_no_superuser(own_servers: Settings) -> None:
    with psycopg.connect(postgres.server_conninfo(own_servers), autocommit=True) as connection:
        connection.execute("CREATE ROLE manager LOGIN CREATEROLE CREATEDB")
    url = postgres.server_conninfo(own_servers).replace("user=postgres", "user=manager")
    settings = own_servers.model_copy(update={"postgres_url": SecretStr(url), "postgres_prefix": "m_"})
    lifecycle.start(settings)
    names = roles.create(settings)
    assert roles.create(settings) == names  # again, with nothing to do
    with psycopg.connect(postgres.server_conninfo(settings)) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (False,)
    found = roles.granted(settings)
    for role, (_, grants) in roles.ROLES.items():
        declared = {(grant.database, grant.schema) for grant in grants}
        assert {(database, table.partition(".")[0]) for database, table, _ in found[role]} <= declared
    with warehouse.connect(settings) as connection:
        connection.execute("CREATE TABLE ops.small (a INTEGER); INSERT INTO ops.small VALUES (1)")
    [entry] = audit_log.show(settings, object="ops.small", action="write", limit=1)
    assert (entry["rows"], entry["actor"]) == (1, f"{actor.user()} as manager")
