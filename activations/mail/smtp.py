"""One SMTP conversation, in two steps, so that the ledger can be written in between.

`offer` says who writes to whom and sends the whole text but its last line. Until the line with the single dot has
arrived, a server has taken nothing (RFC 5321, 4.1.1.4): whatever happens before, the message can be offered again.
`finish` sends that line and waits for the answer. Only between the two is there doubt (RFC 1047).
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from activations.mail.compose import Letter
from searchflow import addresses
from searchflow.errors import ConfigurationError, DeliveryFailed
from searchflow.settings import Settings

VARIABLE = "SEARCHFLOW_SMTP_URL"
END = b".\r\n"
_DOT = re.compile(rb"(?m)^\.")


class Unreachable(DeliveryFailed):
    """Error: the server is away. Nothing was delivered, or what was delivered is recorded."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"The SMTP server cannot be used now ({reason}). Nothing is lost: run `searchflow email deliver` again "
            "when it is back."
        )


class NotNow(Exception):
    """Answer: the server asks to try this message again later (4xx)."""


class MessageRefused(Exception):
    """Answer: the server will never take this message (5xx)."""


class InDoubt(Exception):
    """Error: the end of the message was sent, and no answer came. The server may have taken it."""


@dataclass(frozen=True)
class Server:
    """The mail server and how to reach it."""

    host: str
    port: int
    tls: str  # starttls, implicit, none
    user: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port}, {self.tls})"

    @classmethod
    def of(cls, settings: Settings) -> Server:
        """Return the server that SEARCHFLOW_SMTP_URL names.

        Raises:
            ConfigurationError: it is unset, or not such a URL.
        """
        if settings.smtp_url is None:
            raise ConfigurationError(
                VARIABLE, "is not set.", "Set it to smtp://user:password@host:587 to deliver e-mail."
            )
        parts = urlsplit(settings.smtp_url.get_secret_value())
        kinds = {"smtp": ("starttls", 587), "smtps": ("implicit", 465), "smtp+plain": ("none", 25)}
        try:
            (tls, usual), port = kinds[parts.scheme], parts.port
        except (KeyError, ValueError):
            raise _wrong_url("is not an SMTP URL.") from None
        if not parts.hostname:
            raise _wrong_url("names no host.")
        try:
            host = addresses.ascii_domain(parts.hostname)  # smtplib would encode it by IDNA 2003
        except addresses.NoDomain:
            raise _wrong_url("names a host that IDNA 2008 does not allow.") from None
        if tls == "none" and parts.username:
            raise _wrong_url("would send a password without TLS.")
        user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
        return cls(host, port or usual, tls, user, password)


def _wrong_url(problem: str) -> ConfigurationError:
    return ConfigurationError(
        VARIABLE, problem, "Write smtp://user:password@host:587, smtps://host:465 or smtp+plain://host:25."
    )


class Mailer:
    """A connection that is opened when it is needed, and again after trouble."""

    def __init__(self, server: Server, *, timeout: float = 30.0, patience: float = 600.0) -> None:
        """Set up without connecting. `patience`: seconds to wait for the answer to a message's end; RFC 5321
        (4.5.3.2.6) asks for ten minutes."""
        self._server, self._timeout, self._patience = server, timeout, patience
        self._open: smtplib.SMTP | None = None

    def offer(self, letter: Letter) -> None:
        """Send everything of a message but its end.

        Raises:
            NotNow, MessageRefused: the server's answer about this message.
            Unreachable: the server is away, or full.
            ConfigurationError: it wants no mail from us at all.
        """
        try:
            connection = self._connection()
            self._expect(connection.mail(letter.sender), sender=True)
            self._expect(connection.rcpt(letter.receiver))
            self._expect(connection.docmd("DATA"), wanted=3)
            connection.send(_DOT.sub(b"..", letter.content))
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            self.abort()
            raise Unreachable(type(error).__name__) from None

    def finish(self) -> None:
        """Send the end of the message: the server takes it, or says that it does not.

        Raises:
            NotNow, MessageRefused: certainly not taken.
            InDoubt: no answer.
        """
        connection = self._open
        assert connection is not None, "offer first"
        try:
            if connection.sock is not None:
                connection.sock.settimeout(self._patience)
            connection.send(END)
            answer = connection.getreply()
            if connection.sock is not None:
                connection.sock.settimeout(self._timeout)
        except (smtplib.SMTPException, OSError) as error:
            self.abort()
            raise InDoubt(f"the connection was lost while the server was taking it ({type(error).__name__})") from None
        if answer[0] // 100 not in (2, 4, 5):
            self.abort()
            raise InDoubt("the server answered something else than yes or no")
        self._expect(answer)

    def abort(self) -> None:
        """Drop the connection without an end: the server forgets what it was offered."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Say goodbye to the server."""
        connection, self._open = self._open, None
        if connection is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                connection.quit()

    def _expect(self, answer: tuple[int, bytes], *, wanted: int = 2, sender: bool = False) -> None:
        """Raise when an answer is not the wanted one. The server's words are not repeated: they may quote the address."""
        code = answer[0]
        if code // 100 == wanted:
            return
        if code == 421 or code < 200:  # it is closing, or does not speak SMTP
            self.abort()
            raise Unreachable(f"it answered {code}")
        self._reset()
        if code // 100 == 4:
            raise NotNow(f"the server answered {code}")
        if sender or code in (530, 535, 538):
            raise ConfigurationError(
                "SEARCHFLOW_EMAIL_FROM", f"the server refuses this sender ({code}).", "Use one it sends for, or log in."
            )
        raise MessageRefused(f"the server answered {code}")

    def _reset(self) -> None:
        try:
            if self._open is not None:
                self._open.rset()
        except (smtplib.SMTPException, OSError):
            self.abort()

    def _connection(self) -> smtplib.SMTP:
        if self._open is None:
            self._open = self._connect()
        return self._open

    def _connect(self) -> smtplib.SMTP:
        server, context = self._server, ssl.create_default_context()
        with contextlib.ExitStack() as opened, _sorted_failures():
            made: smtplib.SMTP
            if server.tls == "implicit":
                made = smtplib.SMTP_SSL(server.host, server.port, timeout=self._timeout, context=context)
            else:
                made = smtplib.SMTP(server.host, server.port, timeout=self._timeout)
            opened.callback(made.close)
            made.ehlo_or_helo_if_needed()
            if server.tls == "starttls":
                made.starttls(context=context)
            if server.user is not None:
                made.login(server.user, server.password or "")
            opened.pop_all()
        return made


@contextlib.contextmanager
def _sorted_failures() -> Iterator[None]:
    """Sort what can go wrong before the first message: a user must correct it, or it may pass."""
    try:
        yield
    except (smtplib.SMTPNotSupportedError, ssl.SSLError) as error:
        raise ConfigurationError(
            VARIABLE, f"no safe connection ({type(error).__name__}).", "Correct scheme, port or certificate."
        ) from None
    except smtplib.SMTPAuthenticationError as error:
        raise ConfigurationError(
            VARIABLE, f"the server refuses user or password ({error.smtp_code}).", "Correct them."
        ) from None
    except socket.gaierror:
        raise Unreachable("its host is not known") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Unreachable(type(error).__name__) from None
