"""The stakeholders' page: it tells what was checked, what is wrong, since when, what it concerns. In words, without a
script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from expectations.catalogue import GROUPS
from expectations.outcome import Outcome
from expectations.report import charts
from expectations.report.findings import CheckFinding, TableFindings
from searchflow import gates

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


def render(tables: Sequence[TableFindings], *, now: datetime) -> str:
    """Return the whole page as HTML. Every value is escaped: names, sentences and what was observed alike."""
    checked = [table for table in tables if table.runs]
    body = "".join(
        (
            _verdict(tables, checked),
            _attention(checked, now),
            _syncs(checked),
            _trends(checked),
            *(_group(group, [table for table in tables if table.suite.group == group]) for group in GROUPS),
            _legend(now),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex">'
        '<link rel="icon" href="data:,">'
        f"<title>Data quality · SearchFlow</title><style>{STYLE.read_text()}</style></head>"
        f'<body><main><p class="brand">SearchFlow <span>data quality</span></p>{body}</main></body></html>\n'
    )


# --- the verdict ------------------------------------------------------------------------------------------------


def _verdict(tables: Sequence[TableFindings], checked: Sequence[TableFindings]) -> str:
    findings = [finding for table in checked for finding in table.findings]
    blocking = [table for table in checked if table.outcome is not None and table.outcome.blocks]
    warned = sum(finding.outcome in (Outcome.WARN, Outcome.QUARANTINE) for finding in findings)
    quarantined = sum(table.rows.quarantined for table in checked if table.rows and table.suite.contained)
    held = sum(finding.outcome is Outcome.PASS for finding in findings)
    syncs = gates.gated_syncs()
    blocked = [sync for sync in syncs if any(sync.waits_for(table.suite.name) for table in blocking)]
    kind, words, more = _say(checked, blocking, warned)
    missing = len(tables) - len(checked)
    newest = max((table.checked_at for table in checked if table.checked_at), default=None)
    facts = f"{_count(len(findings), 'check')} on {_count(len(checked), 'table')}"
    facts += f", the newest on {moment(newest)}" if newest else ""
    facts += f". {_count(missing, 'table')} not checked yet" if missing else ""
    tiles = (
        ("Checks that hold", f"{held:,}", f"of {len(findings):,}"),
        ("Warnings", f"{warned:,}", "reported, nothing waits"),
        ("Rows in quarantine", f"{quarantined:,}", "not sent until they are right"),
        ("Tables not to be used", f"{len(blocking):,}", f"of {len(checked):,}"),
        ("Syncs that may run", f"{len(syncs) - len(blocked):,}", f"of {len(syncs)}"),
    )
    cards = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{value} <small>{escape(rest)}</small></dd></div>'
        for name, value, rest in tiles
    )
    return (
        f'<header class="verdict {kind}"><span class="mark" aria-hidden="true">{MARKS[kind]}</span>'
        f"<div><h1>{words}</h1><p>{escape(more)}</p></div></header>"
        f'<p class="facts">{escape(facts)}.</p><dl class="tiles">{cards}</dl>'
    )


def _say(checked: Sequence[TableFindings], blocking: Sequence[TableFindings], warned: int) -> tuple[Outcome, str, str]:
    if not checked:
        return Outcome.ERROR, "Nothing was checked yet", "Run the checks, then open this page again."
    if blocking:
        names = ", ".join(table.suite.title for table in blocking[:3]) + (" and others" if len(blocking) > 3 else "")
        return (
            Outcome.FAIL,
            f"{_count(len(blocking), 'table')} must not be used",
            f"Affected: {names}. Whatever depends on it waits.",
        )
    if warned:
        return (
            Outcome.WARN,
            "The numbers can be used, with remarks",
            f"No table must be left aside. {_count(warned, 'remark')} should be looked at.",
        )
    return Outcome.PASS, "All numbers can be used", "Everything that was checked holds."


# --- what is wrong ----------------------------------------------------------------------------------------------


def _attention(checked: Sequence[TableFindings], now: datetime) -> str:
    problems = [(table, finding) for table in checked for finding in table.problems]
    problems.sort(key=lambda problem: list(Outcome).index(problem[1].outcome), reverse=True)
    if not problems:
        return ""
    cards = "".join(_problem(table, finding, now) for table, finding in problems)
    return f"<section><h2>What needs attention</h2>{cards}</section>"


def _problem(table: TableFindings, finding: CheckFinding, now: datetime) -> str:
    suite, since = table.suite, finding.since
    if not finding.outcome.blocks:
        return _remark(table, finding, now)
    expected = "Could not be checked" if finding.outcome is Outcome.ERROR else "Does not hold"
    rows = [("Seen", finding.observed), ("Concerns", suite.numbers)]
    if finding.outcome.blocks:
        waiting = _titles_behind(suite.name)
        rows.append(("Must wait", waiting or "nothing: no sync is made from it"))
    if since is not None:
        rows.append(("Since", f"{moment(since)}{_ago(since, now)}"))
    facts = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return (
        f'<article class="problem {finding.outcome}"><h3><span class="pill {finding.outcome}">'
        f"{WORDS[finding.outcome]}</span> {escape(suite.title)}</h3>"
        f"<p>{expected}: <strong>{escape(finding.sentence)}</strong></p><dl>{facts}</dl>{_details_link(table)}"
        "</article>"
    )


def _remark(table: TableFindings, finding: CheckFinding, now: datetime) -> str:
    since = f" · since {moment(finding.since)}{_ago(finding.since, now)}" if finding.since else ""
    return (
        f'<article class="problem {finding.outcome}"><h3><span class="pill {finding.outcome}">'
        f"{WORDS[finding.outcome]}</span> {escape(finding.sentence)}</h3>"
        f"<p><small>{escape(table.suite.title)} · seen: {escape(finding.observed)}{since}</small></p>"
        f"<p><small>Concerns {escape(table.suite.numbers)}.{_quarantined(table, finding)}</small> {_short_link(table)}</p>"
        "</article>"
    )


def _quarantined(table: TableFindings, finding: CheckFinding) -> str:
    """Return what rows in quarantine mean for what is sent."""
    syncs = _titles_behind(table.suite.name)
    if finding.outcome is not Outcome.QUARANTINE or not syncs:
        return ""
    return f" The other rows are sent: {escape(syncs)}."


def _titles_behind(suite: str) -> str:
    """Name, for people, the syncs that wait while this suite fails."""
    return ", ".join(sync.shown for sync in gates.gated_syncs() if sync.waits_for(suite))


def _short_link(table: TableFindings) -> str:
    return "" if table.page is None else f'<small><a href="data_docs/{escape(table.page)}">Every detail</a></small>'


def _syncs(checked: Sequence[TableFindings]) -> str:
    rows = []
    for sync in gates.gated_syncs():
        why = [
            table.suite.title
            for table in checked
            if table.outcome is not None and table.outcome.blocks and sync.waits_for(table.suite.name)
        ]
        outcome = Outcome.FAIL if why else Outcome.PASS
        said = f"must wait for: {', '.join(why)}" if why else "may run"
        rows.append(
            f'<li><span class="mark {outcome}" aria-hidden="true">{MARKS[outcome]}</span>'
            f"<div><strong>{escape(sync.shown)}</strong> <span>{escape(said)}</span></div></li>"
        )
    return f'<section><h2>What may be sent</h2><ul class="syncs">{"".join(rows)}</ul></section>'


# --- how it was before ------------------------------------------------------------------------------------------


def _trends(checked: Sequence[TableFindings]) -> str:
    cards = []
    for group in GROUPS:
        points = trend_points([table for table in checked if table.suite.group == group])
        if points:
            title = GROUP_TITLES[group][0]
            runs = _count(len(points), "run")
            label = f"{title}: share of checks that held, over the last {runs}"
            dates = " to ".join(dict.fromkeys(f"{at.day} {at:%b %Y}" for at in (points[0].at, points[-1].at)))
            cards.append(
                f"<figure><figcaption>{escape(title)} <strong>{charts.percent(points[-1].rate)}</strong></figcaption>"
                f"{charts.trend(points, label)}<small>{runs}, {dates}</small></figure>"
            )
    if not cards:
        return ""
    return f'<section><h2>Share of checks that held</h2><div class="trends">{"".join(cards)}</div></section>'


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


# --- every table ------------------------------------------------------------------------------------------------


def _group(group: str, tables: Sequence[TableFindings]) -> str:
    title, when = GROUP_TITLES[group]
    rows = "".join(_table(table) for table in tables)
    return f'<section><h2>{escape(title)}</h2><p class="when">{escape(when)}</p>{rows}</section>'


def _table(table: TableFindings) -> str:
    suite = table.suite
    if table.outcome is None:
        return (
            '<div class="table none"><span class="mark" aria-hidden="true">–</span>'
            f'<div class="name">{escape(suite.title)}'
            f'<code>{escape(suite.table)}</code></div><span class="score">not checked yet</span></div>'
        )
    held = sum(finding.outcome is Outcome.PASS for finding in table.findings)
    recent = charts.strip([(run.outcome, run.checked_at) for run in table.runs[-STRIP_RUNS:]])
    checks = "".join(
        f'<li><span class="mark {finding.outcome}" aria-hidden="true">{MARKS[finding.outcome]}</span>'
        f"<div>{escape(finding.sentence)} <small>{_strength(finding)}{escape(finding.observed)}</small></div></li>"
        for finding in table.findings
    )
    checked_at = f"Checked {moment(table.checked_at)}. " if table.checked_at else ""
    rows = _row_counts(table)
    return (
        f'<details class="table {table.outcome}"><summary><span class="mark {table.outcome}" aria-hidden="true">'
        f'{MARKS[table.outcome]}</span><div class="name">{escape(suite.title)}<code>{escape(suite.table)}</code></div>'
        f'{recent}<span class="score">{held} of {len(table.findings)} hold</span></summary>'
        f'<p>{checked_at}Concerns {escape(suite.numbers)}.{rows}</p><ul class="checks">{checks}</ul>{_details_link(table)}'
        "</details>"
    )


def _row_counts(table: TableFindings) -> str:
    """Return `input = passed + in quarantine` in words."""
    if table.rows is None:
        return ""
    rows = table.rows
    if not rows.quarantined:
        return f" {_count(rows.rows_in, 'row')} checked."
    return (
        f" {_count(rows.rows_in, 'row')} checked: {rows.passed:,} passed, {rows.quarantined:,} broken, listed by key."
    )


def _strength(finding: CheckFinding) -> str:
    kind = "must hold" if finding.severity == "critical" else "should hold"
    return f"{kind} · {WORDS[finding.outcome]} · seen: "


def _details_link(table: TableFindings) -> str:
    if table.page is None:
        return ""
    return (
        f'<p class="more"><a href="data_docs/{escape(table.page)}">Every detail of {escape(table.suite.title)}</a></p>'
    )


def _legend(now: datetime) -> str:
    return (
        "<footer><h2>How to read this</h2><p>A check that <em>must hold</em> closes the gate when it does not: what "
        "depends on the table is not sent. A check that <em>should hold</em> only warns. When a check "
        "<em>could not be made</em>, no one knows, and the gate is closed too. "
        "Counts and totals are shown, never what a person typed or who they are.</p>"
        f'<p><a href="data_docs/index.html">All results in detail (Data Docs)</a> · written {moment(now)}</p></footer>'
    )


# --- words ------------------------------------------------------------------------------------------------------


def moment(at: datetime) -> str:
    """Return a point in time for people; times without a zone are UTC."""
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
