"""Generation flow: simulated traffic is in the streams, in files or in the warehouse: history up to now, or live events
at a steady rate.

Runs on demand; `searchflow up` keeps one live run going. What was published is remembered, so that the next run sends
only what is new.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

import generators
from flows.support import stage, stopped_by_signals, table_artifact, utc_now
from generators import direct, feeds, options, rotation
from generators.parallel import OpenPublisher
from generators.publishers import StreamPart, jsonl_part
from generators.runs import current_world
from generators.settings import moment, parse_moment
from searchflow import streams
from searchflow.errors import UsageError
from searchflow.ingestion import feeds as ingested_feeds
from searchflow.settings import Settings, load_settings

DESTINATIONS = ("redis", "files", "warehouse", "stdout")
OURS = ("redis", "warehouse")
"""The sinks that the home remembers. Files and standard output are for other programs: the home forgets them."""


@dataclass(frozen=True)
class Sink:
    """The place where lines go, and how."""

    to: str = "redis"
    out: str | None = None
    gzip: bool = False
    rotate: str | None = None

    @property
    def ours(self) -> bool:
        """Return whether the home remembers what was sent."""
        return self.to in OURS

    @property
    def folder(self) -> Path:
        """Return the folder of the files."""
        return Path(self.out or "events")

    def key_folder(self, settings: Settings) -> Path:
        """Return the folder of the answer key: in the home for sinks that it remembers, else beside the files."""
        if self.ours:
            return settings.answer_key_dir
        if self.to == "stdout" and self.out is None:
            return settings.home / "stdout" / "answer_key"
        return self.folder / "answer_key"


@task(cache_policy=NO_CACHE)
def publish_history(
    days: int | None,
    events: int | None,
    seed: int | None,
    sink: Sink,
    world: list[str] | None = None,
    processes: int = 1,
    until: str | None = None,
) -> dict[str, Any]:
    """Publish what happened since the last publication (or since the start of history), up to `until` (default: now)."""
    return _publish_history(load_settings(), get_run_logger(), days, events, seed, sink, world, processes, until)


def _publish_history(
    settings: Settings,
    log: Any,
    days: int | None,
    events: int | None,
    seed: int | None,
    sink: Sink,
    world: list[str] | None,
    processes: int,
    until: str | None,
) -> dict[str, Any]:
    state = generators.load_state(settings) if sink.ours else None
    funnel, faults = options.parse(world or [])
    wanted = generators.next_range(
        state,
        utc_now(),
        days=days,
        events=events,
        seed=seed,
        until=None if until is None else parse_moment("--until", until),
        funnel=funnel,
        faults=faults,
    )
    if sink.ours and wanted.simulation.start < settings.history_start.date():
        raise UsageError(
            f"History would begin on {wanted.simulation.start}, before SEARCHFLOW_HISTORY_START "
            f"({settings.history_start:%Y-%m-%d}): ingestion refuses older events. Give fewer --days or a later --until."
        )
    begin = feeds.stamp(wanted.after or moment(wanted.simulation.start_ms))
    channel = direct.channel_of(wanted.simulation, begin)
    name = f"events_{wanted.name}"
    with stopped_by_signals() as stop, _publisher(settings, sink, name, channel, log, stop) as publisher:
        report = generators.publish_range(
            settings,
            wanted,
            publisher if processes == 1 else _part_of(settings, sink, name),
            processes=processes,
            feeds_folder=sink.folder if sink.to == "files" else None,
            write_feeds=sink.to != "stdout",
            key_folder=sink.key_folder(settings),
            remember=sink.ours,
            stop=stop,
        )
    if sink.to == "warehouse":
        ingested_feeds.ingest_feeds(settings, settings.feeds_dir, now=utc_now())
    return report.as_dict()


@task(cache_policy=NO_CACHE)
def publish_live(
    rate: float, duration: float | None, seed: int | None, sink: Sink, world: list[str] | None = None
) -> dict[str, Any]:
    """Publish events as they happen, `rate` a second, for `duration` seconds or until told to stop."""
    return _publish_live(load_settings(), get_run_logger(), rate, duration, seed, sink, world)


def _publish_live(
    settings: Settings,
    log: Any,
    rate: float,
    duration: float | None,
    seed: int | None,
    sink: Sink,
    world: list[str] | None,
) -> dict[str, Any]:
    name = f"live_{utc_now():%Y%m%dT%H%M%S}"
    funnel, faults = options.parse(world or [])
    with stopped_by_signals() as stop, _publisher(settings, sink, name, name, log, stop) as publisher:
        simulated = current_world(settings, utc_now(), seed=seed, funnel=funnel, faults=faults)
        key = generators.AnswerKey(sink.key_folder(settings), name, journal=True)
        report = generators.run_live(simulated, rate, publisher, duration=duration, stop=stop, key=key)
    return {
        "events": report.events,
        "lines": report.lines,
        "lines_by_type": dict(report.by_type),
        "seconds": round(report.seconds, 2),
    }


def publish(
    settings: Settings,
    log: Any,
    *,
    days: int | None,
    events: int | None,
    seed: int | None,
    rate: float | None,
    duration: float | None,
    to: str,
    out: str | None,
    gzip: bool,
    rotate: str | None,
    world: list[str] | None,
    processes: int,
    until: str | None,
) -> dict[str, Any]:
    """Publish outside of a flow run, for destinations that need no server (files, standard output)."""
    sink = Sink(to, out, gzip, rotate)
    if rate:
        report = _publish_live(settings, log, rate, duration, seed, sink, world)
    else:
        report = _publish_history(settings, log, days, events, seed, sink, world, processes, until)
    return {**report, "published": report["lines"]}


@contextmanager
def _publisher(
    settings: Settings, sink: Sink, name: str, channel: str, log: Any, stop: threading.Event
) -> Iterator[generators.Publisher]:
    if sink.to == "redis":
        with streams.connect(settings) as client:
            yield generators.RedisPublisher(
                client,
                capacity=settings.stream_capacity,
                shards=settings.stream_shards,
                on_wait=lambda waiting: log.warning("the stream is full (%s entries): waiting for ingestion", waiting),
            )
    elif sink.to == "files" and sink.rotate is not None:
        rule = rotation.Rotation.parse(sink.rotate)
        yield rotation.RotatingPublisher(sink.folder, name, rule, compress=sink.gzip)
    elif sink.to == "files":
        growing = name.startswith("live") and not sink.gzip  # half a gzip file cannot be read
        yield generators.JsonlPublisher(sink.folder, name, compress=sink.gzip, growing=growing)
    elif sink.to == "warehouse":
        yield direct.WarehousePublisher(settings, channel)
    elif sink.to == "stdout":
        yield generators.StdoutPublisher(on_gone=stop.set)  # `| head` has enough
    else:
        raise UsageError(f"--to {sink.to} is unknown. Choose one of {', '.join(DESTINATIONS)}.")


def _part_of(settings: Settings, sink: Sink, name: str) -> OpenPublisher:
    """Return how each of several processes makes its own publisher."""
    if sink.to == "redis":
        return partial(StreamPart, settings)
    if sink.to == "files" and sink.rotate is not None:
        return partial(rotation.rotating_part, sink.folder, name, rotation.Rotation.parse(sink.rotate), sink.gzip)
    if sink.to == "files":
        return partial(jsonl_part, sink.folder, name, compress=sink.gzip)
    raise UsageError(
        f"--processes goes with --to redis or --to files, not with {sink.to}: one process writes in order."
    )


@flow(name="generation")
def generate(
    days: int | None = None,
    events: int | None = None,
    seed: int | None = None,
    rate: float | None = None,
    duration: float | None = None,
    to: str = "redis",
    out: str | None = None,
    gzip: bool = False,
    rotate: str | None = None,
    world: list[str] | None = None,
    processes: int = 1,
    until: str | None = None,
) -> dict[str, Any]:
    """Publish history (default) or, with `rate`, live events. `published` counts lines, `events` the valid ones."""
    settings, sink = load_settings(), Sink(to, out, gzip, rotate)
    with stage(settings, "generation") as noted:
        report = (
            publish_live(rate, duration, seed, sink, world)
            if rate
            else publish_history(days, events, seed, sink, world, processes, until)
        )
        noted.rows_out = report["lines"]
        get_run_logger().info("%s", report)
        table_artifact(
            "generated", [{"type": kind, "lines": count} for kind, count in report["lines_by_type"].items()], "Sent"
        )
    return {**report, "published": report["lines"]}
