"""The report."""

from datetime import datetime

from searchflow.settings import Settings


def build_report(settings: Settings, *, now: datetime) -> None:
    """Not yet."""
