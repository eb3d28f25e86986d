"""Bytes are bounded: whatever a stream or a file holds, a worker keeps a head and a digest of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import zstandard

from searchflow import streams, warehouse
from searchflow.errors import BrokenFileError
from searchflow.events import MAX_EVENT_BYTES
from searchflow.ingestion import feeds, worker
from searchflow.ingestion.commit import Counts
from searchflow.ingestion.dead_letters import letters, replay
from searchflow.ingestion.file_source import FilePosition, FileSource
from searchflow.lines import LongLine, Splitter
from searchflow.settings import ROOT, Settings
from tests import foreign

MEGABYTE = 1024 * 1024
STREAM = streams.EVENT_STREAMS["search"]
MEASURED = """
import json, sys, time
from pathlib import Path
from searchflow.ingestion import feeds, worker
from searchflow.settings import Settings
from tests import foreign
settings = Settings.model_validate_json(sys.stdin.read())
started = time.monotonic()
if sys.argv[1] == "stream":
    counts = worker.ingest_stream(settings, "search", clock=lambda: foreign.NOW).counts
elif sys.argv[1] == "file":
    counts = worker.ingest_files(settings, Path(sys.argv[2]), clock=lambda: foreign.NOW).counts
else:
    counts = feeds.ingest_feeds(settings, Path(sys.argv[2]), now=foreign.NOW)
# Not getrusage(): what this process was forked from counts there too.
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
print(json.dumps([counts.received, counts.stored, counts.dead_letters, peak, time.monotonic() - started]))
"""


def event(number: int, **changes: Any) -> bytes:
    return foreign.line(**foreign.search(number, **changes))


def measured(settings: Settings, *arguments: str) -> tuple[int, int, int, int, float]:
    """(received, stored, dead letters, peak in MiB, seconds) of one worker in a process of its own."""
    command = [sys.executable, "-c", MEASURED, *arguments]
    plain = settings.model_dump(mode="json")
    plain |= {name: value.get_secret_value() for name, value in settings if hasattr(value, "get_secret_value")}
    aliases = {name: about.validation_alias or name for name, about in type(settings).model_fields.items()}
    given = json.dumps({str(aliases[name]): value for name, value in plain.items()})
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    received, stored, dead, peak, seconds = json.loads(done.stdout.splitlines()[-1])
    print(arguments, f"{peak} MiB, {seconds:.1f} s")
    return received, stored, dead, peak, seconds


def letter(settings: Settings) -> tuple[bytes, str, str, str]:
    with warehouse.connect(settings, read_only=True) as connection:
        [found] = connection.execute(
            "SELECT raw_payload, reason_code, reason, source_position FROM raw.dead_letters"
        ).fetchall()
    return found


@pytest.fixture
def producer(fresh_platform: Settings) -> redis.Redis:
    return streams.connect(fresh_platform)


def test_lines_are_the_same_however_the_text_is_cut() -> None:
    whole = [b"a", b"b" * MAX_EVENT_BYTES, b"c" * (MAX_EVENT_BYTES + 1), b"d", b"e" * 200_000]
    text = b"\n\n".join(whole) + b"\n  \n"
    for size in (7, 1_000, 65_536, 65_537, len(text)):
        splitter, found = Splitter(), list[bytes | LongLine]()
        for at in range(0, len(text), size):
            found += splitter.feed(text[at : at + size])
        found += splitter.end()
        assert [len(each) if isinstance(each, bytes) else each.length for each in found] == list(map(len, whole))
        assert [isinstance(each, LongLine) for each in found] == [False, False, True, False, True]


def test_files_are_the_same_however_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    content = b"one\r\n\n" + b"x" * 3_000_000 + b"\ntwo\n" + b"y" * 70_000 + b"\r\nthree\n" + b"z" * 100_000
    path.write_bytes(content)
    seen = []
    for limit in (1, 2, 3, 100_000):
        source, after, found = FileSource(path, []), None, []
        while (batch := source.read(after, limit=limit)) is not None:
            after = batch.position
            found += list(zip(batch.line_positions, batch.lines, strict=True))
            found += [(place, why.reason.encode()) for place, _, why in batch.broken]
        seen.append((sorted(found), FilePosition.parse(after or "")))
        source.close()
    assert all(each == seen[0] for each in seen)
    assert [place for place, _ in seen[0][0]] == ["1", "3", "4", "5", "6", "7"]
    assert seen[0][1] == FilePosition(len(content), 7, hashlib.sha256(content).hexdigest())


def test_a_long_line_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"one\n" + b"x" * 2_000_000)
    source = FileSource(path, [], following=True)
    first = source.read(None, limit=10)
    assert first is not None
    assert (first.lines, first.broken) == ([b"one"], [])
    assert source.read(first.position, limit=10) is None
    with path.open("ab") as handle:
        handle.write(b"x\ntwo\n")
    second = source.read(first.position, limit=10)
    assert second is not None
    assert (second.lines, second.line_positions) == ([b"two"], ["3"])
    assert "2,000,001 bytes" in second.broken[0][2].reason
    assert FilePosition.parse(second.position).digest == hashlib.sha256(path.read_bytes()).hexdigest()
    source.close()


@pytest.mark.integration
def test_a_small_entry_that_holds_one_huge_line(fresh_platform: Settings, producer: redis.Redis) -> None:
    line = b'{"query": "' + b"x" * (32 * MEGABYTE) + b'"}'
    packed = zstandard.ZstdCompressor().compress(line)
    assert len(packed) < 1_100
    entry = producer.xadd(STREAM, {"data": packed, "codec": "zstd"})
    producer.xadd(STREAM, {"data": event(1)})
    received, stored, dead, peak, seconds = measured(fresh_platform, "stream")
    assert (received, stored, dead) == (2, 1, 1)
    assert peak < 600
    assert seconds < 14
    content, code, reason, place = letter(fresh_platform)
    assert content == line[:MAX_EVENT_BYTES]
    assert (code, place) == ("too_large", f"{entry.decode()}:1")  # type: ignore[union-attr]
    assert f"{len(line):,} bytes" in reason
    assert hashlib.sha256(line).hexdigest() in reason


@pytest.mark.integration
@pytest.mark.parametrize("text", [b"\n", b"1\n", b"x"], ids=["blank lines", "short lines", "one line"])
def test_an_entry_that_is_no_batch_of_events(fresh_platform: Settings, producer: redis.Redis, text: bytes) -> None:
    packed = zstandard.ZstdCompressor().compress(text * (300 * MEGABYTE // len(text)))
    producer.xadd(STREAM, {"data": packed, "codec": "zstd"})
    producer.xadd(STREAM, {"data": event(1)})
    received, stored, dead, peak, _ = measured(fresh_platform, "stream")
    assert (received, stored, dead) == (2, 1, 1)
    assert peak < 600
    content, code, reason, _ = letter(fresh_platform)
    assert code == "too_large"
    assert content == packed[:MAX_EVENT_BYTES]
    assert "Publish smaller batches" in reason
    assert hashlib.sha256(packed).hexdigest() in reason


@pytest.mark.integration
def test_many_large_entries_are_several_batches(fresh_platform: Settings, producer: redis.Redis) -> None:
    for first in range(0, 120 * 20, 120):
        lines = b"\n".join(event(number, query="x" * 60_000) for number in range(first, first + 120))
        producer.xadd(STREAM, {"data": zstandard.ZstdCompressor().compress(lines), "codec": "zstd"})
    received, stored, _, peak, _ = measured(fresh_platform, "stream")
    assert (received, stored) == (2_400, 2_400)
    assert peak < 1024
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        assert connection.execute("SELECT count(*) > 3 FROM ops.ingestion_batches").fetchone() == (True,)


@pytest.mark.integration
def test_a_file_with_one_huge_line(fresh_platform: Settings, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as handle:
        handle.write(event(1) + b"\n")
        for _ in range(64):
            handle.write(b"x" * MEGABYTE)
        handle.write(b"\n" + event(2) + b"\n")
    received, stored, dead, peak, seconds = measured(fresh_platform, "file", str(path))
    assert (received, stored, dead) == (3, 2, 1)
    assert peak < 600
    assert seconds < 60
    assert letter(fresh_platform)[1:4:2] == ("too_large", "2")
    assert worker.ingest_files(fresh_platform, path, clock=lambda: foreign.NOW).counts == Counts()


@pytest.mark.integration
def test_a_letter_that_is_only_a_head_is_not_replayed(fresh_platform: Settings, producer: redis.Redis) -> None:
    producer.xadd(STREAM, {"data": event(1, query="x" * 70_000)})
    worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW)
    chosen = letters.Selection("open", "too_large", None, None, None, None, ())
    result = replay.replay(fresh_platform, chosen, clock=lambda: foreign.NOW, actor="test")
    assert (result.tried, result.stored, dict(result.refused)) == (1, 0, {"too_large": 1})
    _, [example] = replay.dry_run(fresh_platform, chosen, clock=lambda: foreign.NOW)
    assert replay.ONLY_A_HEAD in example.verdict


@pytest.mark.integration
def test_all_frames_of_an_entry_are_read(fresh_platform: Settings, producer: redis.Redis) -> None:
    frames = [zstandard.ZstdCompressor().compress(event(number) + b"\n") for number in range(3)]
    halves = event(3)[:50], event(3)[50:] + b"\n" + event(4)
    frames += [zstandard.ZstdCompressor().compress(half) for half in halves]
    producer.xadd(STREAM, {"data": b"".join(frames), "codec": "zstd"})
    assert worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW).counts == Counts(5, 5)


@pytest.mark.integration
@pytest.mark.parametrize("tail", [b"\0", b"and more", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x20\x04\x21"])
def test_bytes_behind_the_frames_make_the_entry_a_letter(
    fresh_platform: Settings, producer: redis.Redis, tail: bytes
) -> None:
    data = zstandard.ZstdCompressor().compress(event(1)) + tail
    producer.xadd(STREAM, {"data": data, "codec": "zstd"})
    assert worker.ingest_stream(fresh_platform, "search", clock=lambda: foreign.NOW).counts == Counts(1, dead_letters=1)
    content, code, reason, _ = letter(fresh_platform)
    assert (content, code) == (data, "invalid_value")
    assert "does not decompress as zstd" in reason


@pytest.mark.integration
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_large_feed_is_read_in_blocks(fresh_platform: Settings, tmp_path: Path, suffix: str) -> None:
    path, count = tmp_path / f"user_profiles.{suffix}", 120_000
    with path.open("w") as handle:
        if suffix == "csv":
            handle.write("user_id,updated_at,email,name,country\n")
        for number in range(count):
            row = {"user_id": f"u-{number}", "updated_at": "2026-05-01T00:00:00Z"}
            row |= {"email": f"person-{number}@example.com", "name": "N" * 120, "country": "CA"}
            handle.write((",".join(row.values()) if suffix == "csv" else json.dumps(row)) + "\n")
    received, stored, dead, peak, _ = measured(fresh_platform, "feed", str(path))
    assert (received, stored, dead) == (count, count, 0)
    assert peak < 440
    assert feeds.ingest_feeds(fresh_platform, path, now=foreign.NOW) == Counts()
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        found = connection.execute("SELECT count(DISTINCT user_id), count(DISTINCT batch_id) FROM raw.user_profiles")
        assert found.fetchone() == (count, 1)


@pytest.mark.integration
def test_rows_of_a_feed_that_are_too_large_or_repeat_a_column(fresh_platform: Settings, tmp_path: Path) -> None:
    moment = b'"updated_at": "2026-05-01T00:00:00Z"'
    lines = [
        b'{"user_id": "a", %s}' % moment,
        b'{"user_id": "b", "user_id": "c", %s}' % moment,
        b'{"user_id": "d", "other": 1, "other": 2, %s}' % moment,
        b'{"user_id": "e", "name": "%s", %s}' % (b"x" * 3_000_000, moment),
    ]
    (tmp_path / "user_profiles.jsonl").write_bytes(b"\n".join(lines))
    table = b'user_id,updated_at,name\na,2026-05-01T00:00:00Z,"one\ntwo"\nb,2026-05-01T00:00:00Z,' + b"x" * 3_000_000
    (tmp_path / "user_profiles.csv").write_bytes(table + b"\nc,2026-05-01T00:00:00Z,\n")
    counts = feeds.ingest_feeds(fresh_platform, tmp_path, now=foreign.NOW)
    assert counts == Counts(received=7, stored=4, dead_letters=3)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        found = connection.execute(
            "SELECT source, source_position, reason_code, octet_length(raw_payload) FROM raw.dead_letters ORDER BY ALL"
        ).fetchall()
        names = connection.execute("SELECT user_id, name FROM raw.user_profiles ORDER BY ALL").fetchall()
    assert found == [
        ("file:user_profiles.csv", found[0][1], "too_large", MAX_EVENT_BYTES),
        ("file:user_profiles.jsonl", "2", "invalid_json", len(lines[1])),
        ("file:user_profiles.jsonl", "4", "too_large", MAX_EVENT_BYTES),
    ]
    assert names == [("a", "one\ntwo"), ("a", None), ("c", None), ("d", None)]


@pytest.mark.integration
def test_a_quote_that_never_closes_ends_a_large_feed_in_one_line(fresh_platform: Settings, tmp_path: Path) -> None:
    path = tmp_path / "user_profiles.csv"
    path.write_bytes(b'user_id,updated_at\n"u-1,2026-05-01T00:00:00Z\n' + b"u-2,2026-05-01T00:00:00Z\n" * 800_000)
    with pytest.raises(BrokenFileError, match="a quote that opens and never closes"):
        feeds.ingest_feeds(fresh_platform, path, now=foreign.NOW)
