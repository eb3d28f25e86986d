"""Simulated traffic is in the streams (or in files): history up to now, or live events at a steady rate.

Runs on demand; `searchflow up` keeps one live run going. What was published is remembered, so that the next run sends
only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

import generators
from flows.support import stage, stopped_by_signals, table_artifact, utc_now
from generators.parallel import OpenPublisher
from generators.publishers import StreamPart, jsonl_part
from generators.runs import current_world
from searchflow import streams
from searchflow.errors import UsageError
from searchflow.settings import Settings, load_settings

DESTINATIONS = ("redis", "files", "stdout")


@task(cache_policy=NO_CACHE)
def publish_history(
    days: int | None, events: int | None, seed: int | None, to: str, out: str | None, processes: int = 1
) -> dict[str, Any]:
    """Everything that happened since the last publication (or since the start of history), up to now."""
    settings, log = load_settings(), get_run_logger()
    ours = to == "redis"  # files and standard output are for somebody else: the home does not remember them
    state = generators.load_state(settings) if ours else None
    wanted = generators.next_range(state, utc_now(), days=days, events=events, seed=seed)
    name = f"events_{wanted.name}"
    with _publisher(settings, to, out, name, log) as publisher, stopped_by_signals() as stop:
        report = generators.publish_range(
            settings,
            wanted,
            publisher if processes == 1 else _part_of(settings, to, out, name),
            processes=processes,
            feeds_folder=_folder(out) if to == "files" else None,
            write_feeds=to != "stdout",
            answer_key=ours,
            remember=ours,
            stop=stop,
        )
    return report.as_dict()


@task(cache_policy=NO_CACHE)
def publish_live(rate: float, duration: float | None, seed: int | None, to: str, out: str | None) -> dict[str, Any]:
    """Events as they happen, `rate` a second, for `duration` seconds or until told to stop."""
    settings, log = load_settings(), get_run_logger()
    name = f"live_{utc_now():%Y%m%dT%H%M%S}"
    with _publisher(settings, to, out, name, log) as publisher, stopped_by_signals() as stop:
        world = current_world(settings, utc_now(), seed=seed)
        key = generators.AnswerKey(settings.answer_key_dir, name, journal=True) if to == "redis" else None
        report = generators.run_live(world, rate, publisher, duration=duration, stop=stop, key=key)
    return {
        "events": report.events,
        "lines": report.lines,
        "lines_by_type": dict(report.by_type),
        "seconds": round(report.seconds, 2),
    }


@contextmanager
def _publisher(settings: Settings, to: str, out: str | None, name: str, log: Any) -> Iterator[generators.Publisher]:
    if to == "redis":
        with streams.connect(settings) as client:
            yield generators.RedisPublisher(
                client,
                capacity=settings.stream_capacity,
                on_wait=lambda waiting: log.warning("the stream is full (%s entries): waiting for ingestion", waiting),
            )
    elif to == "files":
        yield generators.JsonlPublisher(_folder(out), name, growing=name.startswith("live"))
    elif to == "stdout":
        yield generators.StdoutPublisher()
    else:
        raise UsageError(f"--to {to} is unknown. Choose one of {', '.join(DESTINATIONS)}.")


def _part_of(settings: Settings, to: str, out: str | None, name: str) -> OpenPublisher:
    """How each of several processes makes its own publisher."""
    if to == "redis":
        return partial(StreamPart, settings)
    if to == "files":
        return partial(jsonl_part, _folder(out), name)
    raise UsageError(f"--processes goes with --to redis or --to files, not with {to}: one process writes in order.")


def _folder(out: str | None) -> Path:
    return Path(out or "events")


@flow(name="generation")
def generate(
    days: int | None = None,
    events: int | None = None,
    seed: int | None = None,
    rate: float | None = None,
    duration: float | None = None,
    to: str = "redis",
    out: str | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Publish history (default) or, with `rate`, live events. `published` counts lines, `events` the valid ones."""
    settings = load_settings()
    with stage(settings, "generation") as noted:
        report = (
            publish_live(rate, duration, seed, to, out)
            if rate
            else publish_history(days, events, seed, to, out, processes)
        )
        noted.rows_out = report["lines"]
        get_run_logger().info("%s", report)
        table_artifact(
            "generated", [{"type": kind, "lines": count} for kind, count in report["lines_by_type"].items()], "Sent"
        )
    return {**report, "published": report["lines"]}
