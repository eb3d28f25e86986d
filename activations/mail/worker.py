"""The worker: takes messages from the outbox into the ledger, and delivers those that may go.

Killed at any point and started again:

- before a message's end-of-data line, nothing was delivered: it is offered again;
- after the server's answer was recorded, it is done;
- in between it is in doubt: it is held, and listed until a user (or the server's log) says what became of it.

So no message goes out twice, and none is lost without a word.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Event
from typing import Any

import duckdb
import psycopg
import redis

from activations.mail import facts
from activations.mail.compose import BadAddress, Sender, compose
from activations.mail.ledger import MailLedger, Waiting
from activations.mail.message import Message, decode, message_id
from activations.mail.rules import MONTH, SendingRules
from activations.mail.smtp import InDoubt, Mailer, MessageRefused, NotNow, Server, Unreachable
from activations.sync_files import load_sync
from searchflow import services, streams, warehouse
from searchflow.backoff import Backoff
from searchflow.errors import ConfigurationError, NotFoundError, SearchFlowError, ServiceError
from searchflow.ops import audit_log, record
from searchflow.settings import Settings

SYNC = "abandoned_search_emails"
"""The sync that fills the outbox."""
BATCH = 50
"""The number of messages looked at together: small, so that what is known of them is seconds old when they go."""
TAKE = 1000
LATER = Backoff(attempts=10, first=300.0, doubling=True, longest=4 * 3600.0)
"""The waits when a server asks to come back later: RFC 5321 (4.5.4.1) asks for about half an hour, growing."""
NO_TEMPLATE = timedelta(hours=1)

Clock = Callable[[], datetime]


@dataclass
class DeliveryReport:
    """The counts of a run, in messages."""

    taken: int = 0  # new ones from the outbox
    sent: int = 0
    withdrawn: int = 0
    suppressed: int = 0
    capped: int = 0
    expired: int = 0
    refused: int = 0
    held: int = 0  # in doubt
    postponed: int = 0  # quiet hours
    retried: int = 0  # the server asked to come back
    waiting: int = 0  # at the end

    @property
    def did_something(self) -> bool:
        """Return whether there is anything to note."""
        return any(count for name, count in asdict(self).items() if name != "waiting")

    def count(self, state: str) -> None:
        """Count one more message in a state."""
        setattr(self, state, getattr(self, state) + 1)


class Worker:
    """A worker that delivers for one home. `clock` gives UTC; chance is injected too."""

    def __init__(
        self,
        settings: Settings,
        ledger: MailLedger,
        client: redis.Redis,
        mailer: Mailer,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings, self._ledger, self._client = settings, ledger, client
        self._mailer, self._clock, self._chance = mailer, clock, chance
        self._rules, self._sender = SendingRules.of(settings), Sender.of(settings)
        self._stream: str = load_sync(SYNC).options().stream
        self.report = DeliveryReport()

    @cached_property
    def warehouse(self) -> duckdb.DuckDBPyConnection:
        """Open the warehouse when there is something to look up or to note: most looks at an outbox find nothing."""
        return warehouse.connect(self._settings)

    def now(self) -> datetime:
        """Return the present moment as UTC without a zone."""
        return self._clock().astimezone(UTC).replace(tzinfo=None)

    def take(self) -> None:
        """Bring new entries of the outbox into the ledger."""
        place = self._ledger.position(self._stream) or streams.START
        if streams.as_pair(streams.state(self._client, self._stream).last_id) < streams.as_pair(place):
            place = streams.START  # another stream under the same name; keys tell what is known
        while entries := streams.read(self._client, self._stream, place, entries=TAKE):
            place = entries[-1][0]
            rows = [self._row(entry, fields.get(b"data", b"")) for entry, fields in entries]
            self.report.taken += self._ledger.take(self._stream, rows, place, self.now())

    def _row(self, entry: str, data: bytes) -> tuple[Any, ...]:
        queued = datetime.fromtimestamp(streams.as_pair(entry)[0] / 1000, UTC).replace(tzinfo=None)
        message = decode(data)
        key = message.key if message else f"entry {entry}"
        name = message_id(self._settings, key, self._sender.address)
        if message is None:
            return key, "", "", entry, name, queued, "refused", "the entry is no message"
        return key, message.user_id, message.trigger, entry, name, queued, "waiting", None

    def recover(self) -> None:
        """Hold what an earlier worker left in doubt."""
        self.report.held += self._ledger.recover(self.now())

    def deliver(self, stop: Event | None = None, limit: int | None = None) -> None:
        """Deliver everything that is due, batch after batch."""
        while (stop is None or not stop.is_set()) and (limit is None or self.report.sent < limit):
            room = BATCH if limit is None else min(BATCH, limit - self.report.sent)
            due = self._ledger.due(self.now(), room)
            if not due:
                break
            self._batch(due, stop)
        self.clear()

    def _batch(self, due: Sequence[Waiting], stop: Event | None) -> None:
        messages = self._contents(due)
        going = self._without_objections([each for each in due if each.key in messages], messages)
        earlier = self._ledger.recent(sorted({each.user_id for each in going}), self.now() - MONTH)
        # Of several to one person the newest search speaks; the caps stop the others.
        for each in sorted(going, key=lambda each: messages[each.key].searched_at, reverse=True):
            if stop is not None and stop.is_set():
                return
            mine = earlier.setdefault(each.user_id, [])
            if self._send(each, messages[each.key], mine):
                mine.append(self.now())

    def _contents(self, due: Sequence[Waiting]) -> dict[str, Message]:
        """Return what the outbox holds of these messages. An entry that is gone cannot be sent, and the ledger says
        so."""
        pipeline = self._client.pipeline(transaction=False)
        for each in due:
            pipeline.xrange(self._stream, each.entry, each.entry)
        messages: dict[str, Message] = {}
        for each, found in zip(due, pipeline.execute(), strict=True):
            message = decode(found[0][1].get(b"data", b"")) if found else None
            if message is not None and message.key == each.key:
                messages[each.key] = message
        gone = [(each.key, "refused", "its entry is gone from the outbox") for each in due if each.key not in messages]
        self._settle(gone)
        return messages

    def _without_objections(self, due: Sequence[Waiting], messages: dict[str, Message]) -> list[Waiting]:
        """Settle what must not go any more; postpone what must not go now; return the rest."""
        if not due:
            return []
        known = facts.look(self._settings, self.warehouse, [messages[each.key] for each in due])
        now, ended, later, going = self.now(), [], [], []
        for each in due:
            message = messages[each.key]
            objection = known[each.key].objection()
            if objection is not None:
                ended.append((each.key, *objection))
            elif self._rules.expired(now, message.searched_at):
                ended.append((each.key, "expired", "the search is too long ago"))
            elif (until := self._rules.quiet_end(now, message.document.time_zone)) is not None:
                later.append((each.key, until, "quiet hours"))
            else:
                going.append(each)
        self._settle(ended)
        self._ledger.postpone(later, now)
        self.report.postponed += len(later)
        return going

    def _settle(self, decided: Sequence[tuple[str, str, str]]) -> None:
        self._ledger.settle(decided, self.now())
        for _, state, _ in decided:
            self.report.count(state)

    def _send(self, waiting: Waiting, message: Message, earlier: Sequence[datetime]) -> bool:
        """Send a message, and return whether it went or may have gone."""
        if (cap := self._rules.capped(self.now(), earlier)) is not None:
            self._settle([(waiting.key, "capped", f"no more than {cap}")])
            return False
        try:
            letter = compose(self._settings, self._sender, message, waiting.message_id, self.now())
            self._mailer.offer(letter)
        except (BadAddress, MessageRefused) as problem:
            self._settle([(waiting.key, "refused", str(problem))])
            return False
        except NotFoundError:
            later = [(waiting.key, self.now() + NO_TEMPLATE, f"there is no template for {message.trigger!r}")]
            self._ledger.postpone(later, self.now())
            self.report.postponed += 1
            return False
        except NotNow as problem:
            self._retry(waiting, str(problem))
            return False
        return self._finish(waiting)

    def _finish(self, waiting: Waiting) -> bool:
        try:
            self._ledger.intend(waiting.key, self.now())
        except BaseException:
            self._mailer.abort()  # without the end the server forgets it
            raise
        try:
            self._mailer.finish()
        except InDoubt as doubt:
            return self._conclude(waiting, "held", str(doubt))
        except MessageRefused as problem:
            self._conclude(waiting, "refused", str(problem))
            return False
        except NotNow as problem:
            self._retry(waiting, str(problem))
            return False
        except Unreachable as problem:  # 421: it says that it did not take it
            self._retry(waiting, problem.reason)
            raise
        return self._conclude(waiting, "sent", None)

    def _conclude(self, waiting: Waiting, state: str, reason: str | None) -> bool:
        self._ledger.conclude(waiting.key, state, reason, self.now())
        self.report.count(state)
        return True

    def _retry(self, waiting: Waiting, reason: str) -> None:
        now = self.now()
        wait = timedelta(seconds=LATER.wait(waiting.failures + 1)) * (0.5 + self._chance() / 2)
        self._ledger.retry(waiting.key, now + wait, reason, now)
        self.report.retried += 1

    def clear(self) -> None:
        """Remove settled messages from the outbox: addresses stay no longer than they are needed."""
        while rows := self._ledger.to_clear():
            self._client.xdel(self._stream, *(entry for _, entry in rows))
            self._ledger.mark_cleared([key for key, _ in rows])

    def close(self) -> None:
        """Close the connection to the warehouse."""
        if "warehouse" in self.__dict__:
            self.warehouse.close()

    def finish(self) -> DeliveryReport:
        """Say goodbye to the server, and return the report with what is left."""
        self._mailer.close()
        self.report.waiting = self._ledger.counts()["waiting"]
        return self.report


def require_configured(settings: Settings) -> Server:
    """Return the mail server, when everything is set that delivery needs.

    Raises:
        ConfigurationError: names the variable that is missing or wrong.
    """
    server = Server.of(settings)
    Sender.of(settings)
    if "{token}" not in (settings.email_unsubscribe_url or ""):
        raise ConfigurationError(
            "SEARCHFLOW_EMAIL_UNSUBSCRIBE_URL",
            "is not set, or has no {token}.",
            "Set it to your page, such as https://www.example.com/unsubscribe?t={token}: each message must offer a way out.",
        )
    return server


def deliver(
    settings: Settings,
    *,
    clock: Clock,
    run_id: str = "",
    limit: int | None = None,
    stop: Event | None = None,
    mailer: Mailer | None = None,
) -> DeliveryReport:
    """Take and deliver what is due, once. Recorded in `ops.email_runs`, however it ends.

    Raises:
        ConfigurationError: a setting is missing, or the server refuses us.
        BusyError: another worker delivers for this home.
        Unreachable: the server is away; what it took is recorded.
    """
    server = require_configured(settings)
    with ExitStack() as opened:
        ledger = opened.enter_context(MailLedger(settings))
        ledger.prepare()
        ledger.lock()
        client = opened.enter_context(closing(services.valkey.client(settings)))
        worker = Worker(settings, ledger, client, mailer or Mailer(server), clock)
        opened.callback(worker.close)
        with _noted(settings, worker, run_id):
            try:
                worker.take()
                worker.recover()
                worker.deliver(stop, limit)
            except redis.RedisError as error:
                raise ServiceError(
                    f"The stream server stopped answering ({type(error).__name__}). Nothing is lost: run the same again."
                ) from None
        return worker.report


@contextmanager
def _noted(settings: Settings, worker: Worker, run_id: str) -> Iterator[None]:
    """Write the row in `ops.email_runs` of a run that did something, however it ends, short of being killed (the
    ledger tells of those)."""
    started, problem = worker.now(), ""
    try:
        yield
    except psycopg.OperationalError:
        problem = "the ledger stopped answering"
        raise ServiceError(
            "The ledger stopped answering. Nothing is lost: run the same again when it is back."
        ) from None
    except BaseException as error:
        problem = str(error) if isinstance(error, SearchFlowError) else type(error).__name__
        raise
    finally:
        # After trouble the first error is the one to tell, also when the note cannot be written.
        with suppress(psycopg.Error, duckdb.Error, SearchFlowError) if problem else nullcontext():
            if worker.finish().did_something or problem:
                _note(settings, worker, run_id, started, problem)


def _note(settings: Settings, worker: Worker, run_id: str, started: datetime, problem: str) -> None:
    report, status = worker.report, "failed" if problem else "done"
    row = {"run_id": run_id, "started_at": started, "finished_at": worker.now(), **asdict(report)}
    record.rows(worker.warehouse, "ops.email_runs", [row | {"status": status, "error": problem or None}])
    if report.sent:
        audit_log.append(settings, "send", "smtp e-mail", rows=report.sent, detail=f"{status}, run {run_id}")
