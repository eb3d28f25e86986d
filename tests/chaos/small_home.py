"""A small home in which everything ran once: what the soak gathers of it, as evidence that tests spoil one fact at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg

import activations
import generators
from activations import mail
from generators.runs import next_range
from searchflow import lifecycle, status, streams, transformation, warehouse
from searchflow.clock import utc_now
from searchflow.ingestion import feeds, worker
from searchflow.ops import levels
from searchflow.services import postgres
from searchflow.settings import Settings
from tests import clusters
from tests.chaos.soak import observer, truth
from tests.chaos.soak.books import Books, Noting
from tests.chaos.soak.journal import ALARM, STATUS, Cause, Expected
from tests.chaos.soak.judgement import Evidence
from tests.chaos.soak.resources import Sample
from tests.chaos.soak.scene import WRITTEN_TO, Post, profiles
from tests.chaos.soak.traffic import Producer
from tests.chaos.soak.truth import Mail
from tests.conftest import temporary_home
from tests.ops.receiver import Receiver

MADE = itertools.count(1)


@dataclass
class Small:
    """A home in which everything ran once and everything is as it should be."""

    settings: Settings
    evidence: Evidence
    post: Post
    receiver: Receiver
    notice: dict[str, Any]

    def lake(self, *statements: str) -> None:
        with warehouse.connect(self.settings) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, question: str) -> list[tuple[Any, ...]]:
        with warehouse.connect(self.settings, read_only=True) as connection:
            return connection.execute(question).fetchall()

    def looked_again(self) -> Evidence:
        """The evidence with notices, alarms and mail as they are now."""
        told, received = observer.of_receiver(self.receiver)
        with psycopg.connect(postgres.conninfo(self.settings, "ledger")) as connection:
            noted = [row[0] for row in connection.execute("SELECT notice_id::text FROM monitoring.notices").fetchall()]
        with warehouse.connect(self.settings, read_only=True) as connection:
            told += observer.of_tables(connection)
        notices = observer.Notices(tuple(noted), received, tuple(noted))
        seen = [each for each in self.evidence.observations if each.kind == STATUS]
        return replace(self.evidence, observations=[*told, *seen], notices=notices, mails=taken(self.post))


def taken(post: Post) -> list[Mail]:
    return [Mail(str(each["Message-ID"]), str(each["To"].addresses[0].username), utc_now()) for each in post.taken]


@contextmanager
def home_beside(platform: Settings, **more: Any) -> Iterator[Settings]:
    """A home on the session's servers."""
    with temporary_home() as folder:
        settings = clusters.beside(platform, folder, f"planted{next(MADE)}_", **more)
        clusters.start_beside(platform, settings)
        yield settings
        lifecycle.stop_all(settings)


def play(settings: Settings, rebuilt: Settings, post: Post, receiver: Receiver, folder: Path) -> Small:
    """History, a bad producer whose alarm is told, models, gates, syncs and mail; then the models once more from raw."""
    from expectations import validate

    books, causes = Books(), []
    producer = Producer(settings, books, utc_now, seed=1)
    with streams.connect(settings) as client:
        wanted = next_range(None, utc_now(), days=4, events=500, seed=5)
        generators.publish_range(settings, wanted, Noting(client, books), quiet=True)
    (settings.feeds_dir / "user_profiles_soak.csv").write_text(profiles(utc_now()))
    producer.searches(1, timedelta(hours=5), user_id=WRITTEN_TO[0])
    told = Expected(ALARM, "dead_letters/all events", 900, must=True)
    causes.append(Cause(1, "bad producer", utc_now(), None, "", [told]))
    producer.broken(100)
    for event_type in streams.EVENT_TYPES:
        worker.ingest_stream(settings, event_type)
    notice = tell(settings)  # before the feeds: their rows count as received, too
    feeds.ingest_feeds(settings, settings.feeds_dir, now=utc_now())
    transformation.transform(settings, now=utc_now())
    validate(settings, "all", now=utc_now(), build_report=False)
    for name in activations.load_syncs():
        activations.run_sync(settings, name, now=utc_now(), approve=True)
    mail.deliver(settings, clock=utc_now, run_id="planted")
    moment = utc_now()  # what the syncs did is in the marts about them
    transformation.transform(settings, now=moment)
    truth.copy_raw(settings, rebuilt, folder / "raw")
    transformation.transform(rebuilt, now=moment)
    evidence = Evidence(
        settings, rebuilt, folder / "marts", books, causes, [], utc_now(), observer.Notices(), samples=steady()
    )
    return Small(settings, evidence, post, receiver, notice)


def tell(settings: Settings) -> dict[str, Any]:
    """What a run of monitoring does about the dead letters; returns the notice."""
    state = status.collect(settings, now=utc_now())
    letters = [each for each in state.levels if each.level == "dead_letters"]
    [notice] = levels.note_changes(settings, letters, now=utc_now())
    assert levels.deliver(settings, now=utc_now(), emit=lambda *_: None).webhooks == 1
    return notice


def steady() -> list[Sample]:
    """Two hours of a process that neither grows nor rests."""
    draw = Random(3)
    return [
        Sample(
            at * 60.0,
            {
                "memory_mb flows": 100 + draw.uniform(-4, 4),
                "descriptors flows": 40 + draw.randint(-2, 2),
                "connections": 20 + draw.randint(-3, 3),
                "catalog_rows_a_snapshot": 8 + draw.uniform(0, 1),
                "files_a_table": 10 + draw.randint(0, 5),
            },
        )
        for at in range(120)
    ]


def growing(name: str, a_minute: float) -> list[Sample]:
    return [
        replace(each, figures={**each.figures, name: each.figures[name] + a_minute * each.at / 60}) for each in steady()
    ]
