"""The run of a verification: all checks in order, or one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import polars as pl

from searchflow import domain, warehouse
from searchflow.errors import NotFoundError
from searchflow.services import locks
from searchflow.settings import Settings
from searchflow.transformation import promotions
from searchflow.verification import causes, checks, destinations
from searchflow.verification import key as keys
from searchflow.verification.expected import World
from searchflow.verification.found import PlatformState, read_streams
from searchflow.verification.key import Key
from searchflow.verification.report import Report, VerificationCheck

CHECKS = ("key", "raw", "sessions", "funnel", "kpis", "attribution", "crm", "outbox", "recommendations")
OF_MODELS: dict[str, tuple[str, Callable[[World, PlatformState], Iterator[VerificationCheck]]]] = {
    "sessions": ("intermediate.int_search_sessions", checks.sessions),
    "funnel": ("marts.fct_search_funnel_daily", checks.funnel),
    "kpis": ("marts.mart_kpi_daily", checks.kpis),
    "attribution": ("marts.mart_campaign_attribution", checks.attributed),
}
"""Check -> the model whose moment it is about: under `searchflow up` the funnel is newer than the other marts."""


def verify(settings: Settings, *, folder: Path | None = None, only: str | None = None) -> Report:
    """Compare the platform with the answer key in `folder` (default: the home's).

    Raises:
        NotFoundError: `only` is no check.
        UsageError: there is no key, or it was changed.
    """
    if only is not None and only not in CHECKS:
        raise NotFoundError("check", only, CHECKS)
    clock = time.perf_counter()
    key = keys.read(folder or settings.answer_key_dir)
    # Models and destinations are looked at while no run changes them. The key was read first, then the streams, then the
    # lake: what the key knows was sent before, so that it waits in the streams or is in the lake, whatever workers do.
    with (
        locks.advisory_lock(settings, locks.transformation("prod"), behind=locks.ERASURE),
        warehouse.connect(settings, read_only=True) as connection,
    ):
        entries = read_streams(settings)
        with warehouse.transaction(connection):
            return _compared(PlatformState(settings, connection, entries), key, only, clock)


def _compared(found: PlatformState, key: Key, only: str | None, clock: float) -> Report:
    report = Report(str(key.folder), key.runs, found.transformed_at, [], notes=_notes(key, found))
    worlds = Worlds(key, found)
    wanted = CHECKS if only is None else (only,)
    for name in wanted:
        report.checks += _checks(name, key, found, worlds)
    if found.transformed_at is not None and "attribution" in wanted:
        credited = found.known_until("marts.mart_campaign_attribution") or found.transformed_at
        report.causes, report.models = causes.compare(worlds.at(credited), found)
    report.seconds = round(time.perf_counter() - clock, 2)
    return report


def _checks(name: str, key: Key, found: PlatformState, worlds: Worlds) -> list[VerificationCheck]:
    if name == "key":
        return list(checks.key_adds_up(key))
    if name == "raw":
        return list(checks.raw(key, found))
    if name in OF_MODELS:
        model, check = OF_MODELS[name]
        moment = found.known_until(model)
        if found.transformed_at is None or moment is None:
            return [VerificationCheck(name, None, None, why="not transformed yet: `searchflow transform`")]
        return list(check(worlds.at(moment), found))
    if name == "crm":
        return list(destinations.crm(found, worlds.at))
    if name == "outbox":
        return list(destinations.outbox(key, found, worlds.near))
    return list(destinations.recommended(found, worlds.at))


class Worlds:
    """The true events as they were known at a moment. Each world is made once."""

    def __init__(self, key: Key, found: PlatformState) -> None:
        self._rules = domain.load(promoted=promotions.variables(found.connection), connection=found.connection)
        self._found = found
        ingested = found.raw.group_by("event_type", "event_id").agg(pl.col("ingested_at").min())
        events = key.stored.join(ingested, on=["event_type", "event_id"], how="left")
        # Not in raw: lost, unless it was never ingested. What is lost must still be in the models.
        away = pl.col("ingested_at").is_null() & (
            ~pl.col("sealed") | pl.col("event_id").is_in(list(self._waiting(events)))
        )
        self._events = events.filter(~away)
        self._made: dict[datetime, World] = {}

    def _waiting(self, events: pl.DataFrame) -> set[str]:
        return self._found.waiting if events["ingested_at"].null_count() else set()

    def at(self, moment: datetime) -> World:
        """Return everything that was known at `moment`."""
        if moment not in self._made:
            self._made[moment] = World(self._events.filter(self._known(moment)), self._rules)
        return self._made[moment]

    def near(self, moment: datetime) -> World:
        """Return the world at `moment`, with only those people who searched in the two days before it: small, for one
        moment of many.
        """
        if moment in self._made:
            return self._made[moment]
        recent = pl.col("timestamp").is_between(moment - 2 * self._rules.abandoned, moment)
        people = self._events.filter(recent, pl.col("event_type") == "search").select("visitor_id").unique()
        of_them = self._events.join(people, on="visitor_id", how="semi")
        return World(of_them.filter(self._known(moment)), self._rules)

    @staticmethod
    def _known(moment: datetime) -> pl.Expr:
        return pl.col("ingested_at").is_null() | (pl.col("ingested_at") <= moment)


def _notes(key: Key, found: PlatformState) -> list[str]:
    """Return what a reader must know beside the numbers."""
    notes = [
        f"The run {run} has no seal: it was killed, or is still at work. Its lines count only where raw holds them."
        for run in key.unsealed
    ]
    if found.transformed_at is not None:
        after = found.raw.filter(pl.col("ingested_at") > found.transformed_at)
        if len(after):
            notes.append(
                f"{len(after):,} events were ingested after the last transformation and are in no model yet: "
                "`searchflow transform`."
            )
    return notes
