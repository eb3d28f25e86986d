"""The flow of a sync, as its schedule runs it: suites that have not seen what would be sent look at it first."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from activations import stale_suites
from searchflow import services, warehouse
from searchflow.settings import Settings
from tests.commands import CommandLine

pytestmark = pytest.mark.integration

SYNC, MODEL, MART = "crm_user_segments", "activation.act_crm_user_segments", "marts.mart_user_segments"


def lake(settings: Settings, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(warehouse.connect(settings)) as connection:
        return connection.execute(query, list(values)).fetchall()


def in_crm(settings: Settings, users: list[str]) -> list[str]:
    with psycopg.connect(services.postgres_dsn(settings, "crm")) as connection:
        found = connection.execute("SELECT user_id, segment FROM crm.user_segments WHERE user_id = ANY(%s)", [users])
        segments = dict(found.fetchall())
    return [segments[user] for user in users]


def made_again(settings: Settings, segments: dict[str, str]) -> None:
    """The mart says something else of some users, as after a transformation that no suite has looked at."""
    [(view,)] = lake(settings, "SELECT sql FROM duckdb_views() WHERE schema_name || '.' || view_name = ?", MART)
    table = view.partition(" FROM ")[2].strip().rstrip(";")
    for user, segment in segments.items():
        lake(settings, f"UPDATE {table} SET segment = ? WHERE user_id = ?", segment, user)


def test_suites_that_have_not_seen_the_data_look_first_and_hold_back_what_they_find(company: CommandLine) -> None:
    settings = company.settings
    company.json("activate", SYNC)  # nothing is left to do
    rows = lake(settings, f"SELECT user_id FROM {MODEL} WHERE segment = 'new_user' ORDER BY 1 LIMIT 2")
    users = [user for (user,) in rows]
    made_again(settings, {users[0]: "high_value", users[1]: "bogus"})
    assert {MODEL, MART} <= set(stale_suites(settings, [SYNC]))

    shown = company.run("activate", SYNC, "--dry-run").stdout
    assert f"{MART} has not looked at the data that would be sent" in shown
    assert "segment: new_user -> high_value" in shown

    [sent] = company.json("activate", SYNC).values()
    assert (sent["changed"], sent["quarantined"], sent["rejected"]) == (1, 1, 0)
    assert in_crm(settings, users) == ["high_value", "new_user"]
    assert stale_suites(settings, [SYNC]) == []
    looks = lake(
        settings, "SELECT DISTINCT outcome FROM ops.validation_results WHERE suite = ? AND run_id LIKE '%-gate' "
        "AND outcome <> 'pass'", MODEL,
    )  # fmt: skip
    assert looks == [("quarantine",)]

    made_again(settings, {users[0]: "new_user", users[1]: "new_user"})
    [sent] = company.json("activate", SYNC).values()
    assert (sent["changed"], sent["quarantined"]) == (1, 0)
