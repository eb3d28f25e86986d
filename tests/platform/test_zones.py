"""Local hours and days come from the pinned time-zone data, whatever the system's files say."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from activations.mail import templates
from activations.mail.rules import SendingRules
from generators import calendar
from searchflow import zones
from searchflow.settings import ROOT, load_settings

PRODUCT = ("searchflow", "generators", "activations", "expectations", "dashboards", "flows", "benchmarks")


@pytest.mark.parametrize(
    ("zone", "moment", "local"),
    [
        # British Columbia keeps UTC-7 and Alberta UTC-6 in the winter of 2026/27: their clocks did not go back.
        ("America/Vancouver", "2026-07-15 12:00", "2026-07-15 05:00"),
        ("America/Vancouver", "2026-10-31 12:00", "2026-10-31 05:00"),
        ("America/Vancouver", "2026-12-15 12:00", "2026-12-15 05:00"),
        ("America/Vancouver", "2027-01-15 07:30", "2027-01-15 00:30"),
        ("America/Edmonton", "2026-12-15 12:00", "2026-12-15 06:00"),
        ("America/Edmonton", "2027-02-28 06:30", "2027-02-28 00:30"),
        ("Canada/Pacific", "2027-01-15 12:00", "2027-01-15 05:00"),
        ("America/Vancouver", "2026-01-15 12:00", "2026-01-15 04:00"),  # the winter before did
        ("America/Toronto", "2026-12-15 12:00", "2026-12-15 07:00"),
    ],
)
def test_a_zone_shows_the_hour_of_the_pinned_data(zone: str, moment: str, local: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert at.astimezone(zones.named(zone)).replace(tzinfo=None) == datetime.fromisoformat(local)
    milliseconds = np.array([int(at.timestamp()) * 1000])
    assert calendar.local_ms(milliseconds, zone)[0] == datetime.fromisoformat(f"{local}+00:00").timestamp() * 1000


@pytest.mark.parametrize(
    ("zone", "now", "end"),
    [
        ("America/Vancouver", "2027-01-15 14:59", "2027-01-15 15:00"),  # 07:59; the old rule says 06:59
        ("America/Vancouver", "2027-01-15 15:00", None),  # 08:00
        ("America/Vancouver", "2027-01-15 04:00", "2027-01-15 15:00"),  # 21:00; the old rule says 20:00 and writes
        ("America/Edmonton", "2026-12-24 14:00", None),
        ("America/Edmonton", "2026-12-25 03:00", "2026-12-25 14:00"),
    ],
)
def test_quiet_hours_follow_the_law_of_the_winter(zone: str, now: str, end: str | None) -> None:
    found = SendingRules.of(load_settings()).quiet_end(datetime.fromisoformat(now), zone)
    assert found == (datetime.fromisoformat(end) if end else None)


def test_a_message_names_the_local_day_of_the_search() -> None:
    searched_at = datetime.fromisoformat("2027-01-15 07:30")
    assert templates._day(searched_at, "America/Vancouver") == "2027-01-15"  # 14 by the old rule
    assert templates._day(searched_at, "no such zone") == "2027-01-15"


def test_simulated_travellers_live_by_the_same_clock() -> None:
    vancouver = next(index for index, city in enumerate(calendar.CITIES) if city.zone == "America/Vancouver")
    winter = (date(2027, 1, 15) - date(1970, 1, 1)).days
    assert calendar._offsets(np.array([winter]), np.array([vancouver])).tolist() == [-7 * 3_600_000]


def test_the_systems_own_files_are_not_read(tmp_path: Path) -> None:
    """A false file in front of all others, where a machine that was never updated has its old one."""
    false = tmp_path / "America" / "Vancouver"
    false.parent.mkdir()
    with zones.resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").open("rb") as content:
        false.write_bytes(content.read())
    script = (
        "from datetime import UTC, datetime; from zoneinfo import ZoneInfo; from searchflow import zones;"
        "at = datetime(2027, 1, 15, 12, tzinfo=UTC);"
        "print(at.astimezone(ZoneInfo('America/Vancouver')).hour, at.astimezone(zones.named('America/Vancouver')).hour)"
    )
    environment = {**os.environ, "PYTHONTZPATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["21", "5"]


@pytest.mark.parametrize("name", [None, "", "Mars/Olympus", "America", "../zones", "/etc/localtime", "UTC\0", "utc "])
def test_what_is_no_zone_is_none(name: str | None) -> None:
    assert zones.find(name) is None


def test_no_other_module_opens_a_zone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for package in PRODUCT
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != Path(zones.__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if _opens_a_zone(node)
    ]
    assert found == []


def _opens_a_zone(node: ast.AST) -> bool:
    """True for an import of a zone library, and for a call by which Polars or Arrow convert to a zone other than UTC."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in ("zoneinfo", "pytz", "dateutil", "pendulum") for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in ("zoneinfo", "pytz", "dateutil", "pendulum")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        converts = node.func.attr in ("convert_time_zone", "replace_time_zone", "assume_timezone")
        return converts and not all(
            isinstance(each, ast.Constant) and each.value in (None, "UTC") for each in node.args
        )
    return False


def test_no_sql_converts_to_a_zone_but_utc() -> None:
    """DuckDB's time-zone data are as old as its release."""
    paths = [*ROOT.glob("models/**/*.sql"), *ROOT.glob("macros/*.py"), *ROOT.glob("audits/*.sql")]
    paths += [path for package in PRODUCT for path in (ROOT / package).rglob("*.py")]
    shift = re.compile(r"(?:AT TIME ZONE|SET TimeZone\s*=|-c TimeZone=)(?!\s*'?UTC\b|'\")")
    found = {str(path.relative_to(ROOT)): shift.findall(path.read_text()) for path in paths}
    assert {path: hits for path, hits in found.items() if hits} == {}
