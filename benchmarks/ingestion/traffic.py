"""Events of 500 bytes in a fixed layout, with duplicates and dead letters, always the same.

The layout is fixed only so that a loader without checks can cut an event's id and time out with `substr`; ingestion
does not know of it. Times run once through the day, ids are UUIDs of version 7 (they sort by time) or 4 (they do not).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import duckdb

from searchflow import streams
from searchflow.settings import Settings

EVENT_BYTES = 500
SHARES = {"search": 0.70, "click": 0.25, "conversion": 0.05}
DUPLICATES, DEAD_LETTERS = 0.01, 0.005
"""The extra lines, as shares of the valid ones: exact copies of an earlier event, and lines that break the contract."""
RETRIED, REDELIVERED = 2_000, 100_000
"""The distances of copies from their original: half follow within so many events (a client tried again), half within so
many more (a producer sent a batch again): some lie in the same commit, some in one before."""

ID_LENGTH, TIME_LENGTH = 36, 23
_REST = {
    "search": ""","query":"{pad}","filters":{{"price_min":50,"price_max":900,"travelers":2}},"results_count":12,"page":1,'
        || '"platform":"web","device_type":"mobile","geo":{{"country":"CA","city":"Montreal","latitude":45.5,'
        || '"longitude":-73.6}},"utm_source":"google","utm_medium":"cpc","utm_campaign":"spring"}}""",
    "click": ""","search_event_id":"{pad}","result_id":"hotel-4711","result_position":3,"result_type":"hotel",'
        || '"result_price":189.5,"result_provider":"Hotels Inc","result_destination":"Montreal"}}""",
    "conversion": ""","click_event_id":"{pad}","booking_value":512.25,"commission":51.2,"currency":"CAD",'
        || '"product_type":"hotel","provider":"Hotels Inc"}}""",
}
_IDS = {
    7: """format('{{}}-{{}}-7{{}}-8{{}}-{{}}', substr(clock, 1, 8), substr(clock, 9, 4), substr(draw, 1, 3),
        substr(draw, 4, 3), substr(draw, 7, 12))""",
    4: """format('{{}}-{{}}-4{{}}-8{{}}-{{}}', substr(draw, 1, 8), substr(draw, 9, 4), substr(draw, 13, 3),
        substr(draw, 16, 3), substr(draw, 19, 12))""",
}
_LINES = """
WITH drawn AS (
    SELECT number, epoch_ms(TIMESTAMP '{day}') + number * 86_399_000 // {of} AS ms, md5('{seed}' || number) AS draw
    FROM range({first}, {last}) AS numbers (number)
), parts AS (
    SELECT number, make_timestamp(ms * 1000) AS event_ts, printf('%012x', ms) AS clock, draw,
           repeat(md5(draw) || md5('2' || draw), 6) AS filler
    FROM drawn
), events AS (
    SELECT number, event_ts, filler, {identifier} AS event_id,
           printf('s-%012d', number // 3) AS session_id, printf('u-%08d', number % 50000) AS user_id
    FROM parts
)
SELECT event_id, event_ts, user_id, session_id,
       '{{"event_type":"{event_type}","event_id":"' || event_id || '","timestamp":"'
       || strftime(event_ts, '%Y-%m-%dT%H:%M:%S.%gZ') || '","session_id":"' || session_id || '","user_id":"' || user_id
       || '"{rest}' AS payload
FROM events
"""


@dataclass(frozen=True)
class Traffic:
    """A day's events of one type: `events` valid ones; equal traffic gives equal bytes."""

    event_type: str
    events: int
    day: date
    seed: str
    id_version: int = 7

    def select(self, first: int = 0, last: int | None = None) -> str:
        """Return a SELECT of the valid events `first` to `last`: event_id, event_ts, user_id, session_id, payload."""
        padding = EVENT_BYTES - self._length_without_padding()
        return self._select(first, self.events if last is None else last, f"' || left(filler, {padding}) || '")

    def _select(self, first: int, last: int, padding: str) -> str:
        rest = _REST[self.event_type].format(pad=padding)
        return _LINES.format(
            day=self.day,
            of=max(self.events, 1),
            first=first,
            last=last,
            seed=self.seed + self.event_type,
            identifier=_IDS[self.id_version].format(),
            event_type=self.event_type,
            rest=rest,
        )

    def _length_without_padding(self) -> int:
        row = duckdb.connect(":memory:").execute(self._select(0, 1, "")).fetchone()
        assert row is not None
        return len(row[4])


def id_offset(event_type: str) -> int:
    """Return where an event's id begins in its line, counted from 1 as in SQL."""
    return len(f'{{"event_type":"{event_type}","event_id":"') + 1


@dataclass
class Published:
    """The counts of what was put into the streams; ingestion must find the same."""

    received: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    entries: dict[str, int] = field(default_factory=dict)


def publish(settings: Settings, traffics: list[Traffic], batch: int = 500) -> Published:
    """Put the traffic into its streams, compressed entries of `batch` events, with its faults among it."""
    published = Published()
    with streams.connect(settings) as client, duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_progress_bar = false")
        for traffic in traffics:
            valid = [row[0].encode() for row in connection.sql(f"SELECT payload FROM ({traffic.select()})").fetchall()]
            lines = list(_with_faults(valid, random.Random(traffic.seed), published))  # noqa: S311 (not a secret)
            published.received += streams.publish(client, traffic.event_type, lines, batch=batch, codec="zstd")
            published.entries[traffic.event_type] = int(client.xlen(streams.EVENT_STREAMS[traffic.event_type]))
    return published


def _with_faults(valid: list[bytes], draws: random.Random, published: Published) -> Iterator[bytes]:
    for place, line in enumerate(valid):
        yield line
        chance = draws.random()
        if chance < DUPLICATES:
            published.duplicates += 1
            yield valid[draws.randint(max(0, place - draws.choice((RETRIED, REDELIVERED))), place)]
        elif chance < DUPLICATES + DEAD_LETTERS:
            published.dead_letters += 1
            yield _spoiled(line, draws.randrange(4))


def _spoiled(line: bytes, kind: int) -> bytes:
    """Return a spoiled line: not JSON, without its session, with a time of no zone, or the same id for another
    document; equally long."""
    if kind == 0:
        return line[:-1]
    good, bad = ((b'"session_id"', b'"session_ix"'), (b'Z",', b'?",'), (b'"s-', b'"t-'))[kind - 1]
    return line.replace(good, bad, 1)
