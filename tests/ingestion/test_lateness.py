"""Every event's lateness is measured, and the days behind the watermark are on record."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from searchflow import warehouse
from searchflow.cli import app, incoming
from searchflow.ingestion import lateness, worker
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def test_lateness_is_counted_in_the_commit_and_late_days_are_named(fresh_platform: Settings, tmp_path: Path) -> None:
    def load(number: int, *ages: timedelta) -> None:
        lines = [
            foreign.line(**foreign.search(number * 100 + place, timestamp=(foreign.NOW - age).isoformat()))
            for place, age in enumerate(ages)
        ]
        (tmp_path / f"{number}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        worker.ingest_files(fresh_platform, tmp_path / f"{number}.jsonl", clock=lambda: foreign.NOW)

    seconds, minutes, hours = (
        (lambda n: timedelta(seconds=n)),
        (lambda n: timedelta(minutes=n)),
        (lambda n: timedelta(hours=n)),
    )
    load(1, seconds(10), seconds(60), minutes(4), minutes(30))
    load(2, seconds(1), hours(5), hours(20), hours(50), hours(51))
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        rows = connection.execute(
            "SELECT events, within_1m, within_5m, within_1h, within_6h, within_24h FROM ops.arrivals ORDER BY events"
        ).fetchall()
        assert rows == [(4, 2, 3, 4, 4, 4), (5, 1, 1, 1, 2, 3)]
        days = connection.execute("SELECT event_type, event_date, events FROM ops.late_days ORDER BY 2").fetchall()
        assert days == [
            ("search", date(2026, 5, 18), 2),
            ("search", date(2026, 5, 19), 1),
            ("search", date(2026, 5, 20), 1),
        ]
        assert connection.execute("SELECT sum(late) FROM ops.ingestion_batches").fetchone() == (4,)
        [shares] = lateness.curve(connection)  # of the second commit: before the first one nothing was known
        assert (shares["events"], shares["within_1m"], shares["within_24h"]) == (5, round(1 / 5, 6), round(3 / 5, 6))
        assert (shares["within_72h"], shares["within_168h"]) == (1.0, 1.0)
        assert [row["event_type"] for row in lateness.curve(connection, by="event_type")] == ["search"]


def test_only_commits_of_live_traffic_say_how_late_events_are(fresh_platform: Settings, tmp_path: Path) -> None:
    def load(number: int, *ages: timedelta) -> bool:
        lines = [
            foreign.line(**foreign.search(number * 100 + place, timestamp=(foreign.NOW - age).isoformat()))
            for place, age in enumerate(ages)
        ]
        (tmp_path / f"{number}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        worker.ingest_files(fresh_platform, tmp_path / f"{number}.jsonl", clock=lambda: foreign.NOW)
        with warehouse.connect(fresh_platform, read_only=True) as connection:
            return connection.execute("SELECT live FROM ops.arrivals WHERE events = ?", [len(ages)]).fetchall() == [
                (True,)
            ]

    hours = [timedelta(hours=each) for each in range(40)]
    assert not load(1, *hours[10:40]), "a history, up to ten hours ago"
    assert not load(2, *hours[0:10]), "its end: ingestion had not caught up with the present before it"
    assert load(3, *[timedelta(seconds=each) for each in range(20)], timedelta(hours=30)), "traffic, and one late event"
    assert load(4, timedelta(hours=30)), "a late event alone"
    assert not load(5, *[timedelta(hours=30, seconds=each) for each in range(22)]), "a file of old events"


def _late(settings: Settings) -> tuple[int, int]:
    """Late events of all commits, and days on record as touched by late events."""
    with warehouse.connect(settings, read_only=True) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(late), 0)::BIGINT, (SELECT count(*) FROM ops.late_days) FROM ops.ingestion_batches"
        ).fetchone()
    assert row is not None
    return row


def _write(path: Path, first: int, *ages: timedelta) -> None:
    lines = [
        foreign.line(**foreign.search(first + place, timestamp=(foreign.NOW - age).isoformat()))
        for place, age in enumerate(ages)
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")


def test_a_history_in_several_files_is_not_late(fresh_platform: Settings, tmp_path: Path) -> None:
    """By day with the newest first, by traveller over the same days, and a few events in a file of their own."""
    days = [timedelta(days=each) for each in range(12)]
    for number, day in enumerate(days):
        _write(tmp_path / f"{number:02d}.jsonl", number * 100, *[day + timedelta(hours=each) for each in range(3)])
    for number in (50, 51):
        _write(tmp_path / f"{number}_part.jsonl", number * 100, *days, *[day + timedelta(hours=1) for day in days])
    result = worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    assert (result.files_loaded, result.counts.stored, result.counts.late) == (14, 12 * 3 + 2 * 24, 0)
    assert _late(fresh_platform) == (0, 0)
    # Its other half in a load of its own, when the present is there already.
    _write(tmp_path / "60_part.jsonl", 6000, *days, *[day + timedelta(hours=2) for day in days])
    assert worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW).counts.stored == 24
    assert _late(fresh_platform) == (0, 0)
    # What a partner brings days later is late, in whichever file of its load it lies.
    _write(tmp_path / "70.jsonl", 7000, *[timedelta(seconds=each) for each in range(30)])
    _write(tmp_path / "71.jsonl", 7100, timedelta(days=4), timedelta(days=5))
    assert worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW).counts.late == 2
    assert _late(fresh_platform) == (2, 2)


def test_a_history_that_is_followed_in_several_files_is_not_late(fresh_platform: Settings, tmp_path: Path) -> None:
    import threading

    from searchflow.ingestion import follow

    for number, age in enumerate((0, 3, 9)):
        _write(tmp_path / f"{number}.jsonl", number * 100, timedelta(days=age), timedelta(days=age, hours=2))
    stop, seen = threading.Event(), list[str]()

    def on_commit(name: str, counts: object) -> None:
        seen.append(name)
        if len(seen) == 3:
            stop.set()

    follow.follow_files(fresh_platform, tmp_path, stop=stop, clock=lambda: foreign.NOW, on_commit=on_commit)
    assert _late(fresh_platform) == (0, 0)


def test_a_stream_that_was_stuck_is_late_however_much_of_it_there_is(fresh_platform: Settings, tmp_path: Path) -> None:
    from searchflow import streams

    _write(tmp_path / "now.jsonl", 1, timedelta(seconds=5))
    worker.ingest_files(fresh_platform, tmp_path, clock=lambda: foreign.NOW)
    old = [foreign.search(1000 + each, timestamp=(foreign.NOW - timedelta(days=3)).isoformat()) for each in range(30)]
    with streams.connect(fresh_platform) as client:
        client.xadd(streams.EVENT_STREAMS["search"], streams.encode([foreign.line(**each) for each in old], None))
    worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW)
    assert _late(fresh_platform) == (30, 1)


def test_the_curve_and_the_schema_changes_are_shown(
    fresh_platform: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for number in (1, 2):
        document = foreign.search(number, timestamp=(foreign.NOW - timedelta(minutes=2)).isoformat(), loyalty="gold")
        (tmp_path / f"{number}.jsonl").write_bytes(foreign.line(**document) + b"\n")
        worker.ingest_files(fresh_platform, tmp_path / f"{number}.jsonl", clock=lambda: foreign.NOW)
    monkeypatch.setattr(incoming, "settings_of_command", lambda: fresh_platform)
    assert app.run(["lateness", "--by", "event_type", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["event_type"], row["within_1m"], row["within_5m"]) == ("search", 0.0, 1.0)
    assert app.run(["schema", "--json"]) == 0
    [change] = json.loads(capsys.readouterr().out)
    assert (change["field"], change["kind"], change["example"]) == ("loyalty", "new_field", "aaaa")
    assert app.run(["lateness", "--by", "mood"]) == 2
