"""A soak from beginning to end: prepare two homes, play the acts, come to rest, and judge."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import generators
from generators.runs import next_range
from searchflow import lifecycle, streams, warehouse
from searchflow.garbage import collect_rarely
from tests.activations.post import free_port
from tests.chaos.soak import acts, books, journal, judgement, observer, resources, truth
from tests.chaos.soak.books import Books, Noting
from tests.chaos.soak.home import COMMAND_SECONDS, Platform, copy_of_the_tree
from tests.chaos.soak.journal import ALARM, STATUS, Expected, Journal
from tests.chaos.soak.judgement import Evidence
from tests.chaos.soak.observer import Observer
from tests.chaos.soak.report import Outcome
from tests.chaos.soak.scene import Post, Scene, profiles, say
from tests.chaos.soak.traffic import Producer, Travellers
from tests.chaos.soak.verdict import Finding
from tests.ops.receiver import Receiver, receiving

HISTORY_DAYS, HISTORY_EVENTS = 10, 30_000
"""So many that a burst does not change half of the people in the CRM: a sync stops before it sends that."""
PREPARATION = timedelta(hours=2)
"""The home is made so long before the first day, by its clock: however long that takes, the day begins in time."""
NAMES = {act.__name__: act for act in acts.WHOLE_DAY}
LONG, WEEK = 10.0, 100.0
"""Minutes from which all acts are played, and from which a week is."""


def soak(
    folder: Path, minutes: float, seed: int, patience: float = 1.0, chosen: Sequence[str] | None = None
) -> Outcome:
    """Play for so many minutes and judge. Leaves nothing running."""
    _clean_environment()
    collect_rarely()
    days = 7 if minutes >= WEEK else 1
    with _scene(folder, minutes, seed, days) as scene:
        scene.patience = patience
        scene.platform.longest = scene.other.longest = COMMAND_SECONDS * patience
        for day in range(days):
            _play_day(scene, day, minutes * 60 / days, _acts(scene, chosen))
        return _judge(scene, _come_to_rest(scene))


def _clean_environment() -> None:
    """This process reads no setting from outside, and no `.env`."""
    for name in [name for name in os.environ if name.startswith(("SEARCHFLOW_", "PREFECT_"))]:
        del os.environ[name]
    os.environ["SEARCHFLOW_ENV_FILE"] = ""


@contextmanager
def _scene(folder: Path, minutes: float, seed: int, days: int) -> Iterator[Scene]:
    draw, post, tree = Random(seed), Post(free_port()), copy_of_the_tree(folder)
    first = _first_day(minutes * 60 / days, days)
    offset = first - PREPARATION - datetime.now(UTC)
    with receiving() as receiver, contextlib.ExitStack() as stack:
        platform, other = (
            Platform(folder / name, _settings(receiver, name, post), tree=tree, offset=offset)
            for name in (observer.FIRST, observer.OTHER)
        )
        stack.callback(post.close)
        for each in (platform, other):
            stack.callback(each.run, "down")
        post.open()
        sent, world = _prepare(platform, draw.getrandbits(16))
        producer = Producer(platform.settings, sent, platform.now, draw.getrandbits(32))
        began = time.monotonic()
        looking = Observer(platform, folder, began)
        travellers = Travellers(producer, world, acts.CALM)
        scene = Scene(
            folder, platform, other, Journal(folder), sent, Books(), producer, travellers, receiver, post, looking, draw,
            minutes * 60, first, began, seed=seed,
        )  # fmt: skip
        yield scene


def _first_day(seconds: float, days: int) -> datetime:
    """Minutes before a midnight: the last of a past month that ends in the middle of the days that are played. In the past,
    because SQLMesh makes nothing of the future."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month_end = (today - timedelta(days=days)).replace(day=1)
    before = seconds * 0.5 + 20  # `up` starts
    return month_end - timedelta(days=days // 2) - timedelta(seconds=before)


def _settings(receiver: Receiver, name: str, post: Post) -> dict[str, str]:
    """Of a home's processes."""
    return {
        "SEARCHFLOW_WEBHOOK_URL": f"{receiver.url}/{name}",
        "SEARCHFLOW_SMTP_URL": f"smtp+plain://127.0.0.1:{post.port}",
        "SEARCHFLOW_EMAIL_FROM": "Example Travel <hello@example.com>",
        "SEARCHFLOW_EMAIL_UNSUBSCRIBE_URL": "https://www.example.com/out?t={token}",
        "SEARCHFLOW_EMAIL_SEARCH_URL": "https://www.example.com/s?q={query}",
        "SEARCHFLOW_EMAIL_QUIET_HOURS": "0-0",
    }


def _prepare(platform: Platform, seed: int) -> tuple[Books, generators.SimulationSettings]:
    """The days before: history, feeds, and the first models in production."""
    say("preparing a home with history")
    sent, settings = Books(), platform.settings
    lifecycle.start(settings)
    wanted = next_range(None, platform.now(), days=HISTORY_DAYS, events=HISTORY_EVENTS, seed=seed)
    with streams.connect(settings) as client:
        generators.publish_range(settings, wanted, Noting(client, sent), quiet=True)
    (settings.feeds_dir / "user_profiles_soak.csv").write_text(profiles(platform.now()))
    for command in (["ingest"], ["deploy", "--yes"], ["validate"], ["activate"]):
        done = platform.run(*command)
        assert done.returncode == 0, done.stderr[-2000:]
    return sent, wanted.simulation


def _acts(scene: Scene, chosen: Sequence[str] | None) -> list[acts.Act]:
    """Of one day: those that were asked for, or the day's in an order that the seed gives."""
    if chosen is not None:
        return [NAMES[name] for name in chosen]
    whole = list(acts.WHOLE_DAY if scene.seconds >= LONG * 60 else acts.SHORT)
    first, rest = whole[:3], whole[3:]
    scene.draw.shuffle(rest)
    return [*first, *rest]


def _play_day(scene: Scene, day: int, seconds: float, waiting: list[acts.Act]) -> None:
    """All acts of one day, spread over the time there is."""
    _night(scene) if day else _up(scene)
    end = time.monotonic() + seconds
    with _monitored(scene):
        while waiting:
            waiting.pop(0)(scene)
            time.sleep(max(0.0, min(end - time.monotonic(), seconds) / (len(waiting) + 1) - 20) if waiting else 0)
        acts.midnight(scene)
        time.sleep(max(0.0, end - time.monotonic()))


@contextmanager
def _monitored(scene: Scene) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=acts.monitoring, args=(scene, stop), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(150)


def _up(scene: Scene) -> None:
    for home in (scene.platform, scene.other):
        home.move_clock(scene.first - datetime.now(UTC))
    scene.next_day()
    # Travellers send from the first second; ingestion begins some twenty seconds after `up`.
    starting = (Expected(STATUS, "service *", 60), Expected(ALARM, "ingestion_lag/*", 90))
    with scene.cause("up", *starting):
        scene.command("up", "--rate", "0", "--json")
        scene.observer.__enter__()
    scene.travellers.start()


def _night(scene: Scene) -> None:
    """Stop in order, sleep for most of a day, and start again."""
    with scene.cause("night", Expected(STATUS, "service *", 60), *acts.AFTER_A_KILL[1:]), scene.away():
        scene.travellers.change(0.2)
        scene.drained(scene.platform)
        scene.command("down")
        if scene.other.settings.run_dir.exists():
            scene.command("down", of=scene.other)
        began, offset = scene.clocks[-1]
        for home in (scene.platform, scene.other):
            home.move_clock(offset + timedelta(days=1) - (datetime.now(UTC) - began))
        scene.next_day()
        scene.command("up", "--rate", "0", "--json")
        scene.travellers.change(acts.CALM)


def _come_to_rest(scene: Scene) -> Evidence:
    """No more traffic: everything that was sent goes all the way, monitoring looks a last time, and what it told is kept."""
    say("coming to rest")
    scene.travellers.stop()
    if scene.travellers.problem:
        scene.findings.append(Finding("traffic", scene.travellers.problem))
    scene.drained(scene.platform)
    for deployment in ("activate", "deliver", "monitor"):  # the suites of its gates run in front of a sync
        scene.deployment(deployment, seconds=400)
    end, settings = scene.platform.now(), scene.platform.settings
    scene.observer.__exit__()
    told, received = observer.of_receiver(scene.receiver)
    found = [*told, *observer.of_prefect(scene.platform, scene.moved)]
    with warehouse.connect(settings, read_only=True) as connection:
        found += observer.of_tables(connection)
    for each in found:
        journal.observed(scene.folder, each)
    observations = journal.read_observations(scene.folder)
    notices = observer.noted(scene.platform, received)
    rebuilt = scene.rebuilt().settings
    samples, parts = scene.observer.samples, scene.parts
    return Evidence(
        settings, rebuilt, scene.folder / "marts", scene.books, scene.journal.causes, observations, end, notices,
        samples=samples, parts=parts,
    )  # fmt: skip


def _judge(scene: Scene, evidence: Evidence) -> Outcome:
    """Books, marts, destinations and mail, with nothing running but servers."""
    say("judging")
    scene.command("down")
    if scene.other.settings.run_dir.exists():  # it was played
        scene.command("down", of=scene.other)
        scene.findings += _other_books(scene)
    lifecycle.start(evidence.settings)
    try:
        _rebuild(scene, evidence)
        scene.command("activate", "--json")
        evidence.mails = scene.mails()
        scene.findings += judgement.findings(evidence)
    finally:
        lifecycle.stop_all(evidence.rebuilt)
    return Outcome(
        scene.seconds / 60, scene.seed, scene.days, evidence.causes, evidence.matched, scene.findings,
        scene.books.lines, len(evidence.mails), scene.observer.looks, scene.said, resources.quarters(evidence.samples),
    )  # fmt: skip


def _other_books(scene: Scene) -> list[Finding]:
    lifecycle.start(scene.other.settings)
    with warehouse.connect(scene.other.settings, read_only=True) as connection:
        found = list(books.balance(connection, scene.other_books))
    lifecycle.stop_all(scene.other.settings)
    return [Finding(f"other home: {each.rule}", each.text) for each in found]


def _rebuild(scene: Scene, evidence: Evidence) -> None:
    """Marts at one moment: as they became by days of small runs, and made from raw in a third home at once."""
    at, rebuilt = scene.platform.now().isoformat(), scene.rebuilt()
    lifecycle.start(evidence.rebuilt)
    truth.copy_raw(evidence.settings, evidence.rebuilt, scene.folder / "raw")
    for home in (scene.platform, rebuilt):
        command = [sys.executable, "-m", "tests.chaos.soak.make", at]
        done = subprocess.run(command, cwd=home.tree, env=home.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            scene.findings.append(Finding("rebuild", done.stderr.strip()[-800:]))
