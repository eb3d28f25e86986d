"""One seed and one end give byte-identical files: in any process, zone, locale, and by any number of workers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from generators import load_state, next_range
from generators.settings import parse_moment
from searchflow.errors import UsageError
from searchflow.settings import ROOT, load_settings

UNTIL = "2026-11-02T14:30:00Z"
RUN = f"""
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from generators import JsonlPublisher, next_range, publish_range
from generators.publishers import jsonl_part
from generators.settings import parse_moment
from searchflow.settings import load_settings

out, processes = Path(sys.argv[1]), int(sys.argv[2])
until = parse_moment("--until", "{UNTIL}")
wanted = next_range(None, datetime.now(UTC), days=20, events=2_000, seed=9, until=until)
name = f"events_{{wanted.name}}"
publisher = JsonlPublisher(out, name, compress=True) if processes == 1 else partial(jsonl_part, out, name, compress=True)
if __name__ == "__main__":
    publish_range(load_settings(home=out / "home"), wanted, publisher, processes=processes, feeds_folder=out,
                  key_folder=out / "answer_key", remember=False, quiet=True)
"""
HERE = {"PYTHONHASHSEED": "1", "TZ": "America/Vancouver", "LC_ALL": "C.UTF-8"}
THERE = {"PYTHONHASHSEED": "2", "TZ": "Pacific/Auckland", "LC_ALL": "C", "POLARS_MAX_THREADS": "1", "PYTHONUTF8": "0"}
OLD_CPU = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR", "OPENBLAS_CORETYPE": "Nehalem",
           "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable"}  # fmt: skip
"""The same processor as if it were fifteen years old: other code paths in NumPy, in the C library and in BLAS."""


def files(folder: Path, processes: int, changes: dict[str, str]) -> dict[str, str]:
    """Name and digest of every file that a run in another process writes."""
    folder.mkdir(parents=True)
    script = folder.parent / f"{folder.name}.py"
    script.write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SEARCHFLOW_ENV_FILE": "", **changes}
    command = [sys.executable, "-W", "ignore", str(script), str(folder), str(processes)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "home" not in path.relative_to(folder).parts
    }


def lines(folder: Path) -> list[bytes]:
    import gzip

    found = [gzip.decompress(path.read_bytes()) for path in folder.glob("*.jsonl.gz")]
    return sorted(line for content in found for line in content.splitlines())


@pytest.mark.parametrize("processes", [1, 2])
def test_every_file_is_equal_byte_for_byte_wherever_it_is_made(tmp_path: Path, processes: int) -> None:
    here = files(tmp_path / "here", processes, HERE)
    assert sum(name.startswith("events_") for name in here) == processes
    assert any(name.startswith("ad_spend") for name in here)
    assert any(name.endswith("manifest.json") for name in here)
    assert files(tmp_path / "there", processes, THERE) == here
    assert files(tmp_path / "old", processes, OLD_CPU) == here


def test_the_number_of_workers_changes_how_lines_lie_in_files_and_nothing_else(tmp_path: Path) -> None:
    one, three = files(tmp_path / "one", 1, HERE), files(tmp_path / "three", 3, THERE)
    assert lines(tmp_path / "one") == lines(tmp_path / "three")
    feeds = {name for name in one if name.endswith(".csv")}
    assert {name: one[name] for name in feeds} == {name: three[name] for name in feeds}
    for kind in ("lines", "bookings", "visits", "journeys", "kpis_daily"):
        alone, together = (_rows(tmp_path / name / "answer_key", kind) for name in ("one", "three"))
        assert alone.equals(together), kind


def _rows(folder: Path, kind: str) -> pl.DataFrame:
    frame = pl.concat([pl.read_parquet(path) for path in sorted(folder.glob(f"*/{kind}*.parquet"))])
    return frame.sort(frame.columns)


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_history_ends_where_it_is_told_and_goes_on_from_there(tmp_path: Path) -> None:
    from generators import JsonlPublisher, publish_range

    home = load_settings(home=tmp_path / "home")
    until = parse_moment("--until", UNTIL)
    wanted = next_range(None, NOW, days=20, events=500, seed=5, until=until)
    assert wanted.until == until
    assert wanted.simulation.start == (until - timedelta(days=20)).date()
    publish_range(home, wanted, JsonlPublisher(tmp_path, "a"), quiet=True)
    state = load_state(home)
    assert next_range(state, NOW, until=until).is_empty  # the same command again
    later = next_range(state, NOW)
    assert (later.after, later.until) == (until, NOW)
    with pytest.raises(UsageError, match="has history up to 2026-11-02T14:30"):
        next_range(state, NOW, until=until - timedelta(days=1))
    with pytest.raises(UsageError, match="ahead of the clock"):
        next_range(None, NOW, until=NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31 12:00", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00+05:30", "2026-01-31T06:30:00+00:00"),
    ],
)
def test_an_end_is_read_in_utc(text: str, moment: str) -> None:
    assert parse_moment("--until", text).isoformat() == moment


@pytest.mark.parametrize("text", ["", "now", "31.01.2026", "2026-02-30", "0001-01-01T00:00:00+14:00"])
def test_an_end_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        parse_moment("--until", text)
