"""The stakeholders' page: what was checked, what is wrong, since when, what it concerns. In words, without a script.

What it says is put together here; `templates/page.html` writes it, and escapes every value by itself: names, sentences and
what was observed alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from expectations.catalogue import GROUPS
from expectations.outcome import Outcome
from expectations.report import charts
from expectations.report.findings import CheckFinding, TableFindings
from searchflow import gates

TEMPLATES = Path(__file__).parent / "templates"
STYLE = Path(__file__).resolve().parent.parent / "static" / "report.css"
GROUP_TITLES = {
    "raw": ("Data as it arrived", "Before anything is calculated."),
    "marts": ("Numbers people see", "Before dashboards and reports show them."),
    "activation": ("What leaves the house", "Before it is sent to other systems."),
}
MARKS = {Outcome.PASS: "✓", Outcome.WARN: "!", Outcome.QUARANTINE: "!", Outcome.FAIL: "✕", Outcome.ERROR: "?"}
WORDS = {
    Outcome.PASS: "holds",
    Outcome.WARN: "warning",
    Outcome.QUARANTINE: "rows in quarantine",
    Outcome.FAIL: "failed",
    Outcome.ERROR: "could not be checked",
}
STRIP_RUNS = 12


@dataclass(frozen=True)
class Verdict:
    """The answer to: can the numbers be used?"""

    outcome: Outcome
    words: str
    more: str


def render(tables: Sequence[TableFindings], *, now: datetime) -> str:
    """Write the whole page."""
    checked = [table for table in tables if table.runs]
    blocking = [table for table in checked if table.outcome is not None and table.outcome.blocks]
    problems = [(table, finding) for table in checked for finding in table.problems]
    problems.sort(key=lambda problem: list(Outcome).index(problem[1].outcome), reverse=True)
    said = {
        "style": STYLE.read_text(),
        "now": now,
        "verdict": _verdict(checked, blocking),
        "facts": _facts(tables, checked),
        "tiles": _tiles(checked, blocking),
        "problems": problems,
        "syncs": [(sync, _titles(blocking, sync)) for sync in gates.gated_syncs()],
        "trends": [trend for group in GROUPS if (trend := _trend(group, _of_group(checked, group)))],
        "groups": [(*GROUP_TITLES[group], _of_group(tables, group)) for group in GROUPS],
    }
    return _environment(now).get_template("page.html").render(said).lstrip()


def _environment(now: datetime) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"MARKS": MARKS, "WORDS": WORDS, "waiting_for": _syncs_behind}
    environment.filters |= {
        "moment": moment,
        "ago": partial(_ago, now=now),
        "count": _count,
        "held": _held,
        "recent": _recent,
    }
    return environment


# --- the verdict ------------------------------------------------------------------------------------------------


def _verdict(checked: Sequence[TableFindings], blocking: Sequence[TableFindings]) -> Verdict:
    if not checked:
        return Verdict(Outcome.ERROR, "Nothing was checked yet", "Run the checks, then open this page again.")
    if blocking:
        names = ", ".join(table.suite.title for table in blocking[:3]) + (" and others" if len(blocking) > 3 else "")
        words = f"{_count(len(blocking), 'table')} must not be used"
        return Verdict(Outcome.FAIL, words, f"Affected: {names}. Whatever depends on it waits.")
    if warned := _warned(checked):
        more = f"No table must be left aside. {_count(warned, 'remark')} should be looked at."
        return Verdict(Outcome.WARN, "The numbers can be used, with remarks", more)
    return Verdict(Outcome.PASS, "All numbers can be used", "Everything that was checked holds.")


def _facts(tables: Sequence[TableFindings], checked: Sequence[TableFindings]) -> str:
    checks = sum(len(table.findings) for table in checked)
    newest = max((table.checked_at for table in checked if table.checked_at), default=None)
    facts = f"{_count(checks, 'check')} on {_count(len(checked), 'table')}"
    facts += f", the newest on {moment(newest)}" if newest else ""
    missing = len(tables) - len(checked)
    return facts + (f". {_count(missing, 'table')} not checked yet" if missing else "")


def _tiles(checked: Sequence[TableFindings], blocking: Sequence[TableFindings]) -> list[tuple[str, str, str]]:
    """Name, value and what stands beside it, of each tile."""
    checks, syncs = sum(len(table.findings) for table in checked), gates.gated_syncs()
    quarantined = sum(table.rows.quarantined for table in checked if table.rows and table.suite.contained)
    blocked = sum(bool(_titles(blocking, sync)) for sync in syncs)
    return [
        ("Checks that hold", f"{sum(_held(table.findings) for table in checked):,}", f"of {checks:,}"),
        ("Warnings", f"{_warned(checked):,}", "reported, nothing waits"),
        ("Rows in quarantine", f"{quarantined:,}", "not sent until they are right"),
        ("Tables not to be used", f"{len(blocking):,}", f"of {len(checked):,}"),
        ("Syncs that may run", f"{len(syncs) - blocked:,}", f"of {len(syncs)}"),
    ]


def _warned(checked: Iterable[TableFindings]) -> int:
    return sum(finding.outcome in (Outcome.WARN, Outcome.QUARANTINE) for table in checked for finding in table.findings)


def _held(findings: Iterable[CheckFinding]) -> int:
    return sum(finding.outcome is Outcome.PASS for finding in findings)


# --- what waits -------------------------------------------------------------------------------------------------


def _titles(blocking: Iterable[TableFindings], sync: Any) -> list[str]:
    """Name the tables that this sync waits for."""
    return [table.suite.title for table in blocking if sync.waits_for(table.suite.name)]


def _syncs_behind(table: TableFindings) -> str:
    """Name, for people, the syncs that wait while this table's suite fails."""
    return ", ".join(sync.shown for sync in gates.gated_syncs() if sync.waits_for(table.suite.name))


# --- how it was before ------------------------------------------------------------------------------------------


def _of_group(tables: Iterable[TableFindings], group: str) -> list[TableFindings]:
    return [table for table in tables if table.suite.group == group]


def _trend(group: str, tables: Sequence[TableFindings]) -> dict[str, Any] | None:
    points = trend_points(tables)
    if not points:
        return None
    title, runs = GROUP_TITLES[group][0], _count(len(points), "run")
    return {
        "title": title,
        "newest": charts.percent(points[-1].rate),
        "chart": charts.trend(points, f"{title}: share of checks that held, over the last {runs}"),
        "runs": runs,
        "dates": " to ".join(dict.fromkeys(f"{at.day} {at:%b %Y}" for at in (points[0].at, points[-1].at))),
    }


def trend_points(tables: Iterable[TableFindings]) -> list[charts.Point]:
    """Return the state of a group after each run: the newest result of each table by then, whichever run it came from."""
    runs = sorted(
        ((run.checked_at, run.run_id, table.suite.name, run) for table in tables for run in table.runs),
        key=lambda entry: entry[:3],
    )
    state, points = {}, {}
    for checked_at, run_id, suite, run in runs:
        state[suite] = run
        held, total = sum(known.passed for known in state.values()), sum(known.total for known in state.values())
        outcomes = [known.outcome for known in state.values()]
        points[run_id] = charts.Point(checked_at, held / total, max(outcomes, key=list(Outcome).index))
    return list(points.values())[-30:]


def _recent(table: TableFindings) -> list[charts.RunBar]:
    return charts.bars([(run.outcome, run.checked_at) for run in table.runs[-STRIP_RUNS:]])


# --- words ------------------------------------------------------------------------------------------------------


def moment(at: datetime) -> str:
    """Write a point in time for people; times without a zone are UTC."""
    utc = at.astimezone(UTC) if at.tzinfo else at
    return f"{utc.day} {utc:%b %Y, %H:%M} UTC"


def _ago(since: datetime, now: datetime) -> str:
    seconds = (now.astimezone(UTC).replace(tzinfo=None) - since).total_seconds()
    if seconds < 3600:
        return ""
    if seconds < 2 * 86400:
        return f", {_count(int(seconds // 3600), 'hour')} ago"
    return f", {_count(int(seconds // 86400), 'day')} ago"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
