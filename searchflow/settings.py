"""The settings, in one typed place: environment variables with the prefix SEARCHFLOW_, and the file `.env`.

The environment wins over `.env`. Values are read once, at the start of a command or flow, and passed on; nothing deeper
inside reads the environment.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from searchflow import dotenv_file, zones
from searchflow.errors import ConfigurationError

CLOCK_MARKER = "clock-may-be-moved"
"""The file in a test's home without which SEARCHFLOW_CLOCK_OFFSET_S is refused."""
ROOT = Path(__file__).resolve().parent.parent
"""The repository: models, syncs and suites are read from here (this is an application, installed in place)."""


_UNSAFE = re.compile(r"""['"\\\x00-\x1f\x7f]|\$\{""")
"""The characters that have a meaning where a path is written: in SQL, connection strings, YAML or `.env`."""
KEPT_PORTS = {"prefect_port": "prefect-server", "dashboards_port": "dashboards"}
"""The setting -> the server whose port the home remembers, in `run/<server>.port`."""


def _check_path(path: str) -> None:
    if found := _UNSAFE.search(path):
        raise ValueError(f"the path holds {found.group()!r}, which means something else in SQL, YAML or .env")


class Settings(BaseSettings):
    """All settings of one installation. Frozen: to change one, make another with `load_settings(name=value)`."""

    model_config = SettingsConfigDict(
        env_prefix="SEARCHFLOW_",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    home: Path = Field(ROOT / ".searchflow", description="The folder of the data, the logs and the embedded servers.")
    redis_url: SecretStr | None = Field(None, description="A Redis or Valkey server (7.0 or later); unset: embedded.")
    postgres_url: SecretStr | None = Field(None, description="A PostgreSQL server (15 or later); unset: embedded.")
    publish_url: SecretStr | None = Field(
        None, description="A PostgreSQL database for the marts of `searchflow publish`; unset: one on our own server."
    )
    postgres_prefix: str = Field(
        "searchflow_", description="Our databases are called <prefix>catalog, <prefix>ledger ..."
    )
    data_location: str | None = Field(
        None,
        validation_alias="SEARCHFLOW_DATA_PATH",
        description="Parquet files: a folder or s3://...; unset: in home.",
    )
    secret_key: SecretStr | None = Field(
        None, description="Signs the audit log's anchors and makes pseudonyms; unset: a key made in home."
    )
    webhook_url: SecretStr | None = Field(
        None,
        description="The address that is told of each breach and recovery of a service level (http or https); unset: none.",
    )
    webhook_secret: SecretStr | None = Field(None, description="Signs the notices to the webhook; unset: not signed.")
    local_targets: bool = Field(
        False,
        description="Notices and HTTP syncs may go to this machine and to link-local addresses.",
    )
    prefect_port: int = Field(4200, ge=1, le=65535, description="The loopback port of the Prefect server and its UI.")
    dashboards_port: int = Field(8501, ge=1, le=65535, description="The loopback port of the dashboards.")
    dashboards_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@]+(/[\w.~/-]*)?$",
        description="Where people find the dashboards behind a reverse proxy, for example https://bi.example.com/searchflow.",
    )
    oidc_metadata_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="Dashboards ask for a login with this OpenID provider (…/.well-known/openid-configuration).",
    )
    oidc_client_id: str | None = Field(None, description="The dashboards' name at that provider.")
    oidc_client_secret: SecretStr | None = Field(None, description="The dashboards' secret at that provider.")
    oidc_allowed: str = Field(
        "",
        description="Who may log in: addresses and @domains, separated by commas; empty: everyone whom the provider knows.",
    )
    history_start: datetime = Field(
        datetime(2015, 1, 1, tzinfo=UTC),
        description="Events before this are dead letters (timestamp_too_old).",
    )
    future_tolerance_seconds: int = Field(300, ge=0, description="Events further ahead than this are dead letters.")
    batch_events: int = Field(100_000, ge=1, description="The most events in one commit while draining a backlog.")
    follow_batch_events: int = Field(20_000, ge=1, description="The most events in one commit while following.")
    follow_batch_seconds: float = Field(1.0, gt=0, description="The longest wait before a commit while following.")
    inline_rows: int = Field(300, ge=0, description="Commits smaller than this stay in the catalog until maintenance.")
    lateness_hours: float = Field(1.0, gt=0, description="An event that arrives later than this counts as late.")
    stream_shards: int = Field(
        1, ge=1, le=8, description="Streams for each event type. Drain before lowering it: higher shards are not read."
    )
    stream_capacity: int = Field(2_000_000, ge=1000, description="Producers slow down above this many events waiting.")
    smtp_url: SecretStr | None = Field(
        None,
        description="The server that takes e-mail: `smtp://user:password@host:587` (STARTTLS), `smtps://host:465`, or "
        "`smtp+plain://host:25` without TLS and login; unset: nothing is delivered.",
    )
    email_from: str | None = Field(None, description="The sender, such as `Example Travel <hello@example.com>`.")
    email_unsubscribe_url: str | None = Field(
        None, description="Your page that takes people off the list; holds `{token}`, see `searchflow email suppress`."
    )
    email_search_url: str | None = Field(
        None, description="Your search page, for the link in a message; holds `{query}`. Unset: no link."
    )
    email_quiet_hours: str = Field(
        "21-8",
        pattern=r"^([01]?[0-9]|2[0-3])-([01]?[0-9]|2[0-3])$",
        description="No message is sent between these hours of the recipient's own day; `0-0`: never quiet.",
    )
    email_time_zone: str = Field("UTC", description="The time zone of people whose own is not known.")
    email_cap_day: int = Field(1, ge=1, description="The most messages that a person gets in 24 hours.")
    email_cap_month: int = Field(3, ge=1, description="The most messages that a person gets in 30 days.")
    email_expire_hours: float = Field(72.0, gt=0, description="A search older than this gets no message any more.")
    ledger_days: int = Field(
        90,
        ge=1,
        description="Days for which the log of syncs keeps what was done with each row; older runs cannot be undone.",
    )
    clock_offset_s: float = Field(
        0.0,
        description="Only in a test's home (it holds the file `clock-may-be-moved`): seconds by which SearchFlow's clock "
        "differs from the system's.",
    )

    @field_validator("email_time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if zones.find(value) is None:
            raise ValueError("is not a time zone such as Europe/Lisbon")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _over_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("it is not an http:// or https:// address")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        path = Path(os.path.abspath(value.expanduser()))
        _check_path(str(path))
        return path

    @field_validator("data_location")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        _check_path(value or "")
        return value

    @property
    def data_path(self) -> str:
        """The place of the Parquet files: an absolute folder or an s3:// URL; it ends with a slash."""
        if self.data_location is None:
            return f"{self.home / 'lake'}/"
        if "://" in self.data_location:
            return self.data_location.rstrip("/") + "/"
        return f"{Path(self.data_location).expanduser().resolve()}/"

    @property
    def extensions_dir(self) -> Path:
        """The folder of DuckDB's extensions, linked from their wheels."""
        return self.home / "extensions"

    @property
    def logs_dir(self) -> Path:
        """The folder with one log file for each server and background process."""
        return self.home / "logs"

    @property
    def run_dir(self) -> Path:
        """The folder of process records and locks."""
        return self.home / "run"

    @property
    def feeds_dir(self) -> Path:
        """The folder of daily batches: ad_spend*.csv and user_profiles*.csv (or .jsonl)."""
        return self.home / "feeds"

    @property
    def reports_dir(self) -> Path:
        """The folder of the data-quality report and other pages for people."""
        return self.home / "reports"

    @property
    def answer_key_dir(self) -> Path:
        """The folder of the simulator's sealed truth. Only `searchflow verify` reads it."""
        return self.home / "answer_key"

    @property
    def prefect_api_url(self) -> str:
        """The API of the Prefect server that `searchflow up` and `searchflow demo` run."""
        return f"http://127.0.0.1:{self.prefect_port}/api"


def env_file() -> Path | None:
    """Return the `.env` to read and write: SEARCHFLOW_ENV_FILE when set (empty: none), else the repository's."""
    named = os.environ.get("SEARCHFLOW_ENV_FILE")
    if named is None:
        return ROOT / ".env"
    return Path(named) if named else None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` win over everything.

    A port that no user chose is the one that the home's server took when it was last started.

    Raises:
        ConfigurationError: a value or the file `.env` cannot be used; names what to change.
    """
    file = env_file()
    if file is not None:
        dotenv_file.check(file)
    try:
        settings = Settings(_env_file=file, **overrides)  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        variable = name if name.startswith("SEARCHFLOW_") else f"SEARCHFLOW_{name.upper()}"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ConfigurationError(
            variable,
            f"{message[:1].lower()}{message[1:]}.",
            "Correct it in the environment or in .env (see .env.example).",
        ) from None
    _check_clock(settings)
    return with_ports(settings, _kept_ports(settings))


def default_home() -> Path:
    """Return the home of a command whose environment names none: the one in `.env`, else the one in the repository."""
    file = env_file()
    named = dotenv_file.values(file).get("SEARCHFLOW_HOME") if file is not None else None
    return Path(os.path.abspath(Path(named).expanduser())) if named else ROOT / ".searchflow"


def with_ports(settings: Settings, ports: dict[str, int]) -> Settings:
    """Return the settings with other ports. These do not count as chosen by a person (`model_fields_set`)."""
    changed = settings.model_copy(update=ports)
    changed.model_fields_set.difference_update(ports.keys() - settings.model_fields_set)
    return changed


def _kept_ports(settings: Settings) -> dict[str, int]:
    kept = {}
    for name, server in KEPT_PORTS.items():
        if name not in settings.model_fields_set and (port := kept_port(settings, server)) is not None:
            kept[name] = port
    return kept


def kept_port(settings: Settings, server: str) -> int | None:
    """Return the port that this home's server took when it was last started, or None."""
    try:
        port = int((settings.run_dir / f"{server}.port").read_text())
    except (OSError, ValueError):
        return None
    return port if 0 < port < 65536 else None


def _check_clock(settings: Settings) -> None:
    """Refuse a moved clock unless a test made this home for it: a moved clock writes false times for good."""
    if settings.clock_offset_s and not (settings.home / CLOCK_MARKER).is_file():
        raise ConfigurationError(
            "SEARCHFLOW_CLOCK_OFFSET_S",
            f"it moves the clock, and {settings.home} is not a test's home.",
            "Unset it.",
        )
