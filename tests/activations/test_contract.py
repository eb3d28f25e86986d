"""Every destination keeps the contract: the shipped kit's checks, against real servers, folders and a real API."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from activations.base import Destination
from activations.declaration import Sync, destination_types
from activations.destinations import _redis, http, postgres_table, redis_hash, redis_stream
from activations.testing import Check, Trial, checks
from searchflow import services, streams
from searchflow.settings import Settings, load_settings
from tests.activations.api import running_api

pytestmark = pytest.mark.integration

NO_SERVER = "127.0.0.1:1"


class Postgres(Trial):
    kind = "postgres_table"

    def options(self) -> dict[str, Any]:
        return {"table": f"crm.{self.name}"}

    def unreachable(self, sync: Sync) -> Destination:
        return postgres_table.PostgresTable(sync, sync.options(), "host=127.0.0.1 port=1 dbname=crm")

    def refuse(self, sync: Sync, key: str) -> None:
        with psycopg.connect(services.postgres_dsn(self.settings, "crm")) as connection:
            connection.execute(f"ALTER TABLE crm.{self.name} ADD CHECK (id <> '{key}')")


class PostgresWithLeavers(Postgres):
    def options(self) -> dict[str, Any]:
        return super().options() | {"leavers": {"flag": "is_active", "left_at": "left_at"}}


class Hashes(Trial):
    kind = "redis_hash"
    cannot: ClassVar = {
        "refuse": "Redis takes any text; a row with nothing to store is refused by test_recommendations"
    }

    def options(self) -> dict[str, Any]:
        return {"prefix": f"{self.name}:"}

    def unreachable(self, sync: Sync) -> Destination:
        return redis_hash.RedisHash(sync, sync.options(), _redis.client(_elsewhere(self.settings)))


class Stream(Trial):
    kind = "redis_stream"
    cannot: ClassVar = {"refuse": "a stream takes any text"}

    def options(self) -> dict[str, Any]:
        return {"stream": self.name}

    def rows(self, sync: Sync, destination: Destination) -> pa.Table:
        with streams.connect(self.settings) as client:
            entries = [fields[b"data"].decode() for _, fields in client.xrange(self.name)]
        return pa.table({"id": pa.array(_field(entries, "id"), pa.string())})

    def unreachable(self, sync: Sync) -> Destination:
        return redis_stream.RedisStream(sync, sync.options(), _redis.client(_elsewhere(self.settings)))


class Api(Trial):
    kind = "http"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._stack = ExitStack()
        self.api = self._stack.enter_context(running_api())

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def options(self) -> dict[str, Any]:
        return {"url": self.api.url}

    def rows(self, sync: Sync, destination: Destination) -> pa.Table:
        fields = [field.name for field in sync.fields]
        texts = [{name: _text(row.get(name)) for name in fields} for row in self.api.rows.values()]
        return pa.table({name: pa.array([row[name] for row in texts], pa.string()) for name in fields})

    def unreachable(self, sync: Sync) -> Destination:
        return http.HttpApi(sync, http.Options(url=f"http://{NO_SERVER}/"), load_settings())

    def refuse(self, sync: Sync, key: str) -> None:
        self.api.refuses = lambda row: row["id"] == key


class Parquet(Trial):
    kind = "files"
    cannot: ClassVar = {
        "refuse": "a file takes any value",
        "unreachable": "a folder is there, or it is a wrong configuration",
    }
    form = "parquet"

    def options(self) -> dict[str, Any]:
        return {"folder": self.name, "format": self.form}


class Csv(Parquet):
    form = "csv"


def _elsewhere(settings: Settings) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(f"redis://{NO_SERVER}/0")})


def _field(documents: list[str], name: str) -> list[str]:
    import json

    return [json.loads(document)[name] for document in documents]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


TRIALS: list[type[Trial]] = [Postgres, PostgresWithLeavers, Hashes, Stream, Api, Parquet, Csv]


@pytest.mark.parametrize(
    ("trial", "check"),
    [
        pytest.param(trial, check, id=f"{trial.__name__}-{check.__name__}")
        for trial in TRIALS
        for check in checks(trial)
    ],
)
def test_it_keeps_its_promise(activation_home: Settings, trial: type[Trial], check: Check) -> None:
    with trial(activation_home) as tried:
        check(tried)


def test_no_destination_is_left_out() -> None:
    assert {trial.kind for trial in TRIALS} == set(destination_types())


def test_the_kit_notices_a_destination_that_appends_twice(activation_home: Settings, tmp_path: Path) -> None:
    """A check that cannot fail would promise nothing."""
    from activations import testing
    from activations.base import Batch, Delivery

    class Twice(Stream):
        def deliver(self, sync: Sync, *batches: Batch) -> list[Any]:
            with streams.connect(self.settings) as client:
                for batch in batches:
                    for document in batch.documents:
                        client.xadd(self.name, {"data": document})
            return [Delivery() for _ in batches]

    for check in (testing.a_repeat_changes_nothing, testing.killed_between_delivery_and_record_it_ends_the_same):
        with pytest.raises(AssertionError, match="appended twice"):
            check(Twice(activation_home))
    testing.what_arrives_is_what_was_sent(Twice(activation_home))
