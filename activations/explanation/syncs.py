"""One sync and one user: what the destination holds, what was sent, what the model says, why, and behind which gate."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import duckdb

from activations.declaration import Sync
from activations.errors import Retryable
from activations.explanation.tables import exists, masked, rows
from activations.gate import GateVerdict, verdict_of
from activations.ledger import Ledger
from activations.run import open_destination
from searchflow.quoting import quoted
from searchflow.settings import Settings

USER = "user_id"


@dataclass(frozen=True)
class Part:
    """A sync's part in the story of a user."""

    sync: str
    destination: str
    holds: list[dict[str, Any]] | None  # None: it cannot be read, or does not answer
    sent: list[dict[str, Any]]  # what the ledger knows
    model: str
    model_rows: list[dict[str, Any]]
    held_out: bool
    gate: list[dict[str, Any]]
    why: list[str] = field(default_factory=list)


def part(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    sync: Sync,
    user: str,
    verdicts: dict[str, GateVerdict],
    *,
    personal: bool,
) -> Part | None:
    """Return a sync's part in the story of a user. None: the sync says nothing about users."""
    if USER not in [each.name for each in sync.fields]:
        return None
    hidden = () if personal else tuple(sync.personal)
    model_rows = _model_rows(connection, sync, user)
    sent = _sent(settings, sync, user)
    keys = sorted(
        {user} if sync.key == USER else {str(row[sync.key]) for row in model_rows} | {row["key"] for row in sent}
    )
    holds = _holds(settings, sync, keys)
    return Part(
        sync.name,
        f"{sync.kind} {_place(sync)}".strip(),
        None if holds is None else [masked(row, hidden) for row in holds],
        sent,
        sync.model,
        [masked(row, hidden) for row in model_rows],
        sync.holdout is not None and sync.holdout.field == USER and sync.holdout.rule.holds_out(user),
        [_verdict(name, verdict_of(name, verdicts)) for name in sync.gate],
    )


def _place(sync: Sync) -> str:
    said = sync.destination
    return str(next((said[name] for name in ("table", "stream", "prefix", "url", "path") if name in said), ""))


def _verdict(name: str, verdict: GateVerdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"suite": name, "outcome": "never ran", "checked_at": None}
    return {"suite": name, "outcome": verdict.outcome, "checked_at": verdict.checked_at}


def _model_rows(connection: duckdb.DuckDBPyConnection, sync: Sync, user: str) -> list[dict[str, Any]]:
    if not exists(connection, sync.model):
        return []
    columns = ", ".join(f"{quoted(each.source)} AS {quoted(each.name)}" for each in sync.fields)
    found = f"SELECT {columns} FROM {quoted(sync.model)} WHERE {quoted(sync.source_of(USER))} = ? ORDER BY ALL"
    return rows(connection, found, [user])


def _sent(settings: Settings, sync: Sync, user: str) -> list[dict[str, Any]]:
    with Ledger(settings) as ledger:
        ledger.prepare()
        return ledger.last_sent(sync, user)


def _holds(settings: Settings, sync: Sync, keys: list[str]) -> list[dict[str, Any]] | None:
    try:
        with closing(open_destination(sync, settings)) as destination:
            if (found := destination.look(keys)) is not None:
                return found
            everything = destination.read()
    except Retryable:
        return None
    if everything is None:
        return None
    return [row for row in everything.to_pylist() if row[sync.key] in keys]
