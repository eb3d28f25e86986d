"""The settings that a simulation depends on. Equal settings give byte-identical events, whatever part of them is asked
for."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal, Self

from msgspec import Struct, structs

from searchflow.errors import UsageError
from searchflow.events import EVENT_CLASSES

DAY_MS = 86_400_000
DEFAULT_SEED = 42
DEFAULT_DAYS = 400
DEFAULT_EVENTS = 250_000
MAX_EVENTS_PER_DAY = 5_000_000
"""The most events per day: above this one day no longer fits comfortably into memory."""


class FunnelSettings(Struct, frozen=True, kw_only=True):
    """The settings for how many travellers pass each step."""

    click_rate: float = 0.30  # share of searches with at least one click
    conversion_rate: float = 0.10  # share of clicks that lead to a booking
    zero_result_rate: float = 0.06  # share of searches that find nothing
    anonymous_share: float = 0.40  # share of visits that begin without login
    login_midway_share: float = 0.15  # share of those that log in half-way
    books_again: float = 0.05  # of decisions: a booking even when the trip has booked such a product before
    position_exponent: float = 1.25  # clicks on position p are proportional to p ** -exponent


class NewField(Struct, frozen=True, kw_only=True):
    """A field that no contract knows, sent with every event from a day on (schema evolution)."""

    name: str
    since: date
    kind: Literal["string", "integer", "number", "boolean"] = "string"


class FaultSettings(Struct, frozen=True, kw_only=True):
    """The faults on the way; each is a share. `FaultSettings.none()` switches all of it off."""

    duplicates: float = 0.002  # of events: sent again, byte for byte
    late: float = 0.005  # of visits: their events arrive hours later (log-normal, up to 72)
    out_of_order: float = 0.02  # of events: arrive up to a minute later
    clock_skew: float = 0.0  # of visits: the client's clock is hours behind or minutes ahead
    runaway_bots: float = 0.004  # of searches: from programs that search and never click
    clicking_bots: float = (
        0.0  # of searches: from programs that click on every result page within a quarter of a second
    )
    new_fields: tuple[NewField, ...] = ()
    # Of events: accompanied by a line that must become a dead letter for this reason.
    invalid_utf8: float = 0.00003
    invalid_json: float = 0.00007
    not_an_object: float = 0.00003
    unknown_event_type: float = 0.00003
    missing_field: float = 0.0001
    wrong_type: float = 0.00007
    invalid_value: float = 0.00003
    timestamp_in_future: float = 0.00003
    timestamp_too_old: float = 0.00003
    too_large: float = 0.00001
    conflicting_duplicate: float = 0.00003

    @classmethod
    def none(cls) -> Self:
        """Return the settings of a perfect world."""
        return cls(**dict.fromkeys(cls.shares(), 0.0))  # type: ignore[arg-type]

    @classmethod
    def shares(cls) -> list[str]:
        """Return the names of the settings that are shares."""
        return [field.name for field in structs.fields(cls) if field.type is float or field.type == "float"]

    @property
    def bots(self) -> float:
        """Return the share of searches that programs make."""
        return self.runaway_bots + self.clicking_bots

    @property
    def clicking_share_of_bots(self) -> float:
        """Return the share of bots that click."""
        return self.clicking_bots / self.bots if self.bots else 0.0


class SimulationSettings(Struct, frozen=True, kw_only=True):
    """The settings of one simulated world.

    `events_per_day` is the mean over `start` .. `normalized_until`. Both are fixed once: what is asked for later
    (`Simulation.batches(until=…)`) never changes an earlier event.
    """

    seed: int = DEFAULT_SEED
    start: date  # first day of history (UTC)
    normalized_until: datetime  # UTC
    events_per_day: float
    growth: float = 0.25  # a year
    travellers: int | None = None  # who joined in the three years before `start`; None: follows from the traffic
    funnel: FunnelSettings = FunnelSettings()
    faults: FaultSettings = FaultSettings()

    @classmethod
    def for_history(
        cls,
        *,
        until: datetime,
        days: int = DEFAULT_DAYS,
        events: int = DEFAULT_EVENTS,
        seed: int = DEFAULT_SEED,
        funnel: FunnelSettings | None = None,
        faults: FaultSettings | None = None,
    ) -> Self:
        """Return a world with about `events` valid events in the `days` days before `until`.

        Trips arrive as a Poisson process whose rate is set so that the number of trips fits; what each of them does is
        left to chance. The standard deviation of the total, over 20 seeds at 25,000 events, is 2.2 * sqrt(events), or 1.4%.

        Raises:
            UsageError: a value cannot be used; says which.
        """
        if days < 1 or events < 1:
            raise UsageError("A simulation needs at least one day and one event. Give --days 1 or more.")
        if until.tzinfo is None:
            raise UsageError("`until` has no time zone. Pass a UTC date and time.")
        until = until.astimezone(UTC)
        start = (until - timedelta(days=days)).date()
        length = (until - datetime(start.year, start.month, start.day, tzinfo=UTC)) / timedelta(days=1)
        made = cls(
            seed=seed,
            start=start,
            normalized_until=until,
            events_per_day=events / length,
            funnel=funnel or FunnelSettings(),
            faults=faults or FaultSettings(),
        )
        made.check()
        return made

    @property
    def start_ms(self) -> int:
        """Return `start` in milliseconds since 1970."""
        return self.start_day * DAY_MS

    @property
    def start_day(self) -> int:
        """Return `start` in days since 1970."""
        return (self.start - date(1970, 1, 1)).days

    def check(self) -> None:
        """Refuse settings that would give nonsense.

        Raises:
            UsageError: a value cannot be used; says which.
        """
        if self.normalized_until.tzinfo is None or milliseconds(self.normalized_until) <= self.start_ms:
            raise UsageError(f"The simulation ends before it starts ({self.start}). Choose a later end.")
        if not 0 < self.events_per_day <= MAX_EVENTS_PER_DAY:
            raise UsageError(
                f"{self.events_per_day:,.0f} events a day cannot be simulated (at most {MAX_EVENTS_PER_DAY:,}). "
                "Give fewer events or more days."
            )
        for group in (self.funnel, self.faults):
            for field in structs.fields(group):
                value = getattr(group, field.name)
                if field.name == "position_exponent":
                    if not 0 <= value <= 5:
                        raise UsageError(f"position_exponent is {value}. Choose a number between 0 and 5.")
                elif field.name != "new_fields" and not 0 <= value <= 0.9:
                    raise UsageError(f"{field.name} is {value}. Choose a share between 0 and 0.9.")
        known = {"event_type"}.union(*(event.__struct_fields__ for event in EVENT_CLASSES.values()))
        for new in self.faults.new_fields:
            if not new.name or new.name in known:
                raise UsageError(f"A new field cannot be called {new.name!r}: choose a name that events do not have.")
        if self.faults.bots > 0.5:
            raise UsageError(f"Bots would make {self.faults.bots} of all searches. Choose a share of at most 0.5.")


def parse_moment(option: str, text: str) -> datetime:
    """Return the moment that a person wrote: `2026-01-31` (its first instant) or a time, in UTC unless it has an
    offset.

    Raises:
        UsageError: it is none; names the option.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text} is no time. Write 2026-01-31 or 2026-01-31T12:00:00Z.") from None


def milliseconds(moment: datetime) -> int:
    """Return the whole milliseconds since 1970 of an aware date and time (exact: no floating point)."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def moment(ms: int) -> datetime:
    """Return the UTC date and time of `ms` milliseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(ms))
