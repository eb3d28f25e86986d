"""Files are loaded once by content, grow, and carry the daily feeds beside them."""

from __future__ import annotations

import gzip
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.errors import UsageError
from searchflow.events import MAX_EVENT_BYTES
from searchflow.ingestion import worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.commit import Counts
from searchflow.ingestion.feeds import ingest_feeds
from searchflow.settings import Settings
from tests import foreign

pytestmark = pytest.mark.integration


def clock() -> datetime:
    return foreign.NOW


def load(settings: Settings, path: Path) -> worker.IngestionResult:
    return worker.ingest_files(settings, path, clock=clock)


def fetch(settings: Settings, sql: str) -> list[Any]:
    with warehouse.connect(settings, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(foreign.line(**document) + b"\n" for document in documents)


def test_a_file_with_all_types_is_loaded_once_by_content(fresh_platform: Settings, tmp_path: Path) -> None:
    content = (
        lines(foreign.search(1), foreign.click(1), foreign.conversion(1)) + b"\n" + foreign.line(**foreign.search(2))
    )
    (tmp_path / "events.jsonl").write_bytes(content)  # a blank line, and no newline at the end
    assert load(fresh_platform, tmp_path).counts == Counts(received=4, stored=4)
    again = load(fresh_platform, tmp_path)
    assert (again.counts, again.files_known) == (Counts(), 1)
    (tmp_path / "events.jsonl").rename(tmp_path / "renamed.jsonl")
    (tmp_path / "copy.jsonl").write_bytes(content)
    assert load(fresh_platform, tmp_path).files_known == 2
    assert fetch(fresh_platform, "SELECT source, source_position FROM raw.search_events ORDER BY 2") == [
        ("file:events.jsonl", "1"),
        ("file:events.jsonl", "5"),
    ]
    with warehouse.connect(fresh_platform) as connection:
        assert accounting(connection).holds


def test_a_file_that_grew_is_read_from_where_it_ended(fresh_platform: Settings, tmp_path: Path) -> None:
    path = tmp_path / "growing.jsonl"
    path.write_bytes(lines(foreign.search(1)))
    load(fresh_platform, path)
    path.write_bytes(path.read_bytes() + lines(foreign.search(2), foreign.search(3)))
    assert load(fresh_platform, path).counts == Counts(received=2, stored=2)


def test_a_rewritten_file_is_read_from_its_start_and_known_events_are_duplicates(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "daily.jsonl"
    path.write_bytes(lines(foreign.search(1), foreign.search(2)))
    load(fresh_platform, path)
    path.write_bytes(lines(foreign.search(2), foreign.search(3)))
    assert load(fresh_platform, path).counts == Counts(received=2, stored=1, duplicates=1)


def test_gzip_is_read_like_the_file_it_holds(fresh_platform: Settings, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "events.jsonl.gz", "wb") as handle:
        handle.write(lines(*(foreign.search(number) for number in range(1, 51))))
    assert load(fresh_platform, tmp_path).counts == Counts(received=50, stored=50)


def test_feeds_are_loaded_once_and_bad_rows_become_letters(fresh_platform: Settings, tmp_path: Path) -> None:
    (tmp_path / "ad_spend_2026.csv").write_text(
        "spend_date,utm_source,utm_campaign,currency,cost,impressions,clicks\n"
        "2026-05-19,google,summer,CAD,12.5,1000,40\n"
        "2026-05-19,bing,,CAD,3,,\n"
        "2026-05-19,meta,x,CAD,-1,1,1\n"
        "not a date,meta,x,CAD,1,1,1\n"
        "too,few\n"
    )
    (tmp_path / "user_profiles.jsonl").write_bytes(
        b'{"user_id": "u1", "email": "a@example.org", "marketing_consent": true, "updated_at": "2026-05-01T00:00:00+02:00"}\n'
        b'{"email": "unknown@example.org", "updated_at": "2026-05-01T00:00:00Z"}\n'
        b"broken\n"
    )
    assert ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW) == Counts(received=8, stored=3, dead_letters=5)
    assert ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW) == Counts()
    assert fetch(fresh_platform, "SELECT utm_source, utm_campaign, cost, impressions FROM raw.ad_spend ORDER BY 1") == [
        ("bing", None, 3.0, None),
        ("google", "summer", 12.5, 1000),
    ]
    assert fetch(fresh_platform, "SELECT user_id, updated_at, marketing_consent FROM raw.user_profiles") == [
        ("u1", datetime(2026, 4, 30, 22), True)  # noqa: DTZ001 (the warehouse's UTC has no zone)
    ]
    [(letter,)] = fetch(fresh_platform, "SELECT raw_payload FROM raw.dead_letters WHERE reason LIKE '%header%'")
    assert bytes(letter) == b"too,few\n"


def test_a_feed_that_two_load_at_once_is_loaded_once(fresh_platform: Settings, tmp_path: Path) -> None:
    (tmp_path / "ad_spend.csv").write_text("spend_date,currency,cost\n" + "2026-05-19,CAD,1\n" * 500)
    totals: list[Counts] = []

    def work() -> None:
        totals.append(ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(total.stored for total in totals) == [0, 0, 500]
    assert fetch(fresh_platform, "SELECT count(*) FROM raw.ad_spend") == [(500,)]


def test_a_path_without_events_says_what_to_give(tmp_path: Path) -> None:
    from searchflow.ingestion.file_source import event_files

    with pytest.raises(UsageError, match="no file or folder"):
        event_files(tmp_path / "nowhere")
    (tmp_path / "events.txt").write_text("")
    with pytest.raises(UsageError, match="not an event file"):
        event_files(tmp_path / "events.txt")


HEADER = "spend_date,utm_source,utm_campaign,currency,cost,impressions,clicks\n"
PROFILES = "user_id,email,created_at,updated_at\n"
UNFIT = {
    "ad_spend": [
        "2026-05-12,google,a,CAD,1e15,1,1",
        "2026-05-12,google,a,CAD,inf,1,1",
        "2026-05-12,google,a,CAD,nan,1,1",
        "2026-05-12,google,a,CAD,1,9223372036854775808,1",
        "2026-05-12,google,a,CAD,1,1,1000000000000000",
        "10000-01-01,google,a,CAD,1,1,1",
        f"2026-05-12,google,{'x' * 200_000},CAD,1,1,1",
    ],
    "user_profiles": [
        "u1,a@example.com,0001-01-01T00:00:00+01:00,2026-05-01T00:00:00Z",
        "u1,a@example.com,2026-05-01T00:00:00Z,9999-12-31T23:59:59-01:00",
        "u1,a@example.com,2026-05-01T00:00:00Z,9999-12-31T24:00:00Z",
    ],
}


@pytest.mark.parametrize("feed", sorted(UNFIT))
def test_a_row_that_no_column_can_hold_is_a_letter_and_the_rows_beside_it_are_stored(
    fresh_platform: Settings, tmp_path: Path, feed: str
) -> None:
    header, good = {
        "ad_spend": (HEADER, "2026-05-12,google,b,CAD,999999999999999.9,999999999999999,0"),
        "user_profiles": (PROFILES, "u2,b@example.com,9999-12-31T23:59:59.9999999Z,0001-01-01T00:00:00Z"),
    }[feed]
    rows = [good, *UNFIT[feed], good.replace("google", "meta").replace("u2", "u3")]
    (tmp_path / f"{feed}.csv").write_text(header + "\n".join(rows) + "\n")
    found = ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW)
    assert found == Counts(received=len(rows), stored=2, dead_letters=len(UNFIT[feed]))
    codes = fetch(
        fresh_platform, "SELECT reason_code, reason, raw_payload FROM raw.dead_letters ORDER BY source_position"
    )
    assert {code for code, _, _ in codes} <= {"invalid_value", "too_large"}
    kept = {row[:MAX_EVENT_BYTES] for row in UNFIT[feed]}  # of a line that is too large: its head
    assert {bytes(line).decode().strip() for _, _, line in codes} == kept
    if feed == "user_profiles":  # cut off, not rounded into the year 10000
        stamps = fetch(fresh_platform, "SELECT DISTINCT created_at, updated_at FROM raw.user_profiles")
        assert stamps == [(datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1, 1, 1))]  # noqa: DTZ001


def test_a_line_of_a_feed_that_no_parser_takes_is_a_letter(fresh_platform: Settings, tmp_path: Path) -> None:
    good = b'{"spend_date": "2026-05-12", "currency": "CAD", "cost": 5, "note": 123456789012345678901234567890}'
    bad = [
        b'{"spend_date": "2026-05-12", "currency": "CAD", "cost": 1e400}',
        b'{"a":' * 20_000,
        b'{"cost": "' + b"9" * 70_000,
    ]
    (tmp_path / "ad_spend.jsonl").write_bytes(b"\n".join([good, *bad]))
    assert ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW) == Counts(received=4, stored=1, dead_letters=3)


WHOLE = lines(*(foreign.search(number) for number in range(1, 21)))


def damaged() -> dict[str, tuple[bytes, int, str]]:
    """Name -> a file's bytes, how many of its twenty events can be read, and what is said of it."""
    packed = gzip.compress(WHOLE)
    wrong_sum = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    middle = bytearray(gzip.compress(WHOLE, compresslevel=0))  # stored, not compressed: damage is where one puts it
    middle[10] = 0b110  # the kind of block that there is not
    return {
        "garbage tail": (packed + b"something else", 20, "something else follows"),
        "no newline and a garbage tail": (
            gzip.compress(WHOLE.rstrip(b"\n")) + b"x" * 100,
            20,
            "something else follows",
        ),
        "wrong checksum": (wrong_sum, 20, "checksum is wrong"),
        "wrong length": (packed[:-1] + bytes([packed[-1] ^ 1]), 20, "checksum is wrong"),
        "plain text": (WHOLE, 0, "it is not gzip"),
        "empty member, then text": (gzip.compress(b"") + WHOLE, 0, "something else follows"),
        "damaged data": (bytes(middle), 0, "data is damaged"),
        "broken second member": (
            packed + b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 50,
            20,
            "data is damaged",
        ),
        "cut off": (packed[:-20], 19, "ends before its end-of-stream marker"),
    }


@pytest.mark.parametrize("name", damaged())
def test_a_broken_file_stops_itself_only(fresh_platform: Settings, tmp_path: Path, name: str) -> None:
    content, readable, said = damaged()[name]
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    (tmp_path / "b.jsonl").write_bytes(lines(foreign.search(100)))
    done = load(fresh_platform, tmp_path)
    assert done.counts.stored == done.counts.received
    assert done.counts.received - 1 == readable if name != "cut off" else 1 < done.counts.received <= readable + 1
    [line] = done.broken
    assert said in line
    assert str(tmp_path / "a.jsonl.gz") in line
    assert "\n" not in line
    again = load(fresh_platform, tmp_path)  # it is said again, and nothing is stored twice
    assert again.counts == Counts()
    assert len(again.broken) == 1
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(WHOLE))  # written again: the rest comes in
    mended = load(fresh_platform, tmp_path)
    assert mended.broken == []
    assert fetch(fresh_platform, "SELECT count(*) FROM raw.search_events") == [(21,)]


def test_a_broken_feed_stops_itself_only(fresh_platform: Settings, tmp_path: Path) -> None:
    (tmp_path / "ad_spend_a.csv.gz").write_bytes(b"spend_date,currency,cost\n2026-05-19,CAD,1\n")
    (tmp_path / "ad_spend_b.csv").write_text("spend_date,currency,cost\n2026-05-19,CAD,1\n")
    said: list[str] = []
    counts = ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW, on_broken=lambda error: said.append(str(error)))
    assert counts == Counts(received=1, stored=1)
    assert len(said) == 1
    assert "ad_spend_a.csv.gz" in said[0]


def test_broken_files_end_the_command_with_status_1_and_a_line_each(home: Path, tmp_path: Path) -> None:
    from tests.commands import CommandLine

    for number, name in enumerate(("plain text", "wrong checksum")):
        (tmp_path / f"{number}.jsonl.gz").write_bytes(damaged()[name][0])
    (tmp_path / "ok.jsonl").write_bytes(lines(foreign.search(100)))
    done = CommandLine(home).run("ingest", "--from", str(tmp_path), "--json")
    said = [line for line in done.stderr.splitlines() if line.startswith("searchflow: ") and "starting" not in line]
    assert done.returncode == 1, done.stderr
    assert ["0.jsonl.gz" in said[0], "1.jsonl.gz" in said[1], len(said)] == [True, True, 2]
    assert "Traceback" not in done.stderr
    assert '"stored": 21' in done.stdout
