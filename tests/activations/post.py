"""A post office for tests: people with profiles, an outbox, and a real SMTP server that remembers what it took."""

from __future__ import annotations

import email
import email.policy
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from activations import mail
from activations.destinations.redis_stream import APPEND_NEW, keys_of
from activations.mail import suppression
from searchflow import streams, warehouse
from searchflow.ops import record
from searchflow.settings import Settings
from tests.activations.scene import Scene

OUTBOX = "searchflow:email:outbox"
NOW = datetime(2026, 3, 10, 15, tzinfo=UTC)
TABLES = ("raw.search_events", "raw.click_events", "raw.conversion_events", "raw.user_profiles")
OPS = ("ops.email_suppressions", "ops.email_runs")


class Recorder:
    """What the server took. `before` is called with the number of a message that it is about to answer."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.answers: dict[str, str] = {}  # command -> what it answers instead
        self.lose_reply = False
        self.before: Callable[[str, int], None] = lambda command, number: None

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, sender: str, options: Any) -> str:  # noqa: N802
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = sender
        return "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, options: Any) -> str:  # noqa: N802
        self.before("RCPT", len(self.taken))
        if "RCPT" in self.answers:
            return self.answers["RCPT"]
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" in self.answers:
            return self.answers["DATA"]
        content = envelope.content
        assert isinstance(content, bytes)
        letter = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(letter, EmailMessage)
        letter.receivers = list(envelope.rcpt_tos)  # type: ignore[attr-defined]
        self.taken.append(letter)
        self.before("DATA", len(self.taken))
        if self.lose_reply:
            server.transport.abort()
        return "250 taken"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Post:
    """The scene's home with a mail server. `at` is the worker's clock."""

    def __init__(self, scene: Scene, recorder: Recorder, port: int) -> None:
        self.scene, self.recorder, self.port = scene, recorder, port
        self.at = NOW
        self.settings = self.configured()
        scene.sql("ledger", "DROP SCHEMA IF EXISTS email CASCADE")
        with warehouse.transaction(scene.warehouse):
            for table in (*TABLES, *OPS):
                scene.warehouse.execute(f"DELETE FROM {table}")

    def configured(self, **changes: Any) -> Settings:
        values = {
            "smtp_url": f"smtp+plain://127.0.0.1:{self.port}",
            "email_from": "Example Travel <hello@example.com>",
            "email_unsubscribe_url": "https://www.example.com/out?t={token}",
            "email_search_url": "https://www.example.com/s?q={query}",
        }
        return Settings(home=self.scene.settings.home, **values | changes)

    def person(self, user: str, *, consent: bool | None = True, at: datetime = NOW - timedelta(days=30)) -> None:
        self.scene.warehouse.execute(
            "INSERT INTO raw.user_profiles (user_id, marketing_consent, updated_at, payload, ingested_at, source, "
            "source_position, batch_id) VALUES (?, ?, ?, '{}', ?, 'test', '', '')",
            [user, consent, at.replace(tzinfo=None), at.replace(tzinfo=None)],
        )

    def event(self, kind: str, session: str, *, user: str | None, at: datetime) -> None:
        self.scene.warehouse.execute(
            f"INSERT INTO raw.{kind}_events VALUES (uuid()::VARCHAR, ?, ?, ?, '{{}}', 1, ?, 'test', '', '')",
            [at.replace(tzinfo=None), user, session, at.replace(tzinfo=None)],
        )

    def queue(
        self, user: str, *, agreed: bool = True, searched: datetime = NOW - timedelta(hours=5), **changes: Any
    ) -> str:
        """A message in the outbox, put there as the sync does; its person agrees unless said otherwise."""
        if agreed:
            self.person(user)
        key = f"{user}:{changes.pop('trigger', 'abandoned_search')}:{searched:%Y-%m-%d}"
        document = {
            "idempotency_key": key, "user_id": user, "email": f"{user}@example.org", "name": f"Name of {user}",
            "locale": "en-CA", "time_zone": "America/Toronto", "query": "hotels in Lisbon", "destination": None,
            "searched_at": f"{searched:%Y-%m-%d %H:%M:%S}",
        }  # fmt: skip
        self.put(key, json.dumps(document | changes))
        return key

    def put(self, key: str, data: str) -> None:
        append = self.scene.redis.register_script(APPEND_NEW)
        append(keys=[OUTBOX, keys_of(OUTBOX)], args=[key, data])

    def deliver(self, at: datetime | None = None, **options: Any) -> mail.DeliveryReport:
        self.at = at or self.at
        return mail.deliver(options.pop("settings", self.settings), clock=lambda: self.at, **options)

    def suppress(self, *who: str, suppressed: bool = True) -> tuple[int, int]:
        self.at += timedelta(seconds=1)
        return suppression.change(self.settings, who, suppressed=suppressed, reason="asked", by="test", now=self.at)

    def states(self) -> dict[str, tuple[str, str | None]]:
        return {
            key: (state, why)
            for key, state, why in self.scene.sql("ledger", "SELECT key, state, reason FROM email.messages")
        }

    def state(self, key: str) -> str:
        return self.states()[key][0]

    def receivers(self) -> list[str]:
        return [str(letter["To"].addresses[0].username) for letter in self.recorder.taken]

    def message_ids(self) -> list[str]:
        return [str(letter["Message-ID"]) for letter in self.recorder.taken]

    def log(self, path: Path) -> Path:
        """The server's log, as far as it matters here."""
        path.write_text("".join(f"taken message-id={name}\n" for name in self.message_ids()))
        return path

    def environment(self) -> dict[str, str]:
        """Return these settings for another process."""
        return {
            "SEARCHFLOW_HOME": str(self.settings.home),
            "SEARCHFLOW_SMTP_URL": f"smtp+plain://127.0.0.1:{self.port}",
            "SEARCHFLOW_EMAIL_FROM": str(self.settings.email_from),
            "SEARCHFLOW_EMAIL_UNSUBSCRIBE_URL": str(self.settings.email_unsubscribe_url),
        }

    def booked_in_stream(self, session: str, *, user: str | None, at: datetime) -> None:
        """A booking that is not ingested yet, among others in one compressed entry."""
        line = json.dumps(
            {"event_type": "conversion", "session_id": session, "user_id": user, "timestamp": at.isoformat()}
        )
        other = json.dumps({"event_type": "conversion", "session_id": "other", "timestamp": at.isoformat()})
        self.scene.redis.xadd(
            streams.EVENT_STREAMS["conversion"], streams.encode([other.encode(), line.encode(), b"no json"], "zstd")
        )

    def runs(self) -> list[dict[str, Any]]:
        columns = [part.split()[0] for part in record.TABLES["ops.email_runs"].replace("\n", " ").split(",")]
        rows = self.scene.lake("SELECT * FROM ops.email_runs ORDER BY started_at, taken DESC")
        return [dict(zip(columns, row, strict=True)) for row in rows]


def serving(recorder: Recorder, port: int, **options: Any) -> Controller:
    """A running server."""
    controller = Controller(recorder, hostname="127.0.0.1", port=port, **options)
    controller.start()
    return controller
