"""Every line that was sent, by event id, and what must have become of it: stored, dropped as a repeat, or a dead letter."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import redis

from generators import faults
from generators.simulation import Batch
from searchflow import streams
from searchflow.events import MAX_EVENT_BYTES
from searchflow.streams import EVENT_TYPES
from tests.chaos.soak.verdict import Finding

STORED, DUPLICATE, LETTER, ERASED, REPLAYED = "stored", "duplicate", "letter", "erased", "replayed"


def digest(line: bytes) -> str:
    """What a dead letter is known by: of a line that is too large the first 64 KiB are kept."""
    return hashlib.sha256(line[:MAX_EVENT_BYTES]).hexdigest()


class Books:
    """What was sent. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], str] = {}
        self._letters: dict[str, str] = {}
        self.letter_lines: list[str] = []
        self.lines = 0
        self.lines_in_doubt = 0
        self.letters_in_doubt: list[str] = []

    def note(self, event_type: str, event_id: str | None, fate: str, line: bytes) -> None:
        """One line, before it is sent."""
        with self._lock:
            self.lines += 1
            if fate == LETTER:
                self.letter_lines.append(digest(line))
            elif event_id is not None and fate == STORED:
                self._ids[event_type, event_id.lower()] = STORED

    def sent_again(self, lines: Iterable[bytes]) -> None:
        """Lines of an entry that a server took or did not take before it was killed: they may be there once more."""
        with self._lock:
            again = list(lines)
            self.lines_in_doubt += len(again)
            self.letters_in_doubt += [digest(line) for line in again]

    def note_batch(self, batch: Batch) -> None:
        """The lines of a batch of the simulator, which says what becomes of each."""
        for event_type, frame in batch.frames.items():
            for event_id, code, line in frame.select("event_id", "fate", "line").iter_rows():
                fate = {faults.STORED: STORED, faults.DUPLICATE: DUPLICATE}.get(code, LETTER)
                self.note(event_type, str(event_id), fate, bytes(line))

    def change(self, event_type: str, event_ids: Iterable[str], fate: str) -> None:
        """What else became of events: a person was erased, a letter was replayed."""
        with self._lock:
            self._ids.update({(event_type, event_id.lower()): fate for event_id in event_ids})

    def table(self) -> pa.Table:
        """`event_type`, `event_id`, `fate` of every event that was valid or became so."""
        with self._lock:
            rows = [(kind, name, fate) for (kind, name), fate in self._ids.items()]
        return pa.table(
            {column: [row[at] for row in rows] for at, column in enumerate(("event_type", "event_id", "fate"))},
            schema=pa.schema([(name, pa.string()) for name in ("event_type", "event_id", "fate")]),
        )


class Noting:
    """A publisher that notes every line in the books before it sends it."""

    def __init__(self, client: redis.Redis, books: Books) -> None:
        self._client, self._books = client, books

    def publish(self, batch: Batch) -> int:
        """Note and send."""
        self._books.note_batch(batch)
        return sum(
            streams.publish(self._client, event_type, batch.lines(event_type), codec="zstd")
            for event_type, frame in batch.frames.items()
            if len(frame)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


STORED_IDS = " UNION ALL ".join(
    f"SELECT '{kind}' AS event_type, lower(event_id) AS event_id FROM raw.{kind}_events" for kind in EVENT_TYPES
)


def balance(connection: duckdb.DuckDBPyConnection, books: Books) -> Iterator[Finding]:
    """Findings about the raw tables, in one snapshot of them. None: every line is where it belongs, once."""
    connection.register("sent", books.table())
    connection.register("sent_letters", _digests(books.letter_lines))
    connection.register("letters_in_doubt", _digests(books.letters_in_doubt))
    connection.execute("BEGIN")
    try:
        yield from _events(connection)
        yield from _letters(connection)
        yield from _sums(connection, books)
    finally:
        connection.execute("ROLLBACK")
        connection.unregister("sent")
        connection.unregister("sent_letters")
        connection.unregister("letters_in_doubt")


def _digests(names: list[str]) -> pa.Table:
    return pa.table({"digest": pa.array(names, pa.string())})


def _events(connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    questions = {
        "event lost": f"SELECT event_type, event_id FROM sent WHERE fate IN ('{STORED}', '{REPLAYED}') "
        f"EXCEPT SELECT event_type, event_id FROM ({STORED_IDS})",
        "event not sent": f"SELECT event_type, event_id FROM ({STORED_IDS}) EXCEPT SELECT event_type, event_id FROM sent "
        f"WHERE fate IN ('{STORED}', '{REPLAYED}')",
        "event stored twice": f"SELECT event_type, event_id FROM ({STORED_IDS}) GROUP BY ALL HAVING count(*) > 1",
    }
    for rule, question in questions.items():
        rows = connection.execute(f"{question} ORDER BY ALL").fetchall()
        if rows:
            yield Finding(rule, f"{len(rows)} events, for example {rows[0][0]} {rows[0][1]}")


def _letters(connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """Each refused line is a dead letter, byte for byte; no line that was fine is one."""
    rows = connection.execute(
        """
        WITH kept AS (SELECT sha256(raw_payload) AS digest, count(*) AS found FROM raw.dead_letters GROUP BY ALL),
        due AS (SELECT digest, count(*) AS wanted FROM sent_letters GROUP BY ALL),
        doubtful AS (SELECT digest, count(*) AS maybe FROM letters_in_doubt GROUP BY ALL)
        SELECT coalesce(sum(greatest(coalesce(wanted, 0) - coalesce(found, 0), 0)), 0),
               coalesce(sum(greatest(coalesce(found, 0) - coalesce(wanted, 0) - coalesce(maybe, 0), 0)), 0)
        FROM kept FULL JOIN due USING (digest) LEFT JOIN doubtful USING (digest)
        """
    ).fetchall()
    missing, unknown = rows[0]
    if missing:
        yield Finding("dead letter lost", f"{missing} lines that had to be dead letters are none")
    if unknown:
        yield Finding("dead letter not sent", f"{unknown} dead letters hold no line that had to be refused")


def _sums(connection: duckdb.DuckDBPyConnection, books: Books) -> Iterator[Finding]:
    received, apart = connection.execute(
        "SELECT coalesce(sum(received) FILTER (shard <> 'replay'), 0), "
        "coalesce(sum(received - stored - duplicates - dead_letters), 0) FROM ops.ingestion_batches "
        "WHERE event_type IN ('search', 'click', 'conversion')"
    ).fetchall()[0]
    if not books.lines <= received <= books.lines + books.lines_in_doubt:
        yield Finding("lines received", f"{books.lines} lines were sent and {received} received")
    if apart:
        yield Finding("accounting", f"received differs from stored + duplicates + dead letters by {apart}")
