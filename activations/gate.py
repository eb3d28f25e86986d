"""The quality gate: a sync sends only when each suite it names last ended with pass or warn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from activations.declaration import Sync
from searchflow.errors import GateFailed

OUTCOMES = ("pass", "warn", "quarantine", "fail", "error")
"""The worst last; up to `quarantine` the gate is open, without the rows that are in it. Anything
else that stands in the table counts as an error."""


@dataclass(frozen=True)
class GateVerdict:
    """How a suite last ended. `checked_at` is UTC without a zone, as in the warehouse."""

    suite: str
    outcome: str
    checked_at: datetime | None = None

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return OUTCOMES.index(self.outcome) if self.outcome in OUTCOMES else len(OUTCOMES)

    @property
    def opens(self) -> bool:
        """May a sync that names this suite send?"""
        return self.rank <= OUTCOMES.index("quarantine")


Gate = Mapping[str, GateVerdict] | Callable[[str], GateVerdict | None]
"""Suite -> verdict, or a function that answers the same question."""


def latest_verdicts(connection: duckdb.DuckDBPyConnection) -> dict[str, GateVerdict]:
    """Suite -> the worst outcome of its last run in `ops.validation_results`."""
    worst = " ".join(f"WHEN '{outcome}' THEN {rank}" for rank, outcome in enumerate(OUTCOMES))
    rows = connection.execute(f"""
        WITH last_runs AS (
            SELECT suite, run_id, max(checked_at) AS checked_at FROM ops.validation_results GROUP BY suite, run_id
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY max(checked_at) DESC, run_id DESC) = 1
        )
        SELECT suite, max(CASE outcome {worst} ELSE {len(OUTCOMES)} END), any_value(last_runs.checked_at)
        FROM ops.validation_results JOIN last_runs USING (suite, run_id) GROUP BY suite
    """).fetchall()
    return {
        suite: GateVerdict(suite, OUTCOMES[min(rank, len(OUTCOMES) - 1)], checked_at)
        for suite, rank, checked_at in rows
    }


def verdict_of(name: str, gate: Gate) -> GateVerdict | None:
    """The verdict of a suite (`marts.dim_users`), or the worst of a group (`marts`). None: it never ran."""
    if callable(gate):
        return gate(name)
    if name in gate:
        return gate[name]
    members = [verdict for suite, verdict in gate.items() if suite.startswith(f"{name}.")]
    return max(members, key=lambda verdict: verdict.rank, default=None)


def closed_by(sync: Sync, gate: Gate) -> list[str]:
    """Why the gate is closed: one phrase a suite that does not open it."""
    reasons = []
    for name in sync.gate:
        verdict = verdict_of(name, gate)
        if verdict is None:
            reasons.append(f"{name} never ran")
        elif not verdict.opens:
            reasons.append(f"{name} ended with {verdict.outcome}")
    return reasons


def require_open(sync: Sync, gate: Gate) -> None:
    """Raise when the gate is closed.

    Raises:
        GateFailed: names the suites.
    """
    reasons = closed_by(sync, gate)
    if reasons:
        raise GateFailed(
            f"{sync.name} did not send: {'; '.join(reasons)}. "
            "Run `searchflow validate`, correct what it reports, then try again."
        )
