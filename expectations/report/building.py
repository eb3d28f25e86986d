"""Building of the report in `<home>/reports/quality`: all of it in a new folder, which then takes the place of the
old."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from expectations import history
from expectations.catalogue import load_suites
from expectations.report import findings, page
from searchflow import warehouse
from searchflow.services.process import locked
from searchflow.settings import Settings


def report_path(settings: Settings) -> Path:
    """Return the path of the page to open."""
    return settings.reports_dir / "quality" / "index.html"


def build_report(settings: Settings, *, now: datetime) -> Path:
    """Build the page and Data Docs from the newest results of every suite. Return the page to open."""
    from expectations.report import data_docs  # imports Great Expectations

    target = report_path(settings).parent
    made, old = target.with_name(f".quality-{os.getpid()}"), target.with_name(".quality-old")
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with locked(settings, "quality-report", wait=True):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        pages = data_docs.build(history.newest(settings), made / "data_docs")
        with warehouse.connect(settings, read_only=True) as connection:
            tables = findings.read(connection, load_suites(), pages)
        (made / "index.html").write_text(page.render(tables, now=now), encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        made.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    return report_path(settings)
