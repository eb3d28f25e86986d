"""Evaluation: tells set-wise whether the levels are kept. Results are stored in `ops.service_levels` once for each
change, and at least once an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

import duckdb

from searchflow import warehouse
from searchflow.fetching import first_row
from searchflow.ops import record
from searchflow.ops.levels.declaration import Level
from searchflow.ops.levels.measures import Facts, measure

State = Literal["kept", "broken", "unknown"]
AT_LEAST_EVERY = timedelta(hours=1)
KEEP = timedelta(days=90)
TABLE = "ops.service_levels"


@dataclass(frozen=True)
class Evaluated:
    """One level for one of its targets, now. `value` is in seconds, a share between 0 and 1, or a count."""

    level: str
    target: str
    measure: str
    state: State
    value: float | None
    bound: str
    limit: float
    unit: str
    sentence: str

    @property
    def shown(self) -> str:
        """Return the value in words, for people."""
        return "no data yet" if self.value is None else amount(self.value, self.unit)

    @property
    def wanted(self) -> str:
        """Return the limit in words, for people."""
        return f"{self.bound} {amount(self.limit, self.unit)}"


def evaluate(
    connection: duckdb.DuckDBPyConnection | None, levels: Sequence[Level], facts: Facts, *, now: datetime
) -> list[Evaluated]:
    """Evaluate every level for each of its targets, in the order of the file. This changes nothing."""
    found: list[Evaluated] = []
    for level in levels:
        values = measure(connection, level, facts, now)
        chosen = {target: value for target, value in sorted(values.items()) if fnmatchcase(target, level.of)}
        if not chosen:  # nothing with that name has run yet
            chosen = {level.of: None}
        found += [_judged(level, target, value) for target, value in chosen.items()]
    return found


def _judged(level: Level, target: str, value: float | None) -> Evaluated:
    state: State = "unknown" if value is None else "kept" if level.holds(value) else "broken"
    return Evaluated(
        level.name, target, level.measure, state, value, level.bound, level.limit, level.unit, level.sentence
    )


def record_states(connection: duckdb.DuckDBPyConnection, evaluated: Sequence[Evaluated], *, now: datetime) -> int:
    """Append each state that changed since its newest row, or was not written for an hour. Remove rows older than
    `KEEP`.

    What is new is found from the table itself, so the next run makes up for one that was killed. Return how many
    rows were appended.
    """
    plain = now.replace(tzinfo=None)
    before = {
        (level, target): (state, checked_at, since)
        for level, target, state, checked_at, since in connection.execute(
            f"SELECT level, target, state, checked_at, since FROM {TABLE} WHERE checked_at <= ? "
            "QUALIFY row_number() OVER (PARTITION BY level, target ORDER BY checked_at DESC) = 1",
            [plain],
        ).fetchall()
    }
    rows: list[dict[str, Any]] = []
    for each in evaluated:
        state, checked_at, since = before.get((each.level, each.target), (None, plain, plain))
        changed = state != each.state
        if changed or plain - checked_at >= AT_LEAST_EVERY:
            rows.append(
                {
                    "checked_at": plain,
                    "level": each.level,
                    "target": each.target,
                    "measure": each.measure,
                    "state": each.state,
                    "value": each.value,
                    "bound": each.bound,
                    "limit_value": each.limit,
                    "unit": each.unit,
                    "since": plain if changed else since,
                    "sentence": each.sentence,
                }
            )
    with warehouse.transaction(connection):
        _forget(connection, plain - KEEP)
        record.rows(connection, TABLE, rows)
    return len(rows)


def _forget(connection: duckdb.DuckDBPyConnection, oldest: datetime) -> None:
    row = first_row(connection.execute(f"SELECT count(*) FROM {TABLE} WHERE checked_at < ?", [oldest]))
    if row and row[0]:
        connection.execute(f"DELETE FROM {TABLE} WHERE checked_at < ?", [oldest])


def amount(value: float, unit: str) -> str:
    """Return a value in words.

    >>> amount(930, "seconds"), amount(0.0512, "share"), amount(3, "count")
    ('15.5 minutes', '5.12 %', '3')
    """
    if unit == "share":
        return f"{100 * value:.2f}".rstrip("0").rstrip(".") + " %"
    if unit == "count":
        return f"{value:,.1f}".removesuffix(".0")
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if value >= 2 * size:
            return f"{value / size:,.1f}".removesuffix(".0") + f" {name}"
    return f"{value:,.1f}".removesuffix(".0") + " seconds"
