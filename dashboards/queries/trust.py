"""Queries about how far numbers can be trusted: when tables were made, what gates said, what is in quarantine, open
dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from dashboards.source import Reading

CRITICAL = ("fail", "error")


@dataclass(frozen=True)
class SuiteOutcome:
    """The newest run of one suite: how many checks ended how, and what the worst of them said."""

    suite: str
    checked_at: datetime
    passed: int
    warned: int
    failed: int
    crashed: int
    sentence: str | None

    @property
    def checks(self) -> int:
        """Return how many checks there are in all."""
        return self.passed + self.warned + self.failed + self.crashed

    @property
    def outcome(self) -> str:
        """Return the worst outcome: pass, warn, fail or error."""
        for outcome, number in (("error", self.crashed), ("fail", self.failed), ("warn", self.warned)):
            if number:
                return outcome
        return "pass"


def outcomes(reading: Reading) -> list[SuiteOutcome]:
    """Return the newest run of every suite, the worst first."""
    rows = reading.rows(
        """
        WITH latest AS (
            SELECT suite, arg_max(run_id, (checked_at, run_id)) AS run_id FROM ops.validation_results GROUP BY suite
        )
        SELECT suite, max(checked_at) AS checked_at, count(*) FILTER (outcome = 'pass') AS passed,
               count(*) FILTER (outcome IN ('warn', 'quarantine')) AS warned, count(*) FILTER (outcome = 'fail') AS failed,
               count(*) FILTER (outcome = 'error') AS crashed,
               first(sentence ORDER BY list_position(['error', 'fail', 'quarantine', 'warn'], outcome), expectation)
                   FILTER (outcome <> 'pass') AS sentence
        FROM ops.validation_results JOIN latest USING (suite, run_id)
        GROUP BY suite ORDER BY crashed + failed DESC, warned DESC, suite
        """
    )
    return [SuiteOutcome(**row) for row in rows]


def made_at(reading: Reading) -> dict[str, datetime]:
    """Return model -> when it was last made: what was stored before is in it."""
    rows = reading.rows(
        """
        SELECT model, max(started_at) AS made FROM ops.model_runs
        WHERE status = 'succeeded' AND environment = 'prod' GROUP BY model
        """
    )
    return {row["model"]: row["made"] for row in rows}


def quarantined(reading: Reading) -> dict[str, int]:
    """Return suite -> rows that its newest run put in quarantine; only those with any."""
    rows = reading.rows(
        """
        SELECT suite, arg_max(rows_quarantined, (checked_at, run_id))::BIGINT AS held FROM ops.validated_tables
        GROUP BY suite HAVING arg_max(rows_quarantined, (checked_at, run_id)) > 0
        """
    )
    return {row["suite"]: row["held"] for row in rows}


def finality(reading: Reading, day: date) -> float | None:
    """Return the share of a day's events that are expected to be here."""
    rows = reading.rows("SELECT finality FROM marts.mart_kpi_daily WHERE kpi_date = $day", {"day": day})
    return rows[0]["finality"] if rows else None


@dataclass(frozen=True)
class ToCome:
    """The events that are still expected to arrive for some days, by how late events have been."""

    searches: float
    conversions: float
    revenue: float


def to_come(reading: Reading, first: date, last: date) -> ToCome | None:
    """Return what is to come for these days; None when nothing is, or when the mart was made before it knew."""
    if "revenue_to_come" not in reading.columns("marts.mart_kpi_daily"):
        return None
    row = reading.row(
        """
        SELECT coalesce(sum(searches_to_come), 0)::DOUBLE AS searches,
               coalesce(sum(conversions_to_come), 0)::DOUBLE AS conversions,
               coalesce(sum(revenue_to_come), 0)::DOUBLE AS revenue
        FROM marts.mart_kpi_daily WHERE kpi_date BETWEEN $first AND $last
        """,
        {"first": first, "last": last},
    )
    return ToCome(**row) if row["searches"] >= 0.5 else None


def open_dead_letters(reading: Reading) -> int:
    """Return how many inputs could not be stored and wait for a decision."""
    return int(reading.row("SELECT count(*) AS n FROM raw.dead_letters WHERE status = 'open'")["n"])
