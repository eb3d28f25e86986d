"""The quality gate: a sync sends only when each suite it names last ended with pass or warn, on the data it would
send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from activations.declaration import Sync
from searchflow.errors import GateFailed

OUTCOMES = ("pass", "warn", "quarantine", "fail", "error")
"""Outcomes of a suite, the worst last; up to `quarantine` the gate is open, without the rows that are in it. Anything
else that stands in the table counts as an error."""


@dataclass(frozen=True)
class GateVerdict:
    """The outcome of a suite's last run. `checked_at` is UTC without a zone, as in the warehouse."""

    suite: str
    outcome: str
    checked_at: datetime | None = None
    snapshot: int | None = None  # of the lake, when it looked; None: the caller vouches for it

    @property
    def rank(self) -> int:
        """Return the outcome's rank: the higher, the worse."""
        return OUTCOMES.index(self.outcome) if self.outcome in OUTCOMES else len(OUTCOMES)

    @property
    def opens(self) -> bool:
        """Return whether a sync that names this suite may send."""
        return self.rank <= OUTCOMES.index("quarantine")


Gate = Mapping[str, GateVerdict] | Callable[[str], GateVerdict | None]
"""Suite -> verdict, or a function that answers the same question."""


def latest_verdicts(connection: duckdb.DuckDBPyConnection) -> dict[str, GateVerdict]:
    """Return suite -> the worst outcome of its last run in `ops.validation_results`."""
    worst = " ".join(f"WHEN '{outcome}' THEN {rank}" for rank, outcome in enumerate(OUTCOMES))
    rows = connection.execute(f"""
        WITH last_runs AS (
            SELECT suite, run_id, max(checked_at) AS checked_at FROM ops.validation_results GROUP BY suite, run_id
            QUALIFY row_number() OVER (PARTITION BY suite ORDER BY max(checked_at) DESC, run_id DESC) = 1
        )
        SELECT suite, max(CASE outcome {worst} ELSE {len(OUTCOMES)} END), any_value(last_runs.checked_at),
            coalesce(any_value(tables.snapshot_id), 0)
        FROM ops.validation_results JOIN last_runs USING (suite, run_id)
            LEFT JOIN ops.validated_tables AS tables USING (suite, run_id)
        GROUP BY suite
    """).fetchall()
    return {
        suite: GateVerdict(suite, OUTCOMES[min(rank, len(OUTCOMES) - 1)], checked_at, snapshot)
        for suite, rank, checked_at, snapshot in rows
    }


def verdicts_of(name: str, gate: Gate) -> list[GateVerdict]:
    """Return the verdict of a suite (`marts.dim_users`), or those of a group (`marts`)."""
    if callable(gate):
        verdict = gate(name)
        return [verdict] if verdict is not None else []
    if name in gate:
        return [gate[name]]
    return [verdict for suite, verdict in gate.items() if suite.startswith(f"{name}.")]


def verdict_of(name: str, gate: Gate) -> GateVerdict | None:
    """Return the worst verdict of a suite or group. None: it never ran."""
    return max(verdicts_of(name, gate), key=lambda verdict: verdict.rank, default=None)


def named_verdicts(sync: Sync, gate: Gate) -> list[GateVerdict]:
    """Return the verdicts of all suites that a sync names."""
    return [verdict for name in sync.gate for verdict in verdicts_of(name, gate)]


def closed_by(sync: Sync, gate: Gate, stale: Sequence[str] = ()) -> list[str]:
    """Return why the gate is closed: one phrase for each suite that does not open it. `stale` suites have not seen
    what would be sent."""
    reasons = []
    for name in sync.gate:
        worst = verdict_of(name, gate)
        if worst is None:
            reasons.append(f"{name} never ran")
        elif not worst.opens:
            reasons.append(f"{name} ended with {worst.outcome}")
    return reasons + [f"{suite} has not looked at the data that would be sent" for suite in stale]


def require_open(sync: Sync, gate: Gate, stale: Sequence[str] = ()) -> None:
    """Raise when the gate is closed.

    Raises:
        GateFailed: names the suites.
    """
    reasons = closed_by(sync, gate, stale)
    if reasons:
        raise GateFailed(
            f"{sync.name} did not send: {'; '.join(reasons)}. "
            f"Run `searchflow validate{'' if len(reasons) > 1 or not stale else f' {stale[0]}'}`, correct what it "
            "reports, then try again."
        )
