"""However the events come in, the models end the same: in any order, in any number of commits, with any restatement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import groupby

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchflow.transformation import bare, changes
from searchflow.transformation.reach import ChangedDays, days_to_make
from tests.models_truth.histories import FIRST, LAST, NOW, Event, Spend, histories, spendings
from tests.models_truth.support import Row, clear, comparable, store, store_spend

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")

ENVIRONMENT = "prod"


@pytest.fixture(scope="module")
def models() -> bare.BareModels:
    return bare.BareModels()


@pytest.fixture(scope="module")
def lake(models: bare.BareModels) -> Iterator[duckdb.DuckDBPyConnection]:
    with bare.warehouse() as connection:
        models.make(connection, FIRST, LAST, NOW)  # the views, and every table, empty
        yield connection


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Event]]:
    """The events of a history in any order, in up to four commits."""
    events = draw(st.permutations(draw(histories())))
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=3)))
    return [list(events[start:end]) for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True)]


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    commits=deliveries(),
    spend=st.tuples(spendings(), spendings()),
    restated=st.sets(st.integers(0, (LAST - FIRST).days), max_size=3),
)
def test_commits_one_by_one_and_days_made_again_end_where_all_at_once_does(
    lake: duckdb.DuckDBPyConnection,
    models: bare.BareModels,
    commits: list[list[Event]],
    spend: tuple[list[Spend], list[Spend]],
    restated: set[int],
) -> None:
    known = [[event for event in commit if event.ingested_at <= NOW] for commit in commits]
    empty(lake, models)
    for number, commit in enumerate(known):
        store(lake, commit, f"commit-{number}", NOW)
        if number < len(spend):  # a day that comes again is replaced
            store_spend(lake, spend[number], NOW - timedelta(hours=2 - number), f"spend-{number}")
        remake(lake, models, new_days(lake, models))
    remake(lake, models, ChangedDays.entirely(FIRST + timedelta(days=each) for each in restated))
    by_steps = contents(lake, models)

    empty(lake, models)
    store(lake, [event for commit in known for event in commit], "all", NOW)
    for number, days in enumerate(spend[: len(known)]):
        store_spend(lake, days, NOW - timedelta(hours=2 - number), f"spend-{number}")
    models.make(lake, FIRST, LAST, NOW)
    at_once = contents(lake, models)
    for name, rows in at_once.items():
        assert by_steps[name] == rows, name


def empty(lake: duckdb.DuckDBPyConnection, models: bare.BareModels) -> None:
    clear(lake)
    for name in incremental(models):
        lake.execute(f"DELETE FROM {name}")
    models.make(lake, FIRST, FIRST, NOW, only={"intermediate.int_identity"})


def incremental(models: bare.BareModels) -> list[str]:
    """The models of days: the others are made as a whole, and cannot depend on how often."""
    return [model.name for model in models.models if model.kind.is_incremental_by_time_range]


def new_days(lake: duckdb.DuckDBPyConnection, models: bare.BareModels) -> ChangedDays:
    """As a transformation finds them."""
    batches = changes.new_batches(lake, ENVIRONMENT, NOW)
    changed = changes.changed_days(
        lake,
        batches,
        gap_minutes=models.variable("session_gap_minutes"),
        window_days=models.variable("funnel_window_days"),
        identity="intermediate.int_identity",
    )
    changes.mark_seen(lake, ENVIRONMENT, batches, NOW)
    return changed


def remake(lake: duckdb.DuckDBPyConnection, models: bare.BareModels, changed: ChangedDays) -> None:
    """The days that it reaches and no others, each model over all of them before the next, as the scheduler does."""
    made = needed(models)
    for model in models.models:
        if model.name not in made:
            continue
        if not model.kind.is_incremental_by_time_range:
            models.make(lake, FIRST, FIRST, NOW, only={model.name})
            continue
        days = days_to_make(model.tags, changed, models.context.config.variables, LAST)
        for first, last in ranges(day for day in days if day >= FIRST):
            models.make(lake, first, last, NOW, only={model.name})


def needed(models: bare.BareModels) -> set[str]:
    """The models of days, and those that they are made from."""
    dag = models.context.dag
    names = {model.fqn for model in models.models if model.kind.is_incremental_by_time_range}
    names |= {above for name in names for above in dag.upstream(name)}
    return {model.name for model in models.models if model.fqn in names and not model.kind.is_view}


def ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """Neighbouring days joined."""
    runs = groupby(enumerate(sorted(days)), key=lambda each: each[1] - timedelta(days=each[0]))
    spans = [[day for _, day in run] for _, run in runs]
    return [(span[0], span[-1]) for span in spans]


def contents(lake: duckdb.DuckDBPyConnection, models: bare.BareModels) -> dict[str, list[Row]]:
    """Fractions to nine places: in which order an engine adds them up is its own affair."""
    return {name: comparable(lake.execute(f"SELECT * FROM {name}").fetchall()) for name in incremental(models)}
