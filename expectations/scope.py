"""The scope of a run, which rows it looks at: all of a table, or only those of days that changed since they were found
in order.

Event tables only grow, and every commit books the days it touches (`ops.ingestion_batches`). So rules about single rows
(`Rule.local`) and keys need only these days, when the run before found nothing wrong with them. Every table is checked
whole once a day, and whenever its checks changed or the run before found something. Marts are always checked whole:
a model may be rebuilt by hand, and nothing books that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import duckdb

from expectations.suite import Check, Rule, Suite, never
from searchflow import warehouse
from searchflow.fetching import first_row

MARGIN = timedelta(minutes=15)
"""The time before a run whose commits are looked at again: they may have come too late for its snapshot."""
WHOLE = "all rows"


@dataclass(frozen=True)
class Days:
    """The days that changed, and the column that says to which day a row belongs."""

    column: str
    days: tuple[date, ...]

    @property
    def condition(self) -> str:
        """Return SQL that is true of the rows of these days. The range lets the engine skip files; the list leaves out
        the days between."""
        if not self.days:
            return "FALSE"
        first, last = self.days[0], self.days[-1] + timedelta(days=1)
        between = f"{self.column} >= DATE '{first}' AND {self.column} < DATE '{last}'"
        listed = ", ".join(f"DATE '{day}'" for day in self.days)
        return f"{between} AND CAST({self.column} AS DATE) IN ({listed})"

    @property
    def words(self) -> str:
        """Return the days as `ops.validated_tables` and the report show them."""
        return "1 changed day" if len(self.days) == 1 else f"{len(self.days)} changed days"


def changed_days(connection: duckdb.DuckDBPyConnection, suite: Suite, now: datetime) -> Days | None:
    """Return the days to look at, or None: look at all rows. No days at all means that nothing changed."""
    if suite.day is None:
        return None
    before = first_row(
        connection.execute(
            "SELECT run_id, checked_at FROM ops.validated_tables WHERE suite = ? AND fingerprint = ? "
            "ORDER BY checked_at DESC, run_id DESC LIMIT 1",
            [suite.name, fingerprint(suite)],
        )
    )
    if before is None or before[1].date() != _utc(now).date() or _found_something(connection, suite, before[0]):
        return None
    return Days(suite.day, tuple(_booked_days(connection, before[1] - MARGIN)))


def fingerprint(suite: Suite) -> str:
    """Return a digest that changes when the checks do: what was found in order by other checks says nothing."""
    text = repr([(check.severity, check.rule.kind, check.rule.name, check.rule.arguments) for check in suite.checks])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_local(check: Check) -> bool:
    """Return whether the changed days alone decide a check."""
    return check.rule.local or check.rule.unique is not None


def on_days(check: Check, suite: Suite) -> Check:
    """Return a check for changed days only: their keys are looked for in the whole table."""
    if check.rule.unique is None:
        return check
    key = check.rule.unique
    sql = f"""
        SELECT count(*) AS unexpected FROM (
          SELECT 1 FROM {warehouse.CATALOG}.{suite.table}
          WHERE ({key}) IN (SELECT ({key}) FROM {{batch}}) GROUP BY {key} HAVING count(*) > 1
        ) HAVING count(*) > 0"""
    rule: Rule = replace(never(check.rule.name, sql, check.rule.column), broken=check.rule.broken, unique=key)
    return replace(check, rule=rule)


def _found_something(connection: duckdb.DuckDBPyConnection, suite: Suite, run_id: str) -> bool:
    local = [check.name for check in suite.checks if is_local(check)]
    row = first_row(
        connection.execute(
            "SELECT count(*) FROM ops.validation_results "
            "WHERE run_id = ? AND suite = ? AND NOT success AND list_contains(?, expectation)",
            [run_id, suite.name, local],
        )
    )
    return bool(row and row[0])


def _booked_days(connection: duckdb.DuckDBPyConnection, since: datetime) -> Sequence[date]:
    # Of all event types: a replay stores any of them, under a shard of its own.
    rows = connection.execute(
        "SELECT DISTINCT unnest(touched_days) AS day FROM ops.ingestion_batches "
        "WHERE committed_at >= $since AND stored > 0 ORDER BY day",
        {"since": since},
    ).fetchall()
    return [row[0] for row in rows]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
