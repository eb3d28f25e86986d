"""What happens on a working day, one function each: the cause into the journal with what it must produce, then the cause."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from searchflow.services import postgres, prefect, valkey
from tests.chaos.soak.books import ERASED, REPLAYED
from tests.chaos.soak.journal import ALARM, FAILED_RUN, STATUS, Expected
from tests.chaos.soak.scene import FORGOTTEN, WRITTEN_TO, Scene

SEEN, TOLD, OVER = 120.0, 180.0, 600.0
"""Seconds: until `status` shows it, until monitoring has told it, and until the next run of everything has gone well."""
CALM, BURST = 10.0, 1000.0
"""Events a second."""
AFTER_A_KILL = (
    Expected(FAILED_RUN, "*", SEEN),
    Expected(ALARM, "nothing_failing/*", OVER),
    Expected(ALARM, "few_errors/*", 24 * 3600.0),
    Expected(ALARM, "services_up/*", SEEN),
    Expected(ALARM, "ingestion_lag/*", OVER),
    Expected(STATUS, "service *", SEEN),
)
"""Runs that were under way end badly, and that is told. Nothing else is."""


def burst(scene: Scene) -> None:
    """A campaign begins: a hundred times the traffic for some seconds. Nothing is told."""
    with scene.cause("burst", detail=f"{BURST:.0f} events/s"):
        scene.travellers.change(BURST)
        time.sleep(min(8.0, scene.seconds / 30))
        scene.travellers.change(CALM)


def late(scene: Scene) -> None:
    """Events of yesterday and of last week come in, and some twice. Nothing is told."""
    with scene.cause("late events and repeats"):
        for ago in (timedelta(hours=3), timedelta(days=1), timedelta(days=6)):
            scene.producer.searches(20, ago)
        scene.producer.repeated(10)


def new_field(scene: Scene) -> None:
    """A producer adds a field. Nothing is told."""
    with scene.cause("new field"):
        scene.producer.searches(20, soak_flavour=f"kind {scene.draw.randrange(9)}")


def some_broken(scene: Scene) -> None:
    """A few broken events, as every day. Nothing is told."""
    with scene.cause("a few broken events"):
        scene.broken_before += scene.producer.broken(5)


def bad_producer(scene: Scene) -> None:
    """A producer sends numbers as texts: one event in ten is refused, that is told, and they are replayed."""
    count = math.ceil(0.1 * scene.books.lines) + 20
    told = Expected(ALARM, "dead_letters/all events", TOLD, must=True)
    with scene.cause("bad producer", told, Expected(ALARM, "dead_letters/all events", 3600.0), detail=f"{count} lines"):
        ids = scene.producer.broken(count)
        scene.drained(scene.platform)
        scene.looked()
        scene.deployment("monitor")
    with scene.cause("replay", detail=f"{count} dead letters"):
        fix = ("--fix", "cast_field", "--param", "field=results_count", "--param", "to=integer")
        scene.books.change("search", [*ids, *scene.broken_before], REPLAYED)
        scene.broken_before.clear()
        scene.command("dlq", "replay", "--reason", "wrong_type", *fix, "--json")


def maintenance(scene: Scene) -> None:
    """The hourly upkeep. Nothing is told."""
    with scene.cause("maintenance"):
        scene.deployment("maintain", seconds=600)


def quality(scene: Scene) -> None:
    """The suites run, and the syncs behind them. Nothing is told."""
    with scene.cause("validation and syncs"):
        scene.deployment("validate", seconds=400)
        scene.deployment("activate", seconds=400)


def erasure(scene: Scene) -> None:
    """A person is forgotten beside all of it. Nothing is told, and ingestion goes on."""
    person = FORGOTTEN[scene.days]
    ids = scene.producer.searches(8, user_id=person)
    scene.drained(scene.platform)
    with scene.cause("erasure"):
        scene.books.change("search", ids, ERASED)
        scene.command("forget", person, "--yes", "--json")


def stream_server_killed(scene: Scene) -> None:
    """Valkey is killed, that is told, and `up` brings it back."""
    expects = (
        Expected(STATUS, "service stream server", SEEN, must=True),
        Expected(ALARM, "services_up/stream server", TOLD, must=True),
    )
    with scene.cause("stream server killed", *expects, *AFTER_A_KILL), scene.away():
        scene.platform.kill(valkey.NAME)
        scene.looked()
        scene.deployment("monitor", wanted=None)
        scene.command("up", "--rate", "0", "--json")


def database_killed(scene: Scene) -> None:
    """PostgreSQL is killed: nothing can be told but by `status`; `up` brings it back."""
    expects = (Expected(STATUS, "service PostgreSQL", SEEN, must=True), Expected(STATUS, "service *", SEEN))
    with scene.cause("PostgreSQL killed", *expects, *AFTER_A_KILL), scene.away():
        scene.platform.kill(postgres.NAME)
        scene.looked()
        scene.command("up", "--rate", "0", "--json")


def prefect_killed(scene: Scene) -> None:
    """The Prefect server is killed; `up` brings it back."""
    expects = (Expected(STATUS, "service Prefect server", SEEN, must=True),)
    with scene.cause("Prefect server killed", *expects, *AFTER_A_KILL), scene.away():
        scene.platform.kill(prefect.NAME)
        scene.looked()
        scene.command("up", "--rate", "0", "--json")


def runner_killed(scene: Scene) -> None:
    """The process that runs the deployments is killed with its runs; `up` brings it back."""
    expects = (Expected(STATUS, "service flows", SEEN, must=True),)
    with scene.cause("runner killed", *expects, *AFTER_A_KILL), scene.away():
        scene.platform.kill("flows")
        scene.looked()
        scene.command("up", "--rate", "0", "--json")


def destination_gone(scene: Scene) -> None:
    """The mail server is away for a minute while messages are due: told once, and each message is sent once after."""
    expects = (
        Expected(FAILED_RUN, "stage delivery", TOLD, must=True),
        Expected(FAILED_RUN, "flow delivery", TOLD, must=True),
        Expected(ALARM, "nothing_failing/stage delivery", TOLD, must=True),
        Expected(ALARM, "few_errors/stage delivery", 24 * 3600.0),
    )
    person = scene.next_to_write_to()
    scene.producer.searches(1, timedelta(hours=5), user_id=person)
    scene.post.close()
    try:
        scene.seen(f"SELECT 1 FROM activation.act_abandoned_search_emails WHERE user_id = '{person}'")
        scene.deployment("activate", seconds=400)
        with scene.cause("mail server away", *expects):
            scene.deployment("deliver", wanted="FAILED")
            scene.looked()
            scene.deployment("monitor")
    finally:
        scene.post.open()
    scene.deployment("deliver")


def deploys(scene: Scene) -> None:
    """A good change is promoted, a bad one refused; both beside everything else. Nothing is told."""
    models = scene.platform.tree / "models" / "marts"
    with scene.cause("good deploy"):
        (models / "mart_soak_daily.sql").write_text(GOOD_MODEL)
        (scene.platform.tree / "tests" / "models" / "test_mart_soak_daily.yaml").write_text(GOOD_TEST)
        scene.command("deploy", "--yes")
        scene.command("query", "SELECT count(*) FROM marts.mart_soak_daily", "--json")
    daily = models / "fct_search_funnel_daily.sql"
    before = daily.read_text()
    with scene.cause("bad deploy"):
        _spoil(daily, before)
        scene.command("deploy", "--yes", status=1)
        daily.write_text(before)


GOOD_MODEL = """/* Searches a day: one row per day. A model of the soak. */
MODEL (
  name marts.mart_soak_daily,
  owner soak,
  kind FULL,
  grain search_date,
  audits (
    UNIQUE_VALUES(columns := (
      search_date
    )),
    NOT_NULL(columns := (search_date, searches))
  )
);

SELECT
  search_date::DATE AS search_date, /* The day, UTC */
  COUNT(*)::BIGINT AS searches /* Searches of that day */
FROM marts.fct_search_funnel
GROUP BY
  search_date
"""


GOOD_TEST = """test_a_day_counts_its_searches:
  model: marts.mart_soak_daily
  inputs:
    marts.fct_search_funnel:
      rows:
      - {search_event_id: a, search_date: '2026-03-01'}
      - {search_event_id: b, search_date: '2026-03-01'}
  outputs:
    query:
      rows:
      - {search_date: '2026-03-01', searches: 2}
"""


def _spoil(path: Path, text: str) -> None:
    """A change that its unit test catches."""
    spoilt = text.replace("COUNT(*)", "COUNT(*) + 1", 1)
    assert spoilt != text
    path.write_text(spoilt)


def second_home(scene: Scene) -> None:
    """Another home with servers of its own runs beside the first, with other events."""
    other = scene.other
    with scene.cause("second home"):
        scene.command("up", "--rate", "0", "--json", of=other)
        scene.other_producer.searches(200)
        scene.drained(other, 300)


def midnight(scene: Scene) -> None:
    """Wait for the day to end, if it has not."""
    day = scene.midnight
    with scene.cause("midnight", detail=f"{day:%Y-%m-%d}"):
        while scene.platform.now() < day + timedelta(seconds=2):
            time.sleep(0.5)


Act = Callable[[Scene], None]
SHORT: tuple[Act, ...] = (
    burst, late, new_field, some_broken, stream_server_killed, maintenance, bad_producer, erasure, second_home,
)  # fmt: skip
"""Of a soak of a few minutes."""
WHOLE_DAY: tuple[Act, ...] = (
    burst, late, new_field, some_broken, stream_server_killed, maintenance, bad_producer, quality, erasure,
    second_home, deploys, database_killed, destination_gone, prefect_killed, runner_killed, maintenance, quality,
)  # fmt: skip
assert WRITTEN_TO


def monitoring(scene: Scene, stop: threading.Event) -> None:
    """The schedule of monitoring, for a day that is shorter: every half minute, when no run of it is under way."""
    while not stop.wait(30):
        try:
            scene.platform.finished(scene.platform.trigger("monitor"), 120)
        except OSError:
            continue  # the Prefect server is away on purpose
