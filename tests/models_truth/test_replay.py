"""However the events come in, the models end the same: in any order, in any number of commits, at any moments, with any
restatement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import groupby

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from searchflow.erasure import lake as erasing
from searchflow.erasure import person
from searchflow.erasure.place import Job
from searchflow.settings import load_settings
from searchflow.transformation import bare, changes
from searchflow.transformation.reach import ChangedDays, days_to_make
from tests.models_truth.histories import FIRST, LAST, NOW, Event, Spend, histories, spendings
from tests.models_truth.support import Row, clear, comparable, store, store_spend
from tests.reference.events import utc

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")

ENVIRONMENT = "prod"
MOMENTS = (datetime(2026, 3, 9, 6), datetime(2026, 3, 30, 12), NOW)  # noqa: DTZ001  (UTC, as the warehouse keeps it)
"""When transformations run: limits of segments pass between them without any event."""
WHOLE = ("marts.dim_users", "marts.mart_user_segments", "marts.mart_segment_transitions")
"""Made as a whole, from rows that are not."""
OF_THE_RUN = {"made_at"}
"""Columns that say when a row was made, and so differ."""


@pytest.fixture(scope="module")
def models() -> bare.BareModels:
    return bare.BareModels()


@pytest.fixture(scope="module")
def lake(models: bare.BareModels) -> Iterator[duckdb.DuckDBPyConnection]:
    with bare.warehouse() as connection:
        models.make(connection, FIRST, LAST, NOW)  # the views, and every table, empty
        yield connection


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[datetime, list[Event]]]:
    """The events of a history in any order, in up to four commits, each with the moment of its transformation."""
    events = draw(st.permutations([event for event in draw(histories()) if event.ingested_at <= NOW]))
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=3)))
    parts = [list(events[start:end]) for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    moments = sorted(draw(st.lists(st.sampled_from(MOMENTS), min_size=len(cuts), max_size=len(cuts))))
    commits: list[tuple[datetime, list[Event]]] = []
    waiting: list[Event] = []
    for moment, part in zip([*moments, NOW], parts, strict=True):  # what has not happened yet waits
        waiting += part
        here = [event for event in waiting if utc(event.fields["timestamp"]) <= moment]
        waiting = [event for event in waiting if event not in here]
        commits.append((moment, [replace(event, ingested_at=moment) for event in here]))
    return commits


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    commits=deliveries(),
    spend=st.tuples(spendings(), spendings()),
    restated=st.sets(st.integers(0, (LAST - FIRST).days), max_size=3),
)
def test_commits_one_by_one_and_days_made_again_end_where_all_at_once_does(
    lake: duckdb.DuckDBPyConnection,
    models: bare.BareModels,
    commits: list[tuple[datetime, list[Event]]],
    spend: tuple[list[Spend], list[Spend]],
    restated: set[int],
) -> None:
    empty(lake, models)
    before = FIRST
    for number, (moment, commit) in enumerate(commits):
        store(lake, commit, f"commit-{number}", moment)
        if number < len(spend):  # a day that comes again is replaced
            store_spend(lake, spend[number], NOW - timedelta(hours=2 - number), f"spend-{number}")
        since = ChangedDays.entirely(days_between(before, moment.date()))  # which no run has made yet
        remake(lake, models, new_days(lake, models, moment) | since, moment)
        before = moment.date()
    remake(lake, models, ChangedDays.entirely(FIRST + timedelta(days=each) for each in restated), NOW)
    by_steps = contents(lake, models)

    empty(lake, models)
    store(lake, [event for _, commit in commits for event in commit], "all", NOW)
    for number, days in enumerate(spend[: len(commits)]):
        store_spend(lake, days, NOW - timedelta(hours=2 - number), f"spend-{number}")
    models.make(lake, FIRST, LAST, NOW)
    at_once = contents(lake, models)
    for name, rows in at_once.items():
        assert by_steps[name] == rows, name


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(events=histories(), which=st.integers(0, 3))
def test_an_erasure_ends_where_a_history_without_the_person_does(
    lake: duckdb.DuckDBPyConnection, models: bare.BareModels, events: list[Event], which: int
) -> None:
    """In one commit it takes the person's rows and says which days to make again; nothing else may be needed."""
    known = [event for event in events if event.ingested_at <= NOW and utc(event.fields["timestamp"]) <= NOW]
    users = sorted({user for event in known if (user := event.fields.get("user_id"))})
    assume(users)
    empty(lake, models)
    store(lake, known, "all", NOW)
    models.make(lake, FIRST, LAST, NOW)
    new_days(lake, models, NOW)  # they are made
    erase(lake, models, users[which % len(users)])
    remake(lake, models, new_days(lake, models, NOW), NOW)
    by_marks = contents(lake, models)

    for name in incremental(models):
        lake.execute(f"DELETE FROM {name}")
    models.make(lake, FIRST, LAST, NOW)
    for name, rows in contents(lake, models).items():
        assert by_marks[name] == rows, name


def erase(lake: duckdb.DuckDBPyConnection, models: bare.BareModels, user: str) -> None:
    """What an erasure commits."""
    job = Job(load_settings(), "erasure", person.find(lake, user), NOW)
    reach = models.variable("session_gap_minutes"), models.variable("funnel_window_days")
    erasing.remove(lake, job, erasing.look_up(lake, job, reach), NOW)


def empty(lake: duckdb.DuckDBPyConnection, models: bare.BareModels) -> None:
    clear(lake)
    for name in incremental(models):
        lake.execute(f"DELETE FROM {name}")


def incremental(models: bare.BareModels) -> list[str]:
    """The models of days and keys: the others are made as a whole, and cannot depend on how often."""
    return [model.name for model in models.models if model.kind.is_incremental or model.kind.is_custom]


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=each) for each in range((last - first).days + 1)]


def new_days(lake: duckdb.DuckDBPyConnection, models: bare.BareModels, now: datetime) -> ChangedDays:
    """As a transformation finds them."""
    batches = changes.new_batches(lake, ENVIRONMENT, now)
    changed = changes.changed_days(
        lake,
        batches,
        gap_minutes=models.variable("session_gap_minutes"),
        window_days=models.variable("funnel_window_days"),
        identity="intermediate.int_identity",
    )
    changes.mark_seen(lake, ENVIRONMENT, batches, now)
    return changed


def remake(lake: duckdb.DuckDBPyConnection, models: bare.BareModels, changed: ChangedDays, now: datetime) -> None:
    """The days that it reaches and no others, each model over all of them before the next, as the scheduler does."""
    made = needed(models)
    for model in models.models:
        if model.name not in made:
            continue
        if not model.kind.is_incremental:
            models.make(lake, FIRST, FIRST, now, only={model.name})
            continue
        days = days_to_make(model.tags, changed, models.context.config.variables, now.date())
        for first, last in ranges(day for day in days if day >= FIRST):
            models.make(lake, first, last, now, only={model.name})


def needed(models: bare.BareModels) -> set[str]:
    """The models that are compared, and those that they are made from."""
    dag = models.context.dag
    compared = {*incremental(models), *WHOLE}
    names = {model.fqn for model in models.models if model.name in compared}
    names |= {above for name in names for above in dag.upstream(name)}
    return {model.name for model in models.models if model.fqn in names and not model.kind.is_view}


def ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """Neighbouring days joined."""
    runs = groupby(enumerate(sorted(days)), key=lambda each: each[1] - timedelta(days=each[0]))
    spans = [[day for _, day in run] for _, run in runs]
    return [(span[0], span[-1]) for span in spans]


def contents(lake: duckdb.DuckDBPyConnection, models: bare.BareModels) -> dict[str, list[Row]]:
    """Fractions to nine places: in which order an engine adds them up is its own affair."""
    rows = {}
    for name in [*incremental(models), *WHOLE]:
        columns = [row[0] for row in lake.execute(f"DESCRIBE {name}").fetchall() if row[0] not in OF_THE_RUN]
        quoted = ", ".join(f'"{column}"' for column in columns)
        rows[name] = comparable(lake.execute(f"SELECT {quoted} FROM {name}").fetchall())
    return rows
