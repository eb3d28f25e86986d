"""Hostile events, from the stream to everything that people open: nothing in them runs, renders or moves a cursor."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import activations
from activations.gate import GateVerdict
from expectations import validate
from searchflow import streams, warehouse
from searchflow.cli import app
from searchflow.ingestion import worker
from searchflow.ingestion.accounting import accounting
from searchflow.privacy.export import export
from searchflow.services import postgres, valkey
from searchflow.settings import Settings
from searchflow.transformation import transform
from tests.conftest import running_platform
from tests.privacy.hostile import FORMULAS, HOSTILE, MARKUP

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*"),
]
NOW = datetime.now(UTC).replace(microsecond=0)
PAGES = ("overview", "funnel", "attribution", "segments", "operations")
Run = Callable[..., str]


def uid(kind: int, number: int) -> str:
    return f"0bad000{kind}-0000-4000-8000-{number:012d}"


def events() -> Iterator[dict[str, Any]]:
    """For each text a search, a click and a booking in which every free field holds it."""
    for number, text in enumerate(HOSTILE.values()):
        moment = NOW - timedelta(hours=3, minutes=number)
        who = {"session_id": f"s{text}", "user_id": f"u{text}" if number % 2 else text}
        common = {**who, "utm_source": text, "utm_medium": text, "utm_campaign": text, text: text}
        yield {
            "event_type": "search",
            "event_id": uid(1, number),
            "timestamp": moment.isoformat(),
            "query": text,
            "platform": text,
            "device_type": text,
            "geo": {"country": text, "city": text},
            "results_count": 3,
            **common,
        }
        yield {
            "event_type": "click",
            "event_id": uid(2, number),
            "timestamp": (moment + timedelta(seconds=20)).isoformat(),
            "search_event_id": uid(1, number),
            "result_id": text,
            "result_type": text,
            "result_provider": text,
            "result_destination": text,
            **common,
        }
        if number % 3 == 0:
            continue  # who has booked a place is not recommended it
        yield {
            "event_type": "conversion",
            "event_id": uid(3, number),
            "timestamp": (moment + timedelta(seconds=50)).isoformat(),
            "click_event_id": uid(2, number),
            "booking_value": 10.0,
            "currency": "CAD",
            "product_type": text,
            "provider": text,
            **common,
        }


@pytest.fixture(scope="module")
def attacked() -> Iterator[Settings]:
    with running_platform() as settings:
        with streams.connect(settings) as client:
            for kind in streams.EVENT_TYPES:
                lines = [json.dumps(each).encode() for each in events() if each["event_type"] == kind]
                lines += [
                    json.dumps({"event_type": kind, "event_id": text, text: text}).encode() for text in HOSTILE.values()
                ]
                streams.publish(client, kind, lines, batch=500, codec="zstd")
        for kind in streams.EVENT_TYPES:
            worker.ingest_stream(settings, kind)
        transform(settings, now=worker.utc_now())
        validate(settings, now=worker.utc_now())
        for name in ("crm_user_segments", "recommendations"):
            opens = lambda suite: GateVerdict(suite, "pass")  # noqa: E731
            activations.run_sync(settings, name, now=worker.utc_now(), gate=opens, approve=True)
        yield settings


@pytest.fixture
def run(attacked: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process; what it printed on both streams."""
    monkeypatch.setenv("SEARCHFLOW_HOME", str(attacked.home))
    monkeypatch.setenv("SEARCHFLOW_ENV_FILE", "")

    def command(*arguments: str) -> str:
        status = app.run(list(arguments))
        printed = capsys.readouterr()
        assert status in (0, 1), printed.err
        return printed.out + printed.err

    return command


def test_every_hostile_event_is_stored_as_it_came(attacked: Settings) -> None:
    with warehouse.connect(attacked, read_only=True) as lake:
        totals = accounting(lake)
        assert totals.holds
        assert (totals.stored, totals.dead_letters) == (len(list(events())), 3 * len(HOSTILE))
        stored = lake.execute("SELECT query FROM staging.stg_search_events ORDER BY event_id").fetchall()
        campaigns = lake.execute("SELECT DISTINCT utm_campaign FROM marts.mart_campaign_attribution").fetchall()
    assert [row[0] for row in stored] == list(HOSTILE.values())
    assert {row[0] for row in campaigns if row[0] is not None} <= set(HOSTILE.values())
    assert len(campaigns) > len(HOSTILE) // 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "SELECT * FROM staging.stg_search_events"),
        ("query", "SELECT * FROM marts.mart_campaign_attribution LIMIT 150"),
        ("dlq", "list"),
        ("schema",),
        ("status",),
        ("audit", "show", "--limit", "500"),
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_command_prints_what_a_terminal_would_obey(run: Run, arguments: tuple[str, ...], as_json: bool) -> None:
    printed = run(*arguments, *(["--json"] if as_json else []))
    assert {char for char in printed if not char.isprintable()} <= {"\n"}
    if as_json:
        json.loads(printed)


def test_a_letter_is_shown_escaped_and_an_error_too(run: Run, attacked: Settings) -> None:
    with warehouse.connect(attacked, read_only=True) as lake:
        letters = lake.execute("SELECT dead_letter_id FROM raw.dead_letters LIMIT 5").fetchall()
    printed = "".join(run("dlq", "show", letter) for (letter,) in letters)
    assert printed.isascii()
    assert {char for char in printed if not char.isprintable()} <= {"\n"}
    assert app.run(["lineage", HOSTILE["terminal"]]) == 2


def test_an_error_cannot_move_the_cursor_either(
    attacked: Settings, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["lineage", HOSTILE["terminal"] + HOSTILE["direction"]]) == 2
    assert {char for char in capsys.readouterr().err if not char.isprintable()} <= {"\n"}


@pytest.mark.parametrize(
    "table", ["marts.mart_campaign_attribution", "marts.fct_search_funnel", "marts.dim_users", "raw.search_events"]
)
def test_no_cell_of_an_export_is_a_formula(attacked: Settings, tmp_path: Path, table: str) -> None:
    export(attacked, table, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert len(found) > len(HOSTILE) // 2
    texts = [cell for row in found[1:] for cell in row if cell and not _is_number(cell)]
    assert not [cell for cell in texts if cell.startswith(FORMULAS)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_no_page_of_the_reports_holds_markup_of_an_event(attacked: Settings) -> None:
    pages = list((attacked.home / "reports").rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        assert not [piece for piece in MARKUP if piece in text], page


def test_dashboards_draw_it_as_text(attacked: Settings) -> None:
    from streamlit.testing.v1 import AppTest

    from dashboards import source
    from dashboards.server import SCRIPT

    main = sys.modules["__main__"]  # AppTest puts the page in its place
    source.configure(attacked)
    try:
        app_test = AppTest.from_file(str(SCRIPT), default_timeout=120)
        app_test.run()
        shown = 0
        for name in PAGES:
            if name != "overview":
                app_test.switch_page(f"../pages/{name}.py").run()
            assert not app_test.exception, app_test.exception
            for element in (*app_test.markdown, *app_test.caption, *app_test.info, *app_test.warning):
                assert not [piece for piece in MARKUP if piece in element.value], name
                assert not getattr(element, "allow_html", False)
            for frame in app_test.dataframe:
                texts = [cell for cell in frame.value.to_numpy().ravel() if isinstance(cell, str)]
                shown += sum("hacked" in cell for cell in texts)
                assert not [cell for cell in texts if cell.startswith(FORMULAS)], name
        assert shown  # hostile rows were there to be drawn
    finally:
        source.configure(None)
        sys.modules["__main__"] = main


def test_destinations_hold_it_as_data(attacked: Settings) -> None:
    import psycopg

    with psycopg.connect(postgres.conninfo(attacked, "crm")) as crm:
        users = {row[0] for row in crm.execute("SELECT user_id FROM crm.user_segments")}
    wanted = {f"u{text}" if number % 2 else text for number, text in enumerate(HOSTILE.values())}
    assert users == wanted
    with valkey.client(attacked) as client:
        assert client.exists(f"searchflow:reco:{HOSTILE['sql']}")
