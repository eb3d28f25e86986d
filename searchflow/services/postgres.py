"""PostgreSQL: the embedded server on a Unix socket, or the server that SEARCHFLOW_POSTGRES_URL names.

One server holds a database each for the lake's catalog, SQLMesh's state, Prefect, the sync ledger and the CRM table.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from searchflow import actor
from searchflow.errors import ConfigurationError, ServiceError, is_disk_full
from searchflow.services import process, remains
from searchflow.settings import Settings

NAME = "postgres"
DATABASES = ("catalog", "sqlmesh", "prefect", "ledger", "crm", "bi")
SERVER_OPTIONS = {
    "listen_addresses": "",  # the socket only: no other machine can connect
    "unix_socket_permissions": "0700",  # nor can other users of this machine
    "max_connections": "200",  # a catalog connection per DuckDB attachment, Prefect's pool, SQLMesh, the ledger
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    "log_statement": "none",
    "log_min_error_statement": "panic",  # a refused INSERT would bring what it inserts into the log,
    "log_error_verbosity": "terse",  # and so would the details of the error
    "wal_recycle": "off",  # old log segments are removed, not kept to be overwritten one day
}

EVERYBODY = "local   all             all                                     trust"
"""The rules that initdb writes into pg_hba.conf."""
OURSELVES = "searchflow"
RECOVERY_SECONDS = 60.0
"""Seconds to wait for a server that runs and does not answer yet: it recovers, or it is on its way out."""


def _binaries() -> Path:
    # Found, not imported: importing it makes folders of its own and warns about them.
    spec = importlib.util.find_spec("pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "SEARCHFLOW_POSTGRES_URL",
            "there is no embedded PostgreSQL for this platform.",
            "Set it to a PostgreSQL server, 15 or later, for example postgresql://me@localhost/postgres.",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def data_dir(settings: Settings) -> Path:
    """Return the folder of the embedded cluster's files."""
    return settings.home / "postgres"


def socket_folder(settings: Settings) -> Path:
    """Return the folder of the embedded server's Unix socket."""
    return process.socket_dir(settings, "pg")


def _unprivileged_account() -> process.Account | None:
    """Return the account without rights that runs the server when this process is root, else None: PostgreSQL refuses
    to run as root.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
            return process.Account(found.pw_uid, found.pw_gid)
        except KeyError:
            continue
    raise ServiceError("PostgreSQL refuses to run as root and there is no account `nobody`. Run as an ordinary user.")


def _hand_over(path: Path, account: process.Account | None) -> None:
    """Give a folder to the server's account. Parents become passable (not listable) for it."""
    process.make_private(path)
    if account is None:
        return
    if path.stat().st_uid != account.uid or any(each.lstat().st_uid != account.uid for each in path.iterdir()):
        for each in (path, *path.rglob("*")):  # all of it: the files of a copied home belong to the one who copied it
            os.chown(each, account.uid, account.gid, follow_symlinks=False)
    _passable(path)


def _passable(path: Path) -> None:
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def conninfo(settings: Settings, database: str) -> str:
    """Write a libpq connection string for one of `DATABASES`, with the name of who acts, where a block says it.

    It has no password: that stands in a file that only this account can read.
    """
    name = actor.inside()
    plain = plain_conninfo(settings, database)
    return plain if name is None else f"{plain} {actor.option(name)}"


def plain_conninfo(settings: Settings, database: str) -> str:
    """Return the connection string without a name, for files and for comparing."""
    name = f"{settings.postgres_prefix}{database}"
    if settings.postgres_url is None:
        return make_conninfo(host=str(socket_folder(settings)), user="postgres", dbname=name)
    return make_conninfo(**_url_parts(settings), dbname=name)


def server_conninfo(settings: Settings) -> str:
    """Return the connection string of the server's own maintenance database."""
    if settings.postgres_url is None:
        return make_conninfo(host=str(socket_folder(settings)), user="postgres", dbname="postgres")
    parts = _url_parts(settings)
    given = conninfo_to_dict(settings.postgres_url.get_secret_value()).get("dbname")
    return make_conninfo(**parts, dbname=given or "postgres")


def conninfo_of(settings: Settings, url: SecretStr, variable: str, name: str) -> str:
    """Return the connection string of a database that another setting names. Its password is kept in a file called
    after `name`.
    """
    given = _parsed(url, variable)
    return make_conninfo(**_without_password(settings, given, f"pgpass-{name}"))


def _url_parts(settings: Settings) -> dict[str, str]:
    """Return the parts of SEARCHFLOW_POSTGRES_URL except the database."""
    assert settings.postgres_url is not None
    given = _parsed(settings.postgres_url, "SEARCHFLOW_POSTGRES_URL")
    return _without_password(settings, {key: value for key, value in given.items() if key != "dbname"}, "pgpass")


def _parsed(url: SecretStr, variable: str) -> dict[str, str]:
    try:
        given = conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        raise ConfigurationError(
            variable, "is not a connection URL.", "Write postgresql://user@host:5432/postgres."
        ) from None
    return {key: str(value) for key, value in given.items() if value is not None}


def _without_password(settings: Settings, given: dict[str, str], file: str) -> dict[str, str]:
    """Move a password into a pgpass file, so that no error message can contain it."""
    parts = dict(given)
    password = parts.pop("password", None)
    if password is not None:
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        passfile = settings.run_dir / file
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        line = f"*:*:*:{parts.get('user', '*')}:{escaped}\n"
        if not passfile.exists() or passfile.read_text() != line:
            descriptor = os.open(passfile, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as handle:
                handle.write(line)
        parts["passfile"] = str(passfile)
    return parts


def async_url(settings: Settings, database: str) -> str:
    """Return the URL that SQLAlchemy with asyncpg wants (Prefect's database)."""
    parts = conninfo_to_dict(plain_conninfo(settings, database))
    query = {key: str(parts[key]) for key in ("passfile", "sslmode") if parts.get(key)}
    host = str(parts.get("host") or "localhost")
    user = quote(str(parts.get("user") or ""), safe="")
    if host.startswith("/"):
        return f"postgresql+asyncpg://{user}@/{parts['dbname']}?{urlencode({'host': host} | query)}"
    port = parts.get("port") or 5432
    tail = f"?{urlencode(query)}" if query else ""
    return f"postgresql+asyncpg://{user}@{host}:{port}/{parts['dbname']}{tail}"


def start(settings: Settings) -> None:
    """Start the embedded server if none is configured, and make our databases. It is safe to call this again.

    Raises:
        ServiceError: the server does not start, does not answer or refuses us.
    """
    if settings.postgres_url is None:
        _start_embedded(settings)
    _make_databases(settings)


def _start_embedded(settings: Settings) -> None:
    if _runs_already(settings):
        return
    binaries, data, account = _binaries(), data_dir(settings), _unprivileged_account()
    _hand_over(data, account)
    _hand_over(socket_folder(settings), account)
    if account is not None:
        _passable(binaries / "postgres")
    if not (data / "PG_VERSION").exists():
        _initialize(settings, binaries, data, account)
    _admit_only_us(data, account)
    options = [part for name, value in SERVER_OPTIONS.items() for part in ("-c", f"{name}={value}")]
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(socket_folder(settings)), *options]
    process.spawn(settings, NAME, command, cwd=data, account=account)
    ready = process.wait_until(
        lambda: _answers(settings), seconds=60, alive=lambda: process.running(settings, NAME) is not None
    )
    if not ready:
        raise process.failed_start(settings, NAME)


def _runs_already(settings: Settings) -> bool:
    """Return True when the server answers, or does so once it has recovered.

    Return False when there is none: then nothing of a server that was killed is in the way of a start.
    """
    data = data_dir(settings)
    process.reap()
    process.wait_until(
        lambda: _answers(settings), seconds=RECOVERY_SECONDS, alive=lambda: _serving(settings, data) is not None
    )
    found = _serving(settings, data)
    if found is None:
        remains.clear(data, socket_folder(settings))
        return False
    if process.running(settings, NAME) is None:  # its record is lost: write it again, so that `down` finds the server
        process.record(settings, NAME, found)
    return _answers(settings)


def _serving(settings: Settings, data: Path) -> int | None:
    """Return the process id of the server in our data folder, or None when it does not run."""
    process.reap()
    pid = remains.server_pid(data)
    if pid is None:
        entry = process.running(settings, NAME)
        return entry.pid if entry is not None else None
    return pid if any(each.pid == pid for each in remains.working_in(data)) else None


def _admit_only_us(data: Path, account: process.Account | None) -> None:
    """Let the server ask the system who connects.

    This account and the server's own are let in, and no other, even where the socket's folder stands open. Rules that a
    person wrote are left alone.
    """
    rules = data / "pg_hba.conf"
    if EVERYBODY not in rules.read_text():
        return
    try:
        names = {pwd.getpwuid(uid).pw_name for uid in (os.geteuid(), *([account.uid] if account else []))}
    except KeyError:
        return  # a container's account without a name: the folder must do
    (data / "pg_ident.conf").write_text("".join(f'{OURSELVES} "{name}" all\n' for name in sorted(names)))
    rules.write_text(f"# Who the system says they are: pg_ident.conf names them.\nlocal all all peer map={OURSELVES}\n")


def _initialize(settings: Settings, binaries: Path, data: Path, account: process.Account | None) -> None:
    # Until the first start: `_admit_only_us` writes who may connect.
    command = [
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth=trust",
        "-E",
        "UTF8",
        "--no-locale",
    ]
    made = subprocess.run(command, capture_output=True, text=True, cwd="/", **(account.as_popen() if account else {}))
    if made.returncode != 0:
        problem = OSError(made.stderr)
        if is_disk_full(problem):
            raise process.disk_full(settings)
        last = (made.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ServiceError(f"PostgreSQL could not make its files in {data}: {last}. Set SEARCHFLOW_HOME elsewhere.")


def _answers(settings: Settings) -> bool:
    try:
        with psycopg.connect(server_conninfo(settings), connect_timeout=3):
            return True
    except psycopg.OperationalError:
        return False


def check(settings: Settings) -> None:
    """Ask the server for a connection.

    Raises:
        ServiceError: it does not answer or refuses us; names the variable that says where it is.
        StorageError: a full disk has ended it.
    """
    try:
        with psycopg.connect(server_conninfo(settings), connect_timeout=5):
            pass
    except psycopg.OperationalError as error:
        reason = _first_line(error)
        if settings.postgres_url is None:
            message = f"The embedded PostgreSQL does not answer: {reason}. Run `searchflow up`."
            raise process.away(settings, message) from None
        raise ServiceError(
            f"The PostgreSQL server of SEARCHFLOW_POSTGRES_URL refused us or is not there: {reason}. "
            "Correct the URL, or unset it to use the embedded server."
        ) from None


def prepared(settings: Settings) -> bool:
    """Return True when the lake's catalog and the audit log have been made on the server that answers."""
    try:
        with psycopg.connect(conninfo(settings, "catalog"), connect_timeout=5) as connection:
            row = connection.execute("SELECT to_regclass('ducklake_metadata'), to_regclass('audit.log')").fetchone()
    except psycopg.OperationalError:  # no such database
        return False
    return row is not None and None not in row


def _first_line(error: Exception) -> str:
    """Return the part of libpq's answer that says why."""
    text = str(error).strip().splitlines()[0]
    return text.split("failed: ")[-1].removeprefix("FATAL:").strip().rstrip(".?")


def _make_databases(settings: Settings) -> None:
    check(settings)
    try:
        with psycopg.connect(server_conninfo(settings), autocommit=True) as connection:
            rows = connection.execute("SELECT datname FROM pg_database").fetchall()
            existing = {row[0] for row in rows}
            for name in DATABASES:
                full = f"{settings.postgres_prefix}{name}"
                if full not in existing:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(full)))
    except psycopg.errors.InsufficientPrivilege:
        raise ServiceError(
            f"SEARCHFLOW_POSTGRES_URL: this user may not create databases. Create {settings.postgres_prefix}"
            f"{{{','.join(DATABASES)}}} for it, or name a user that may."
        ) from None
    except psycopg.Error as error:
        if is_disk_full(error):
            raise process.disk_full(settings) from error
        raise


def stop(settings: Settings) -> bool:
    """Stop the embedded server with a fast shutdown. The data stays."""
    return process.stop(settings, NAME, signal=signal.SIGINT, patience=60)
