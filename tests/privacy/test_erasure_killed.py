"""An erasure that is killed anywhere leaves models that the next transformation makes as a rebuild from raw would."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from searchflow import erasure, streams, warehouse
from searchflow.erasure import journal
from searchflow.erasure.certificate import subject_of
from searchflow.ingestion import worker
from searchflow.settings import Settings
from searchflow.transformation import bare, transform
from tests.conftest import running_platform
from tests.models_truth.support import comparable
from tests.privacy.company import event, killed_in, publish

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
PEOPLE = [f"kira-{number}x" for number in range(4)]
OTHERS = [f"guest-{number:02d}x" for number in range(15)]
STEPS = (
    "list the person and delete raw rows",
    "drain the streams",
    "erase from lake",
    "erase from postgres",
    "make the models again",
    "rewrite files and expire snapshots",
    "rewrite the catalog",
    "look everywhere again",
)
SEEDS = (3, 11, 27)
TABLES = (
    "intermediate.int_identity",
    "intermediate.int_session_days",
    "intermediate.int_search_sessions",
    "intermediate.int_user_journeys",
    "intermediate.int_user_days",
    "marts.fct_search_funnel",
    "marts.fct_search_funnel_daily",
    "marts.mart_campaign_attribution",
    "marts.mart_attribution_markov",
    "marts.mart_user_segment_history",
    "marts.dim_users",
)
OF_THE_RUN = {"made_at", "known_until", "segment_as_of"}
"""Columns that say when a row was made."""


def visits() -> list[dict[str, Any]]:
    """Sessions over 45 days; each third has one of PEOPLE in it, before or after the other user logs in."""
    draw, documents = random.Random(7), list[dict[str, Any]]()

    def add(kind: str, hours: float, session: str, user: str | None, **more: Any) -> str:
        documents.append(event(kind, 10_000 + len(documents), hours, session, user, **more))
        return str(documents[-1]["event_id"])

    def visit(session: str, user: str, hours: float, books: bool) -> None:
        source = draw.choice(
            [{}, {"utm_source": "google", "utm_medium": "cpc"}, {"utm_source": "news", "utm_medium": "email"}]
        )
        add("search", hours + 0.03, session, None, **source)
        search = add("search", hours, session, user, **source)
        click = add("click", hours - 0.01, session, user, search_event_id=search)
        if books:
            add("conversion", hours - 0.02, session, user, click_event_id=click)

    for number in range(90):
        hours, session = draw.uniform(30, 45 * 24), f"web-{number:03d}"
        visit(session, draw.choice(OTHERS), hours, books=draw.random() < 0.4)
        if number % 3 == 0:
            visit(session, draw.choice(PEOPLE), hours + draw.choice((-0.2, 0.2)), books=draw.random() < 0.5)
    return documents


@pytest.fixture(scope="module")
def crowd() -> Iterator[Settings]:
    """All of them in the models, which are what a rebuild makes."""
    with running_platform() as settings:
        publish(settings, visits())
        for kind in streams.EVENT_TYPES:
            worker.ingest_stream(settings, kind)
        assert transformed(settings) == {}
        yield settings


def differences(settings: Settings, now: datetime) -> dict[str, tuple[int, int]]:
    """Table -> (rows that a rebuild has not, rows that only a rebuild has)."""
    found, plain = {}, now.astimezone(UTC).replace(tzinfo=None)
    with warehouse.connect(settings, read_only=True) as lake, bare.warehouse() as rebuilt:
        for table in (*(f"raw.{kind}_events" for kind in streams.EVENT_TYPES), "raw.ad_spend", "raw.user_profiles"):
            rebuilt.register("rows", lake.execute(f"SELECT * FROM {table}").to_arrow_table())
            rebuilt.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")
            rebuilt.unregister("rows")
        bare.BareModels().make(rebuilt, plain.date() - timedelta(days=60), plain.date(), plain)
        for table in TABLES:
            columns = [name for name, *_ in rebuilt.execute(f"DESCRIBE {table}").fetchall() if name not in OF_THE_RUN]
            query = f"SELECT {', '.join(columns)} FROM {table}"
            here, there = (comparable(each.execute(query).fetchall()) for each in (lake, rebuilt))
            if here != there:
                found[table] = (
                    len([row for row in here if row not in there]),
                    len([row for row in there if row not in here]),
                )
    return found


def transformed(settings: Settings) -> dict[str, tuple[int, int]]:
    now = worker.utc_now()
    transform(settings, now=now)
    return differences(settings, now)


def test_killed_once_the_raw_rows_are_gone_the_next_transformation_is_right(crowd: Settings) -> None:
    killed = killed_in(crowd, PEOPLE[0], "drain the streams", "0.0")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert journal.load(crowd, subject_of(crowd, PEOPLE[0])) is not None  # not finished
    assert transformed(crowd) == {}


@pytest.mark.parametrize(
    ("seed", "person"),
    [
        pytest.param(seed, person, marks=pytest.mark.long if seed != SEEDS[0] else ())
        for seed, person in zip(SEEDS, PEOPLE[1:], strict=True)
    ],
)
def test_killed_at_random_the_next_transformation_is_right(crowd: Settings, seed: int, person: str) -> None:
    draw = random.Random(seed)
    step, delay = draw.choice(STEPS), draw.uniform(0, 1.5)
    ended = killed_in(crowd, person, step, f"{delay:.2f}")
    assert ended.returncode in (0, -signal.SIGKILL), (step, delay, ended.stderr[-2000:])
    assert transformed(crowd) == {}, (step, delay)


def test_called_again_the_erasure_ends(crowd: Settings) -> None:
    erasure.forget(crowd, PEOPLE[0], clock=worker.utc_now)
    with pytest.raises(erasure.UnknownPerson):
        erasure.look(crowd, PEOPLE[0], clock=worker.utc_now)
    assert transformed(crowd) == {}
