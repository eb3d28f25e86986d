"""The parts of a suite, as plain data: no import of Great Expectations, so that anything may read the catalogue.

A suite belongs to one table. Each check has a severity (critical blocks, warning reports), a sentence that a person
who never saw the table understands, and a rule. Rules of four kinds:

- about the table: `has_columns`, `has_exactly_columns`, `has_rows`;
- about each row, all of one table answered by one query: `not_null`, `one_of`, `between`, `matches`;
- about all rows, answered by the same query: `unique`, `fresh`, `not_ahead`, `none_where`, `aggregate`;
- about several tables: `refers`, `keeps_up`, and `never`, SQL that must select nothing. It may name a column `unexpected`
  (how many rows are wrong) and others (facts for the report), and should select one row of aggregates.

No rule selects personal data or content of events: what a rule selects is shown to people.

A rule that judges each row by itself also says which rows break it (`broken`). Such rows of a critical check are listed
by key in `ops.quarantined_rows`, and where dependents carry that key they are left out of what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from searchflow.quoting import literal

Severity = Literal["critical", "warning"]

COUNTRY_CODE = "^[A-Z]{2}$"
WEEKS_KNOWN, SPREADS = 4, 5
"""Limits of `usual_volume`: weekdays needed, and how many robust standard deviations are still usual."""
EMAIL_SHAPE = r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"


@dataclass(frozen=True)
class Rule:
    """One thing that can be checked: `kind` is a name in `expectations.engine.EXPECTATIONS`.

    `broken` is SQL that is true of each row that breaks the rule (the table is called `checked`), or None when the rule
    is about the table as a whole. `local` rules can be judged on the days that changed (`expectations.scope`), and so can
    keys: `unique` is their SQL.
    """

    kind: str
    name: str
    arguments: Mapping[str, Any]
    column: str | None = None
    broken: str | None = None
    local: bool = False
    unique: str | None = None


@dataclass(frozen=True)
class Check:
    """A rule, how bad it is when it breaks, and what it means to people."""

    severity: Severity
    sentence: str
    rule: Rule

    @property
    def name(self) -> str:
        """Return the check's name, stable over time within its suite: the history of a check is found by it."""
        return self.rule.name


@dataclass(frozen=True)
class Suite:
    """All checks of one table.

    `numbers` says in plain words what is wrong when the table is. Which syncs must not run then stands in their files
    (`searchflow.gates`). `key` names the columns that tell rows apart. `contained`: dependents carry (part of) the key, so
    that single broken rows can be left out of what is sent; elsewhere one broken row spoils sums, and closes the gate.
    """

    table: str
    group: str
    title: str
    numbers: str
    checks: Sequence[Check]
    key: Sequence[str] = ()
    contained: bool = False
    day: str | None = None
    names: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        names = [check.name for check in self.checks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Suite {self.table}: two checks are called {', '.join(twice)}. Rename one.")
        if self.contained and not self.key:
            raise ValueError(f"Suite {self.table}: rows are left out by their key, which is not named. Name it.")
        object.__setattr__(self, "names", frozenset(names))

    @property
    def name(self) -> str:
        """Return the suite's name, which is that of its table."""
        return self.table


def critical(sentence: str, rule: Rule) -> Check:
    """Return a critical check: when it breaks, nothing that depends on the table leaves."""
    return Check("critical", sentence, rule)


def warning(sentence: str, rule: Rule) -> Check:
    """Return a warning: when it breaks, the report says so."""
    return Check("warning", sentence, rule)


def has_columns(*names: str) -> Rule:
    """Return a rule: at least these columns exist (others may: schemas grow)."""
    return Rule("columns", "has_columns", {"column_set": list(names), "exact_match": False})


def has_exactly_columns(*names: str) -> Rule:
    """Return a rule: these columns exist and no others; for tables that leave the house."""
    return Rule("columns", "has_exactly_columns", {"column_set": list(names), "exact_match": True})


def has_rows(at_least: int = 1) -> Rule:
    """Return a rule: the table is not empty."""
    return Rule("row_count", "has_rows", {"min_value": at_least})


def not_null(column: str) -> Rule:
    """Return a rule: every row has a value."""
    return Rule("not_null", f"not_null:{column}", {"column": column}, column, f"{column} IS NULL", local=True)


def one_of(column: str, values: Iterable[str]) -> Rule:
    """Return a rule: values are from a list; null is allowed."""
    broken = f"{column} NOT IN ({', '.join(map(literal, values))})"
    return Rule("one_of", f"one_of:{column}", {"column": column, "value_set": list(values)}, column, broken, local=True)


def between(column: str, low: float | None = None, high: float | None = None) -> Rule:
    """Return a rule: numbers are in a range, its ends included; null is allowed."""
    limits = ((low, "<"), (high, ">"))
    broken = " OR ".join(f"{column} {sign} {limit}" for limit, sign in limits if limit is not None)
    arguments = {"column": column, "min_value": low, "max_value": high}
    return Rule("between", f"between:{column}", arguments, column, broken, local=True)


def matches(column: str, pattern: str) -> Rule:
    """Return a rule: texts match a regular expression; null is allowed."""
    broken = f"NOT regexp_matches({column}, {literal(pattern)})"
    return Rule("matches", f"matches:{column}", {"column": column, "regex": pattern}, column, broken, local=True)


def never(name: str, sql: str, column: str | None = None, *, broken: str | None = None, local: bool = False) -> Rule:
    """Return a rule: `sql` selects nothing.

    It reads the table as `FROM {batch}` (without an alias), and another mart as `{marts.dim_users}`: in the state that the
    table was made from (`expectations.moments`). What is named `lake.raw.click_events` is read as it is now. `{now}`,
    `{history_start}` and `{known_until}`, up to when events are in the table, become timestamps. See the module's docstring
    for what it may select, and `Rule` for the rest.
    """
    return Rule("never", name, {"unexpected_rows_query": _one_line(sql)}, column, broken and _one_line(broken), local)


def aggregate(name: str, column: str | None = None, /, **facts: str) -> Rule:
    """Return a rule of aggregates over all rows, answered together with the other row rules of the table by one query.

    `unexpected` is the number of wrong rows, or `broken` a condition that must not be true; the other facts are for
    the report. Other tables and moments are named as in `never`.
    """
    packed = ", ".join(f"{fact} := {sql}" for fact, sql in facts.items())
    return Rule("aggregate", name, {"expression": f"struct_pack({packed})"}, column)


def none_where(name: str, condition: str) -> Rule:
    """Return a rule: no row fulfils `condition`."""
    rule = aggregate(name, unexpected=f"count(*) FILTER (WHERE {condition})")
    return replace(rule, broken=condition, local=True)


def unique(*columns: str) -> Rule:
    """Return a rule: no two rows have the same key. It is one aggregate over the table, not a list of all values."""
    key = columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
    name, column = f"unique:{'+'.join(columns)}", columns[0] if len(columns) == 1 else None
    rule = aggregate(name, column, unexpected=f"count(*) - count(DISTINCT {key})")
    # No one knows which of several rows is right: all of them are broken.
    return replace(rule, broken=f"count(*) OVER (PARTITION BY {', '.join(columns)}) > 1", unique=", ".join(columns))


def fresh(column: str, hours: int) -> Rule:
    """Return a rule: the newest value is not older than `hours`; an empty table is not stale."""
    stale = f"coalesce(max({column}) < {{now}} - INTERVAL {hours} HOUR, FALSE)"
    return aggregate(f"fresh:{column}", column, broken=stale, newest=f"max({column})")


def not_ahead(column: str, hours: int = 24) -> Rule:
    """Return a rule: no value lies in the future by more than `hours`."""
    ahead = f"{column} > {{now}} + INTERVAL {hours} HOUR"
    unexpected = f"count(*) FILTER (WHERE {ahead})"
    rule = aggregate(f"not_ahead:{column}", column, unexpected=unexpected, newest=f"max({column})")
    return replace(rule, broken=ahead, local=True)


def usual_volume(column: str, amount: str = "count(*)") -> Rule:
    """Return a rule: the last whole day has about as much as the same weekday of the eight weeks before.

    Median and median absolute deviation: one odd week changes neither. Silent until four such weekdays are known.
    """
    sql = f"""
        WITH days AS (
          SELECT CAST({column} AS DATE) AS day, {amount} AS amount FROM {{batch}}
          WHERE {column} >= CAST({{now}} AS DATE) - 57 AND {column} < CAST({{now}} AS DATE) GROUP BY 1
        ), last AS (
          SELECT CAST({{now}} AS DATE) - 1 AS day, coalesce(max(amount), 0) AS amount FROM days
          WHERE day = CAST({{now}} AS DATE) - 1
        ), before AS (
          SELECT count(*) AS weeks, median(amount) AS usual, mad(amount) AS spread FROM days
          WHERE day < (SELECT day FROM last) AND dayofweek(day) = (SELECT dayofweek(day) FROM last)
        )
        SELECT last.day, last.amount, round(before.usual) AS usual FROM last, before
        WHERE weeks >= {WEEKS_KNOWN} AND abs(amount - usual) > greatest({SPREADS} * 1.4826 * spread, 0.5 * usual)"""
    return never(f"usual_volume:{column}", sql, column)


def keeps_up(column: str, days: int = 1) -> Rule:
    """Return a rule: the table's newest day lies at most `days` before that of the newest search received.

    The rule is silent for an empty table.
    """
    newest = "(SELECT CAST(max(event_ts) AS DATE) FROM lake.raw.search_events)"
    behind = f"coalesce(CAST(max({column}) AS DATE) < {newest} - {days}, FALSE)"
    return aggregate(f"keeps_up:{column}", column, broken=behind, newest=f"max({column})", received=newest)


def refers(column: str, table: str, key: str = "", *, unless: str = "FALSE") -> Rule:
    """Return a rule: every value is one of `key` (default: the same name) in another table.

    Null is allowed, and so are rows that fulfil `unless`.
    """
    wanted = key or column
    sql = f"""
        WITH rows AS (SELECT {column} AS reference FROM {{batch}} WHERE {column} IS NOT NULL AND NOT ({unless}))
        SELECT count(*) AS unexpected FROM rows
        ANTI JOIN {{{table}}} AS known ON known.{wanted} = rows.reference HAVING count(*) > 0"""
    broken = f"""
        checked.{column} IS NOT NULL AND NOT ({unless})
        AND NOT EXISTS (SELECT 1 FROM {{{table}}} AS known WHERE known.{wanted} = checked.{column})"""
    return never(f"refers:{column}", sql, column, broken=broken)


def usual_size(table: str, *, least: float = 0.8, most: float | None = None) -> Rule:
    """Return a rule: the table has not lost a fifth of its rows, compared with the median of its last thirty runs, from
    five on.

    Tables that come and go have wider bounds: `least` and `most` are shares of that median.
    """
    more = "" if most is None else f" OR amount > {most} * usual"
    sql = f"""
        WITH rows AS (SELECT count(*) AS amount FROM {{batch}}), before AS (
          SELECT median(rows_in) AS usual, count(*) AS runs FROM (
            SELECT rows_in FROM lake.ops.validated_tables WHERE suite = '{table}' AND checked_at < {{now}}
            ORDER BY checked_at DESC LIMIT 30)
        )
        SELECT amount AS rows, usual FROM rows, before
        WHERE runs >= 5 AND (amount < {least} * usual{more})"""
    return never("usual_size", sql)


def _one_line(sql: str) -> str:
    return re.sub(r"\s+", " ", sql).strip()
