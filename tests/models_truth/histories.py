"""Random small histories, leaning on what models get wrong: times on borders, late and double events, logins, money."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

NOW = datetime(2026, 4, 10, 12)  # noqa: DTZ001  (UTC, as the warehouse keeps it)
FIRST, LAST = datetime(2026, 2, 26).date(), NOW.date()  # noqa: DTZ001
UNKNOWN = "00000000-0000-4000-8000-ffffffffffff"

DAYS = ("2026-03-01", "2026-03-07", "2026-03-08", "2026-03-29", "2026-03-31", "2026-04-07")
"""Nights on which clocks change (8 March in Toronto, 29 March in London), and days that are 30 or 31 apart."""
CLOCKS = (
    "00:00:00",
    "00:00:01",
    "00:15:00",
    "01:59:59",
    "02:30:00",
    "06:59:59",
    "12:00:00",
    "23:30:00",
    "23:45:00",
    "23:59:59",
)
GAPS = [timedelta(seconds=each) for each in (0, 1, 300, 1799, 1800, 1801, 5400, 43_200, 86_400)]
ZONES = ("UTC", "America/Toronto", "Europe/London", "Asia/Kolkata")
SOURCES: list[tuple[str | None, ...]] = [
    (None, None, None),
    (None, None, None),
    ("google", "cpc", "brand"),
    ("google", "cpc", "summer"),
    ("bing", "PPC", None),
    ("newsletter", "email", "april"),
    ("google", "organic", None),
    (None, None, "poster"),
]
STAYS = (None, {"travelers": 2}, {"dates": ["2026-03-08", "2026-03-10"]}, {"dates": ["2026-06-01"]})
PRICES = (0, 0.01, 19.995, 33.33, 100, 499.99, 500.01)
CURRENCIES = (None, "CAD", "USD", "EUR", "JPY", "usd", "XXX")


@dataclass(frozen=True)
class Event:
    """One event as received: its JSON, and when it came in (UTC, naive)."""

    document: str
    ingested_at: datetime

    @property
    def fields(self) -> dict[str, Any]:
        return dict(json.loads(self.document))


@dataclass(frozen=True)
class Spend:
    """What a campaign cost on a day."""

    day: date
    source: str | None
    campaign: str | None
    currency: str
    cost: float


@st.composite
def spendings(draw: st.DrawFn) -> list[Spend]:
    """Some days' spend, of campaigns that visits name and of others."""
    campaigns = [
        ("google", "brand"),
        ("google", "summer"),
        ("newsletter", "april"),
        ("bing", None),
        ("meta", "unheard of"),
    ]
    days = st.sampled_from([date(2026, 3, 1), date(2026, 3, 8), date(2026, 4, 7)])
    amount = st.tuples(st.sampled_from(("CAD", "USD", "XXX")), st.sampled_from((0.0, 0.01, 19.995, 250.0)))
    chosen = draw(st.dictionaries(st.tuples(days, st.sampled_from(campaigns)), amount, max_size=4))
    return [Spend(day, source, campaign, *paid) for (day, (source, campaign)), paid in chosen.items()]


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events of a few visitors over six weeks, in no order."""
    events: list[Event] = []
    made: dict[str, list[str]] = {"search": [], "click": [UNKNOWN]}
    for _ in range(draw(st.integers(1, 7))):
        session = draw(st.sampled_from(("anna", "ben", "cleo", "dora")))
        user = draw(st.sampled_from((None, None, "user-1", "user-2")))
        clock = datetime.fromisoformat(f"{draw(st.sampled_from(DAYS))}T{draw(st.sampled_from(CLOCKS))}+00:00")
        source = draw(st.sampled_from(SOURCES))
        for kind in draw(_visit()):
            events.append(_event(draw, len(events) + 1, kind, clock, session, user, source, made))
            user = user or draw(st.sampled_from((None, None, None, "user-1", "user-3")))
            clock += draw(st.sampled_from(GAPS))
    events += draw(st.sampled_from((_no_events, _no_events, _bot, _marathon, _night_and_day)))()
    events += draw(st.one_of(st.just([]), st.just([]), _shoppers()))
    doubles = draw(st.lists(st.sampled_from(events), max_size=2)) if events else []
    return events + doubles


@st.composite
def _visit(draw: st.DrawFn) -> list[str]:
    return draw(st.lists(st.sampled_from(("search", "search", "click", "click", "conversion")), min_size=1, max_size=6))


def _event(
    draw: st.DrawFn,
    number: int,
    kind: str,
    clock: datetime,
    session: str,
    user: str | None,
    source: tuple[str | None, ...],
    made: dict[str, list[str]],
) -> Event:
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    fields: dict[str, Any] = {
        "event_id": _id(number),
        "event_type": kind,
        "timestamp": clock.astimezone(zone).isoformat(),
        "session_id": session,
        "user_id": user,
    }
    if kind == "search":
        fields |= {"query": draw(st.sampled_from(("", "Lisbon", "hotels in Porto")))}
        fields |= {
            "results_count": draw(st.sampled_from((None, 0, 20, 40))),
            "platform": draw(st.sampled_from((None, "web", "ios"))),
            "page": draw(st.sampled_from((1, 1, 2))),
            "filters": draw(st.sampled_from(STAYS)),
        }
        fields |= {"device_type": "mobile", "geo": {"country": draw(st.sampled_from(("CA", "PT")))}}
        fields |= dict(zip(("utm_source", "utm_medium", "utm_campaign"), source, strict=True))
        made["search"].append(_id(number))
    elif kind == "click":  # its search may be anybody's, come later than it, or never
        fields |= {
            "search_event_id": draw(st.sampled_from([*made["search"], _id(number + 1), UNKNOWN])),
            "result_id": "r1",
        }
        fields |= {
            "result_position": draw(st.sampled_from((None, 1, 3, 30))),
            "result_destination": draw(st.sampled_from((None, "Lisbon", "Lisbon", "Porto", "Oslo"))),
        }
        made["click"].append(_id(number))
    else:
        fields |= {
            "click_event_id": draw(st.sampled_from(made["click"][-3:])).upper(),
            "booking_value": draw(st.sampled_from(PRICES)),
        }
        fields |= {"currency": draw(st.sampled_from(CURRENCIES))}
    late = draw(st.sampled_from((1, 1, 1, 3600, 86_400 * 3, 86_400 * 60)))
    return Event(json.dumps(fields), clock.replace(tzinfo=None) + timedelta(seconds=late))


@st.composite
def _shoppers(draw: st.DrawFn) -> list[Event]:
    """People who look at places over weeks, some before they log in, and book now and then."""
    events: list[Event] = []
    for number in range(draw(st.integers(4, 12))):
        shopper = draw(st.sampled_from(("eve", "fay", "gus")))
        session = f"{shopper}-{draw(st.integers(1, 3))}"
        user = draw(st.sampled_from((None, shopper, shopper)))
        clock = datetime(2026, 3, 9, 18, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 31)), hours=number)
        ids = [_id(0x2000 + 3 * number + step) for step in range(3)]
        place = draw(st.sampled_from(("Lisbon", "Porto", "Oslo", "Rome")))
        search = {
            "query": "",
            "results_count": draw(st.sampled_from((3, 20, 60))),
            "page": draw(st.sampled_from((1, 1, 2))),
        }
        click = {
            "search_event_id": ids[0],
            "result_position": draw(st.sampled_from((1, 2, 26))),
            "result_destination": place,
        }
        booking = {"click_event_id": ids[1], "booking_value": draw(st.sampled_from(PRICES))}
        steps: list[tuple[str, dict[str, Any], timedelta]] = [
            ("search", search, timedelta()),
            ("click", {"result_id": "r", **click}, draw(st.sampled_from((timedelta(minutes=1), timedelta(days=2))))),
            ("conversion", booking, timedelta(days=draw(st.integers(0, 9)), minutes=5)),
        ]
        for event_id, (kind, fields, later) in zip(ids, steps[: draw(st.sampled_from((2, 2, 2, 3)))], strict=False):
            about = {"event_id": event_id, "event_type": kind, "session_id": session, "user_id": user}
            document = {**about, "timestamp": (clock + later).isoformat(), **fields}
            events.append(Event(json.dumps(document), (clock + later).replace(tzinfo=None)))
    return events


def _no_events() -> list[Event]:
    return []


def _burst(session: str, start: datetime, pace: timedelta, count: int) -> list[Event]:
    moments = [start + pace * each for each in range(count)]
    return [
        Event(
            json.dumps(
                {
                    "event_id": _id(0x1000 + number),
                    "event_type": "search",
                    "timestamp": moment.isoformat(),
                    "session_id": session,
                    "query": "everything",
                    "results_count": 5,
                    "utm_source": "google" if number % 7 == 0 else None,
                }
            ),
            moment.replace(tzinfo=None),
        )
        for number, moment in enumerate(moments)
    ]


def _bot() -> list[Event]:
    """Just too fast for a person: 20 searches in 57 seconds."""
    return _burst("bot", datetime(2026, 3, 8, 23, 59, 30, tzinfo=UTC), timedelta(seconds=3), 20)


def _marathon() -> list[Event]:
    """A session of a known visitor that never sleeps, for three days."""
    return _burst("anna", datetime(2026, 3, 7, 11, 40, tzinfo=UTC), timedelta(minutes=29), 150)


def _night_and_day() -> list[Event]:
    """Awake for ten minutes more than the day after which a midnight cuts a session."""
    return _burst("anna", datetime(2026, 3, 6, 23, 50, tzinfo=UTC), timedelta(minutes=29), 60)
