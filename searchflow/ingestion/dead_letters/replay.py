"""Replay: validates open dead letters again, repaired by a fix or not, and stores those that pass.

One commit takes a number of dead letters. Their rows, marks, counts and message are one transaction. It is stamped and
committed like any commit of ingestion, so the next transformation rebuilds the days it touches. Inside the transaction
the dead letters are looked at once more, and those that another replay closed meanwhile are left alone. Of two replays
that touch the same dead letters or event type, the lake lets only one commit; the other begins its transaction again.
So a dead letter is stored at most once, whichever process is killed, and whenever.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import duckdb
import pyarrow as pa

from searchflow import tracing, warehouse
from searchflow.events import MAX_EVENT_BYTES, Rejection
from searchflow.ingestion import checks, positions
from searchflow.ingestion import commit as committing
from searchflow.ingestion.cut import CommitGate
from searchflow.ingestion.dead_letters import closing, letters
from searchflow.ingestion.dead_letters.fixes import Fix
from searchflow.ingestion.source import SourceBatch
from searchflow.ingestion.stored import complete, look
from searchflow.ingestion.tombstones import ERASED, Tombstones
from searchflow.ingestion.worker import Clock, limits_of
from searchflow.ops import audit_log, record
from searchflow.settings import Settings

SHARD, SOURCE = "replay", "dead_letters"
"""The source that the batches and rows of a replay name; `source_position` is the dead letter's id."""
COMMIT_LETTERS = 2_000
"""Dead letters in one commit. Each may have 64 KiB, and is in memory up to three times."""
FIX_FAILED = "fix_failed"
ONLY_A_HEAD = (
    "the dead letter holds only the head of what was received. Its source and source_position say where that stands: "
    "publish it from there in smaller events, then discard the dead letter"
)
"""Why a dead letter of an input that was too large is not replayed."""


@dataclass
class ReplayResult:
    """What a replay did. `tried == stored + duplicates + sum(refused.values()) + taken`, always."""

    tried: int = 0
    stored: int = 0
    duplicates: int = 0
    """Dead letters whose event is stored already, with the same content: they are closed, and not stored again."""
    refused: Counter[str] = field(default_factory=Counter)
    """Dead letters that stay open, by reason code; `fix_failed` when the fix could not repair them."""
    taken: int = 0
    """Dead letters that another process closed while this ran."""
    days: set[date] = field(default_factory=set)
    batches: list[str] = field(default_factory=list)

    def add(self, other: ReplayResult) -> None:
        """Add another commit's outcome to this one."""
        self.tried += other.tried
        self.stored += other.stored
        self.duplicates += other.duplicates
        self.refused += other.refused
        self.taken += other.taken
        self.days |= other.days
        self.batches += other.batches


@dataclass(frozen=True)
class Example:
    """One dead letter of a dry run: its bytes before and after the fix, and what would become of it."""

    letter_id: str
    before: bytes
    after: bytes
    verdict: str


@dataclass
class Repaired:
    """Dead letters that were read, repaired and validated. Nothing is written yet."""

    ids: list[str]
    before: list[bytes]
    prepared: checks.PreparedBatch
    refused: dict[str, Rejection]
    """Dead letter id -> why it is still refused."""
    started_at: datetime


def replay(
    settings: Settings,
    selection: letters.Selection,
    *,
    clock: Clock,
    actor: str,
    fix: Fix | None = None,
    commit_letters: int = COMMIT_LETTERS,
    on_commit: Callable[[ReplayResult], None] | None = None,
) -> ReplayResult:
    """Validate the dead letters again and store those that pass now, each at most once.

    Raises:
        SearchFlowError: a commit failed; earlier ones stay, and the same call goes on with the letters still open.
    """
    total, limits = ReplayResult(), limits_of(settings)
    with warehouse.connect(settings) as connection, CommitGate(settings) as gate:
        for chosen in _portions(letters.ids(connection, selection), commit_letters):
            repaired = _repair(connection, chosen, fix, gate.steady(clock)(), limits)
            with gate.commit():
                stamp = gate.stamp(clock).replace(tzinfo=None)
                total.add(
                    committing.in_transaction(
                        connection, _writer(connection, repaired, fix, stamp, actor, limits, gate.tombstones())
                    )
                )
            if on_commit is not None:
                on_commit(total)
    return total


def dry_run(
    settings: Settings,
    selection: letters.Selection,
    *,
    clock: Clock,
    fix: Fix | None = None,
    examples: int = 5,
    commit_letters: int = COMMIT_LETTERS,
) -> tuple[ReplayResult, list[Example]]:
    """Return what `replay` would do, with some dead letters before and after the fix. Write nothing but the audit log's
    entry.

    Two dead letters with one event_id are told apart within a portion of `commit_letters` only; `replay` always tells
    them apart.
    """
    total, shown = ReplayResult(), list[Example]()
    with warehouse.connect(settings, read_only=True) as connection:
        ids = letters.ids(connection, selection)
        audit_log.append(settings, "read", "raw.dead_letters", rows=len(ids), detail=_message("tried", len(ids), fix))
        for chosen in _portions(ids, commit_letters):
            repaired = _repair(connection, chosen, fix, clock(), limits_of(settings))
            fresh, repeated, refused = _sorted_out(connection, repaired, set(chosen))
            stored = {place for kind, rows in fresh.items() for place in _places(repaired, rows)}
            days = {moment.date() for rows in fresh.values() for moment in rows.column("event_ts").to_pylist()}
            reasons = Counter(why.code for why in refused.values())
            total.add(ReplayResult(len(chosen), len(stored), repeated, reasons, 0, days))
            shown += _examples(repaired, stored, refused)[: examples - len(shown)]
    return total, shown


def _portions(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _repair(
    connection: duckdb.DuckDBPyConnection,
    chosen: Sequence[str],
    fix: Fix | None,
    now: datetime,
    limits: checks.TimeLimits,
) -> Repaired:
    """Apply the fix and run ingestion's own validation."""
    found: dict[str, bytes] = dict(
        connection.execute(
            "SELECT dead_letter_id, CASE WHEN reason_code <> 'too_large' OR octet_length(raw_payload) > ? "
            "THEN raw_payload END FROM raw.dead_letters WHERE dead_letter_id IN (SELECT unnest(?))",
            [MAX_EVENT_BYTES, list(chosen)],
        ).fetchall()
    )
    heads = {letter for letter, payload in found.items() if payload is None}
    found |= dict.fromkeys(heads, b"")
    lines, places, broken = [], [], []
    for letter in chosen:
        if letter in heads:
            broken.append((letter, b"", Rejection("too_large", ONLY_A_HEAD)))
            continue
        try:
            lines.append(found[letter] if fix is None else fix.apply(found[letter]))
            places.append(letter)
        except Exception as error:
            problem = Rejection(FIX_FAILED, f"the fix {fix.name if fix else ''} raised {type(error).__name__}")
            broken.append((letter, found[letter], problem))
    prepared = checks.prepare(connection, SourceBatch(lines, places, "", broken), None, now, limits)
    refused = {place: why for place, _, why in prepared.rejected}
    return Repaired(list(chosen), [found[letter] for letter in chosen], prepared, refused, now)


def _sorted_out(
    connection: duckdb.DuckDBPyConnection, repaired: Repaired, candidates: set[str], erased: Tombstones | None = None
) -> tuple[dict[str, pa.Table], int, dict[str, Rejection]]:
    """Sort the candidates into (rows to store by event type, number stored already, dead letters still refused)."""
    fresh: dict[str, pa.Table] = {}
    refused = {letter: why for letter, why in repaired.refused.items() if letter in candidates}
    repeated, columns = 0, repaired.prepared.columns
    if erased:
        columns, gone = erased.without_erased(columns)
        named = {repaired.prepared.line_positions[index]: why for index, why in gone}
        refused |= {letter: why for letter, why in named.items() if letter in candidates}
    for event_type, table in columns.items():
        mine = pa.array([place in candidates for place in _places(repaired, table)], type=pa.bool_())
        chosen = table.filter(mine)
        lines = repaired.prepared.lines
        originals = complete(chosen, lines, look(connection, event_type, chosen))
        rows, duplicates, conflicts = committing.new_rows(chosen, lines, originals)
        why = Rejection("conflicting_duplicate", "event_id is known with another payload", event_type)
        refused |= {repaired.prepared.line_positions[index]: why for index in conflicts}
        repeated += duplicates
        if len(rows):
            fresh[event_type] = rows
    return fresh, repeated, refused


def _places(repaired: Repaired, rows: pa.Table) -> list[str]:
    """Return the dead letters that rows were made from."""
    return [repaired.prepared.line_positions[index] for index in rows.column("seq").to_pylist()]


def _writer(
    connection: duckdb.DuckDBPyConnection,
    repaired: Repaired,
    fix: Fix | None,
    stamp: datetime,
    actor: str,
    limits: checks.TimeLimits,
    erased: Tombstones,
) -> Callable[[], ReplayResult]:
    """Return the transaction's body. It may be run more than once, each time on a newer snapshot."""

    def write() -> ReplayResult:
        still_open = _still_open(connection, repaired.ids)
        batch_id = str(uuid.uuid4())
        fresh, repeated, refused = _sorted_out(connection, repaired, still_open, erased)
        named = [letter for letter, why in refused.items() if why.code == ERASED]
        if named:  # a fix revealed which user the dead letter is about
            closing.blank(connection, named, stamp)
        passed = [letter for letter in repaired.ids if letter in still_open and letter not in refused]
        result = ReplayResult(
            tried=len(repaired.ids),
            stored=sum(map(len, fresh.values())),
            duplicates=repeated,
            refused=Counter(why.code for why in refused.values()),
            taken=len(repaired.ids) - len(still_open),
        )
        if passed:
            result.batches.append(batch_id)
            result.days = _store(connection, repaired, fresh, batch_id, stamp, limits, repeated)
            closing.mark(connection, passed, "replayed", stamp, actor, fix.text() if fix else "unchanged")
            closing.sign(connection, actor, _message("replayed", len(passed), fix))
        return result

    return write


def _still_open(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
    found = connection.execute(
        "SELECT dead_letter_id FROM raw.dead_letters WHERE status = 'open' AND dead_letter_id IN (SELECT unnest(?))",
        [list(ids)],
    ).fetchall()
    return {str(letter) for (letter,) in found}


def _store(
    connection: duckdb.DuckDBPyConnection,
    repaired: Repaired,
    fresh: dict[str, pa.Table],
    batch_id: str,
    stamp: datetime,
    limits: checks.TimeLimits,
    repeated: int,
) -> set[date]:
    """Store rows, lateness, new fields and the batch's counts. Return the days of the rows."""
    stored = {}
    for event_type, rows in sorted(fresh.items()):
        before = positions.read_guard(connection, event_type).watermark
        about = (SOURCE, event_type, rows, repaired.prepared)
        stored[event_type] = committing.store(connection, *about, batch_id, stamp, before, limits.lateness)
    for event_type in sorted(repaired.prepared.columns):
        written = stored.get(event_type)
        positions.guard(connection, event_type, batch_id, min(written.last, stamp) if written else None)
    days = {day for written in stored.values() for day in written.days}
    batch = {
        "batch_id": batch_id,
        "shard": SHARD,
        "source": SOURCE,
        "started_at": repaired.started_at.replace(tzinfo=None),
        "committed_at": stamp,
        "received": 0,  # they were received, and refused, before
        "stored": sum(map(len, fresh.values())),
        "duplicates": repeated,
        "dead_letters": 0,
        "late": sum(written.late for written in stored.values()),
        "first_event_ts": min((written.first for written in stored.values()), default=None),
        "last_event_ts": max((written.last for written in stored.values()), default=None),
        "touched_days": sorted(days),
        "traceparent": tracing.traceparent(),
    }
    record.rows(connection, "ops.ingestion_batches", [batch])
    return days


def _examples(repaired: Repaired, stored: set[str], refused: dict[str, Rejection]) -> list[Example]:
    """Return examples of a portion's dead letters. Those that would be stored come first."""
    after = dict(zip(repaired.prepared.line_positions, repaired.prepared.lines, strict=True))
    shown = []
    for letter, before in zip(repaired.ids, repaired.before, strict=True):
        verdict = "would be stored" if letter in stored else "is stored already: would be closed"
        if letter in refused:
            verdict = f"still refused, {refused[letter].code}: {refused[letter].reason}"
        shown.append((letter not in stored, Example(letter, before, after.get(letter, before), verdict)))
    return [example for _, example in sorted(shown, key=lambda each: each[0])]


def _message(verb: str, count: int, fix: Fix | None) -> str:
    return f"{count} dead letters {verb} {f'with {fix.text()}' if fix else 'without a fix'}"
