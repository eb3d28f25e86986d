"""Overview of what became of the messages, for people; and what to do about those in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import redis

from activations.destinations.redis_stream import keys_of
from activations.mail.ledger import MailLedger
from activations.mail.worker import SYNC
from activations.sync_files import load_sync
from searchflow import services
from searchflow.errors import ServiceError
from searchflow.ops import audit_log
from searchflow.settings import Settings


@dataclass(frozen=True)
class Overview:
    """Counts of messages by what became of them."""

    outbox: int  # ever put into it
    taken: int  # by the worker, into the ledger
    states: dict[str, int]
    oldest_waiting: datetime | None
    reasons: list[dict[str, Any]] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)

    def sentence(self) -> str:
        """Return a sentence about all messages that were put in, and where they are."""
        ended = ", ".join(f"{count:,} {state}" for state, count in self.states.items() if count)
        return (
            f"{self.outbox:,} put into the outbox = {self.taken:,} taken ({ended or 'none'}) + {self.untaken:,} not yet"
        )

    @property
    def untaken(self) -> int:
        """Return how many messages are in the outbox only."""
        return self.outbox - self.taken


def overview(settings: Settings, now: datetime) -> Overview:
    """Count the messages of ledger and outbox."""
    stream: str = load_sync(SYNC).options().stream
    with MailLedger(settings) as ledger, closing(services.valkey.client(settings)) as client:
        ledger.prepare()
        _hold_what_was_left(ledger, now)
        states = ledger.counts()
        try:
            outbox = int(client.hlen(keys_of(stream)))
        except redis.RedisError as error:
            raise ServiceError(
                f"The stream server does not answer ({type(error).__name__}). Run `searchflow up`."
            ) from None
        return Overview(
            outbox, sum(states.values()), states, ledger.oldest(), reasons=ledger.reasons(), held=ledger.held()
        )


def _hold_what_was_left(ledger: MailLedger, now: datetime) -> None:
    """Hold what a killed worker left: with no worker at work it is in doubt now, not only when the next worker comes."""
    if ledger.try_lock():
        ledger.recover(now.replace(tzinfo=None))


def from_log(settings: Settings, log: Path, now: datetime) -> dict[str, bool]:
    """Return, for each message in doubt, whether its Message-ID stands in the server's log."""
    with MailLedger(settings) as ledger:
        ledger.prepare()
        _hold_what_was_left(ledger, now)
        missing = {each["message_id"].strip("<>"): each["key"] for each in ledger.held()}
    decided = dict.fromkeys(missing.values(), False)
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for name in [name for name in missing if name in line]:
                decided[missing.pop(name)] = True
    return decided


def resolve(settings: Settings, decided: Mapping[str, bool], *, by: str, now: datetime) -> None:
    """Settle messages in doubt. `decided`: key -> was it sent? The decision is audited."""
    with MailLedger(settings) as ledger:
        ledger.prepare()
        _hold_what_was_left(ledger, now)
        for key, sent in decided.items():
            ledger.resolve(key, sent=sent, by=by, now=now.replace(tzinfo=None))
    if decided:
        audit_log.append(settings, "approve", "e-mail in doubt", rows=len(decided), detail=f"by {by}")
