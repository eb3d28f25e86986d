"""Runs: what was sent until when. `generation.json` in the home folder remembers the world and how far it was
published.

The world is written before the first publication and the moment after each: a run that is killed in between is repeated
from where the last one ended, line by line, and ingestion drops what it already has.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from generators import faults, feeds
from generators.answer_key import AnswerKey
from generators.parallel import OpenPublisher, Workers
from generators.publishers import Publisher
from generators.settings import (
    DEFAULT_DAYS,
    DEFAULT_EVENTS,
    DEFAULT_SEED,
    FaultSettings,
    FunnelSettings,
    SimulationSettings,
    milliseconds,
    moment,
)
from generators.simulation import Batch, Simulation
from searchflow.errors import ConfigurationError, UsageError
from searchflow.progress import progress
from searchflow.settings import Settings


class GenerationState(Struct, frozen=True, kw_only=True):
    """The world of this home folder, and the moment up to which its events were published (None: not once)."""

    simulation: SimulationSettings
    generated_until: datetime | None = None
    version: int = 1


@dataclass(frozen=True)
class Range:
    """The range that the next run sends: events that arrive after `after` (None: from the start of history) up to
    `until`."""

    simulation: SimulationSettings
    after: datetime | None
    until: datetime

    @property
    def is_first(self) -> bool:
        """Return whether nothing was sent before."""
        return self.after is None

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing new to send."""
        return self.after is not None and self.after >= self.until

    @property
    def name(self) -> str:
        """Return the range's name for files: a file named so never gets other content."""
        begin = self.after or moment(self.simulation.start_ms)
        return f"{feeds.stamp(begin)}_{feeds.stamp(self.until)}"

    @property
    def expected_events(self) -> int:
        """Return about how many events the range holds."""
        begin = milliseconds(self.after) if self.after else self.simulation.start_ms
        return max(0, round((milliseconds(self.until) - begin) / 86_400_000 * self.simulation.events_per_day))


@dataclass
class RunReport:
    """The counts of what a run sent."""

    range: Range
    events: int = 0  # valid ones: each must be stored
    lines: int = 0  # all of them
    duplicates: int = 0
    dead_letters: int = 0
    by_type: Counter[str] = field(default_factory=Counter)  # lines
    dead_letters_by_reason: Counter[str] = field(default_factory=Counter)
    feeds: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    def count(self, batch: Batch) -> None:
        """Add a batch that was sent."""
        for event_type, frame in batch.frames.items():
            self.by_type[event_type] += len(frame)
            for code, count in frame["fate"].value_counts().iter_rows():
                reason = faults.reason_code(code)
                self.events += count if code == faults.STORED else 0
                self.duplicates += count if code == faults.DUPLICATE else 0
                if reason is not None:
                    self.dead_letters += count
                    self.dead_letters_by_reason[reason] += count
        self.lines += len(batch)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON and for tables."""
        return {
            "after": self.range.after.isoformat() if self.range.after else None,
            "until": self.range.until.isoformat(),
            "events": self.events,
            "lines": self.lines,
            "lines_by_type": dict(self.by_type),
            "duplicates": self.duplicates,
            "dead_letters": self.dead_letters,
            "dead_letters_by_reason": dict(self.dead_letters_by_reason),
            "feeds": [str(path) for path in self.feeds],
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
        }


def state_path(settings: Settings) -> Path:
    """Return the path of this home's state."""
    return settings.home / "generation.json"


def load_state(settings: Settings) -> GenerationState | None:
    """Return the state, or None when nothing was generated yet.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = state_path(settings)
    try:
        return msgspec.json.decode(path.read_bytes(), type=GenerationState)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            str(path), f"not a generation state ({error}).", "Restore it, or use a new SEARCHFLOW_HOME."
        ) from error


def save_state(settings: Settings, state: GenerationState) -> None:
    """Write the state, whole or not at all."""
    path = state_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".json.part")
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
    unfinished.replace(path)


def next_range(
    state: GenerationState | None,
    now: datetime,
    *,
    days: int | None = None,
    events: int | None = None,
    seed: int | None = None,
    until: datetime | None = None,
    funnel: FunnelSettings | None = None,
    faults: FaultSettings | None = None,
) -> Range:
    """Return what to send now: the whole history the first time, afterwards what is new since.

    History ends at `until`, or `now` when that is None. `days` and `events` describe the first history; a world that
    exists keeps its own.

    Raises:
        UsageError: the world of this home has another seed, or another funnel or other faults than asked for; `until` is
            ahead of `now`, or before what this home has already.
    """
    asked, until = until, moment(milliseconds((until or now).astimezone(UTC)))
    if until > now:
        raise UsageError(
            f"--until {until.isoformat()} is ahead of the clock: ingestion refuses such events. Give a past moment."
        )
    if state is None:
        world = SimulationSettings.for_history(
            until=until,
            days=DEFAULT_DAYS if days is None else days,
            events=DEFAULT_EVENTS if events is None else events,
            seed=DEFAULT_SEED if seed is None else seed,
            funnel=funnel,
            faults=faults,
        )
        return Range(world, None, until)
    if seed is not None and seed != state.simulation.seed:
        raise UsageError(
            f"This home was generated with seed {state.simulation.seed}, not {seed}. "
            "Leave --seed out, or set SEARCHFLOW_HOME to another folder."
        )
    if (funnel or state.simulation.funnel, faults or state.simulation.faults) != (
        state.simulation.funnel,
        state.simulation.faults,
    ):
        raise UsageError(
            "This home has a world with other settings. Leave --set out, or set SEARCHFLOW_HOME to another."
        )
    done = state.generated_until
    if asked is not None and done is not None and until < done:
        raise UsageError(
            f"This home has history up to {done.isoformat()}, which is after {until.isoformat()}. "
            "Give a later --until, or set SEARCHFLOW_HOME to another folder."
        )
    return Range(state.simulation, done, until if done is None else max(until, done))


def publish_range(
    settings: Settings,
    wanted: Range,
    publisher: Publisher | OpenPublisher,
    *,
    processes: int = 1,
    write_feeds: bool = True,
    feeds_folder: Path | None = None,
    answer_key: bool = True,
    key_folder: Path | None = None,
    remember: bool = True,
    stop: threading.Event | None = None,
    quiet: bool = False,
) -> RunReport:
    """Send a range: events, feeds, sealed answer key, and last the state. Ends early, in order, when `stop` is set.

    `publisher` may be a function that makes one for a partition: then `processes` workers send a partition each.

    Feeds go to `feeds_folder` and the answer key to `key_folder` (default: the home's). With `remember` off (files for
    another program, standard output) the state of this home stays as it is.
    """
    began = time.monotonic()
    report = RunReport(wanted)
    if wanted.is_empty:
        return report
    simulated = cache(partial(Simulation, wanted.simulation))  # here only when this process needs it
    if remember and wanted.is_first:
        simulated()  # a world that cannot be is refused before it is remembered
        save_state(settings, GenerationState(simulation=wanted.simulation))
    begin = wanted.after or moment(wanted.simulation.start_ms)
    # A range that this home remembers is repeated under its name; files beside others are a world of their own.
    name = f"run_{feeds.stamp(begin)}" if remember else f"run_{wanted.name}"
    key = AnswerKey(key_folder or settings.answer_key_dir, name) if answer_key else None
    sending = _sending(simulated, wanted, publisher, processes, stop, details=key is not None)
    with progress("publishing events", total=wanted.expected_events, quiet=quiet) as bar:
        for batch in sending:
            report.count(batch)
            if key is not None:
                key.add(batch)
            bar.advance(len(batch))
        bar.update(done=report.lines, total=report.lines)
    until, report.stopped = sending.until, sending.until < wanted.until
    report.range = Range(wanted.simulation, wanted.after, until)
    if write_feeds:
        report.feeds = feeds.write(simulated(), feeds_folder or settings.feeds_dir, after=wanted.after, until=until)
    if key is not None:
        key.add_feeds(report.feeds)
        key.seal(simulation=wanted.simulation, after=wanted.after, until=until)
    if remember:
        save_state(settings, GenerationState(simulation=wanted.simulation, generated_until=until))
    report.seconds = time.monotonic() - began
    return report


class _OneByOne:
    """A sender of a range in this process. Iterate over it: each batch comes once it was sent; then `until` says how
    far."""

    def __init__(
        self, simulation: Simulation, wanted: Range, publisher: Publisher, stop: threading.Event | None
    ) -> None:
        self._simulation, self._wanted, self._publisher, self._stop = simulation, wanted, publisher, stop
        self.until = wanted.until

    def __iter__(self) -> Iterator[Batch]:
        with self._publisher as publisher:
            for batch in self._simulation.batches(after=self._wanted.after, until=self._wanted.until):
                publisher.publish(batch)
                yield batch
                if self._stop is not None and self._stop.is_set():
                    self.until = batch.until
                    return


def _sending(
    simulated: Callable[[], Simulation],
    wanted: Range,
    publisher: Publisher | OpenPublisher,
    processes: int,
    stop: threading.Event | None,
    *,
    details: bool,
) -> _OneByOne | Workers:
    if not callable(publisher):
        return _OneByOne(simulated(), wanted, publisher, stop)
    return Workers(
        wanted.simulation,
        publisher,
        after=wanted.after,
        until=wanted.until,
        processes=processes,
        details=details,
        stop=stop,
    )


def current_world(
    settings: Settings,
    now: datetime,
    *,
    seed: int | None = None,
    funnel: FunnelSettings | None = None,
    faults: FaultSettings | None = None,
) -> SimulationSettings:
    """Return the world of this home, or a new one: for live traffic, which needs no history."""
    state = load_state(settings)
    if state is not None:
        return next_range(state, now, seed=seed, funnel=funnel, faults=faults).simulation
    until = moment(milliseconds(now.astimezone(UTC)))
    seed = DEFAULT_SEED if seed is None else seed
    return SimulationSettings.for_history(until=until, seed=seed, funnel=funnel, faults=faults)
