"""Five PostgreSQL roles with the least access that each needs. `searchflow roles create` makes them.

They are group roles without login. Give one to each account and let it act as that role from its first statement on, so
that the tables that it makes belong to the role:
`GRANT searchflow_ingest TO worker; ALTER ROLE worker SET role = 'searchflow_ingest'`.
The lake's catalog is one set of tables, so PostgreSQL cannot tell the lake's own tables apart: a role may read the lake, or
read and write it. Masked views (`searchflow.privacy.masking`) decide about single columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from searchflow.errors import UsageError
from searchflow.ops import audit_log
from searchflow.services import postgres
from searchflow.settings import Settings

READ, WRITE = ("SELECT",), ("SELECT", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Grant:
    """The privileges of a role on the tables of one schema, including future tables."""

    database: str
    schema: str
    privileges: tuple[str, ...]
    create: bool = False
    owns: bool = False
    """True when the schema belongs to the role, which makes and alters its tables. PostgreSQL asks for CREATE on the database
    even where the schema exists, so the role has that too, and temporary tables."""


CATALOG_WRITE = (Grant("catalog", "public", WRITE, create=True), Grant("catalog", "audit", ("INSERT",)))
LEDGER = (
    Grant("ledger", "erasure", READ),  # a commit reads which people were forgotten
    Grant("ledger", "monitoring", WRITE),  # a run notes that it has begun and that it has ended
)
"""The grants that every running part needs in the ledger's database, beside the locks by which they take turns."""
ROLES: dict[str, tuple[str, tuple[Grant, ...]]] = {
    "ingest": ("stores events, feeds and dead letters", (*CATALOG_WRITE, *LEDGER)),
    "transform": (
        "makes models and checks them",
        (
            *CATALOG_WRITE,
            *LEDGER,
            Grant("sqlmesh", "public", WRITE, create=True),
            Grant("sqlmesh", "sqlmesh", WRITE, create=True, owns=True),
        ),
    ),
    "analyst": ("asks questions", (Grant("catalog", "public", READ), Grant("catalog", "audit", ("INSERT",)))),
    "bi": ("reads what `searchflow publish` wrote", (Grant("bi", "marts", READ),)),
    "activate": (
        "sends to destinations",
        (
            *CATALOG_WRITE,
            *LEDGER,
            Grant("ledger", "activation", WRITE, create=True, owns=True),
            Grant("ledger", "email", WRITE, create=True, owns=True),
            Grant("crm", "crm", WRITE, create=True, owns=True),
        ),
    ),
}
"""The role -> its purpose and its grants. Everything that is not named here is refused."""
DECISIONS: dict[str, tuple[str, ...]] = {
    "transform": ("promote",),
    "activate": ("approve", "undo", "suppress", "unsuppress"),
}
"""The role -> the decisions of people that it may enter into the audit log. Only the owner may enter `grant` and `erase`."""


def name_of(settings: Settings, role: str) -> str:
    """Return the role's name on the server. All databases of a server share roles, so their names carry our prefix."""
    return f"{settings.postgres_prefix}{role}"


def create(settings: Settings) -> list[str]:
    """Make the roles and give them exactly the declared privileges. Safe to call again. Return the names of the roles.

    Raises:
        psycopg.errors.InsufficientPrivilege: the user of SEARCHFLOW_POSTGRES_URL may not create roles.
    """
    names = [name_of(settings, role) for role in ROLES]
    with psycopg.connect(postgres.server_conninfo(settings), autocommit=True) as connection:
        for name in names:
            known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
            if known is None:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
            _join(connection, name)
    for database in postgres.DATABASES:
        with psycopg.connect(postgres.conninfo(settings, database)) as connection:
            _close(connection, database, settings, names)
            for role, (_, grants) in ROLES.items():
                for grant in grants:
                    if grant.database == database:
                        _open(connection, settings, name_of(settings, role), grant, names)
            if database == "catalog":
                _let_decide(connection, settings)
    audit_log.append(
        settings, "grant", "roles", rows=len(names), detail=f"privileges of {', '.join(names)} as declared"
    )
    return names


def _join(connection: psycopg.Connection, name: str) -> None:
    """Make the account that makes the roles a member of them, unless it is a superuser.

    Only a member can give a schema away, and can bring tables of the role up to date.
    """
    row = connection.execute("SELECT pg_has_role(current_user, %s, 'USAGE')", [name]).fetchone()
    if row != (True,):
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)))


def _let_decide(connection: psycopg.Connection, settings: Settings) -> None:
    """Let the roles that decide enter their decisions into the audit log, and no other role (see `audit_log.sql`)."""
    for role, actions in DECISIONS.items():
        name, policy = sql.Identifier(name_of(settings, role)), sql.Identifier(f"decisions_of_{role}")
        listed = sql.SQL(", ").join(map(sql.Literal, actions))
        connection.execute(sql.SQL("DROP POLICY IF EXISTS {} ON audit.log").format(policy))
        connection.execute(
            sql.SQL("CREATE POLICY {} ON audit.log FOR INSERT TO {} WITH CHECK (action IN ({}))").format(
                policy, name, listed
            )
        )


def _close(connection: psycopg.Connection, database: str, settings: Settings, names: list[str]) -> None:
    """Take all privileges from everyone, also those left over from an earlier release."""
    full = sql.Identifier(f"{settings.postgres_prefix}{database}")
    everyone = sql.SQL(", ").join([sql.SQL("PUBLIC"), *map(sql.Identifier, names)])
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(full, everyone))
    for (schema,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_)'"):
        # The schema comes last: a member of the role that owns it looks into it with that role's rights.
        for what in ("ALL TABLES IN SCHEMA {}", "ALL SEQUENCES IN SCHEMA {}", "SCHEMA {}"):
            target = sql.SQL(what).format(sql.Identifier(schema))
            connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(target, everyone))


def _open(connection: psycopg.Connection, settings: Settings, name: str, grant: Grant, names: list[str]) -> None:
    role, schema = sql.Identifier(name), sql.Identifier(grant.schema)
    database = sql.Identifier(f"{settings.postgres_prefix}{grant.database}")
    privileges = sql.SQL(", ").join(map(sql.SQL, grant.privileges))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, role))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    if grant.owns:
        connection.execute(sql.SQL("GRANT CREATE, TEMPORARY ON DATABASE {} TO {}").format(database, role))
        connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema, role))
    usage = sql.SQL("USAGE, CREATE" if grant.create else "USAGE")
    connection.execute(sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(usage, schema, role))
    if grant.owns:
        _give(connection, grant.schema, role)
    connection.execute(sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA {} TO {}").format(privileges, schema, role))
    for owner in [sql.SQL("CURRENT_USER"), *map(sql.Identifier, names)]:  # small commits make their own tables
        connection.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT {} ON TABLES TO {}").format(
                owner, schema, privileges, role
            )
        )


def _give(connection: psycopg.Connection, schema: str, role: sql.Identifier) -> None:
    """Give the role the tables and views that another account made there: only an owner may bring them up to date."""
    relations = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm')",
        [schema],
    ).fetchall()
    for (name,) in relations:
        connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(schema, name), role))


def granted(settings: Settings) -> dict[str, set[tuple[str, str, str]]]:
    """Return what the server allows: role -> (database, schema.table, privilege) for every table that it may touch.

    Raises:
        UsageError: the roles have not been made.
    """
    names = {name_of(settings, role): role for role in ROLES}
    _check_made(settings, list(names))
    found: dict[str, set[tuple[str, str, str]]] = {role: set() for role in ROLES}
    for database in postgres.DATABASES:
        with psycopg.connect(postgres.conninfo(settings, database)) as connection:
            rows = connection.execute(
                "SELECT role, format('%%s.%%s', schemaname, tablename), privilege FROM "
                "(SELECT schemaname, tablename FROM pg_tables UNION SELECT schemaname, viewname FROM pg_views) AS relations, "
                "unnest(%s::text[]) AS role, "
                "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege "
                "WHERE schemaname !~ '^(pg_|information_)' AND has_database_privilege(role, current_database(), 'CONNECT') "
                "AND has_schema_privilege(role, schemaname, 'USAGE') "
                "AND has_table_privilege(role, format('%%I.%%I', schemaname, tablename), privilege)",
                [list(names)],
            ).fetchall()
        for name, table, privilege in rows:
            found[names[name]].add((database, table, privilege))
    return found


def _check_made(settings: Settings, names: list[str]) -> None:
    with psycopg.connect(postgres.server_conninfo(settings)) as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [names]).fetchall()
    missing = sorted(set(names) - {row[0] for row in rows})
    if missing:
        raise UsageError(f"The server has no role {', '.join(missing)}. Run `searchflow roles create`.")


def table() -> str:
    """Make the table of docs/reference/roles.md."""
    lines = ["| role | what it does | database | schema | may |", "|---|---|---|---|---|"]
    for role, (purpose, grants) in ROLES.items():
        for number, grant in enumerate(grants):
            may = ", ".join(
                [
                    *grant.privileges,
                    *(["create tables"] if grant.create else []),
                    *(["own the schema"] if grant.owns else []),
                ]
            )
            first = (f"`{role}`", purpose) if number == 0 else ("", "")
            lines.append(f"| {first[0]} | {first[1]} | {grant.database} | `{grant.schema}` | {may} |")
    return "\n".join(lines)
