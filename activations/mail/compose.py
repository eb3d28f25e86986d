"""Composition of an e-mail from a message and its templates: headers, a plain part and an HTML part."""

from __future__ import annotations

import email.policy
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from activations.mail import templates
from activations.mail.message import Message, one_line
from searchflow import addresses
from searchflow.errors import ConfigurationError
from searchflow.settings import Settings


class _Policy(email.policy.EmailPolicy):
    """A policy that leaves List-Unsubscribe as it is: folded and encoded, as long words are, no mail program would
    find the link."""

    def fold_binary(self, name: str, value: str) -> bytes:
        if name == "List-Unsubscribe":
            return f"{name}: {value}\r\n".encode("ascii")
        return super().fold_binary(name, value)


POLICY = _Policy(linesep="\r\n")


class BadAddress(Exception):
    """The receiver's address cannot be used; the text says why without it."""


@dataclass(frozen=True)
class Sender:
    """The sender of every e-mail: name and address."""

    name: str
    address: str

    @classmethod
    def of(cls, settings: Settings) -> Sender:
        """Return the sender that SEARCHFLOW_EMAIL_FROM names.

        Raises:
            ConfigurationError: it is unset or no address.
        """
        name, address = parseaddr(settings.email_from or "")
        try:
            checked = _address(address, name)
        except BadAddress:
            raise ConfigurationError(
                "SEARCHFLOW_EMAIL_FROM",
                "is not set." if settings.email_from is None else "is not a sender.",
                "Write one such as `Example Travel <hello@example.com>`.",
            ) from None
        return cls(checked.display_name, checked.addr_spec)


@dataclass(frozen=True)
class Letter:
    """An e-mail that is ready to be sent."""

    sender: str
    receiver: str
    content: bytes  # with CRLF at the end of each line

    def __repr__(self) -> str:
        return f"Letter({len(self.content)} bytes)"


def compose(settings: Settings, sender: Sender, message: Message, message_id: str, now: datetime) -> Letter:
    """Write the e-mail of a message.

    Raises:
        BadAddress: the receiver's address cannot be used.
        NotFoundError: its trigger has no templates.
    """
    receiver = _address(message.address, one_line(message.document.name, 60))
    shown = templates.render(message.trigger, templates.values_of(settings, message), message.document.locale)
    letter = EmailMessage(policy=POLICY)
    letter["From"] = Address(sender.name, addr_spec=sender.address)
    letter["To"] = receiver
    letter["Subject"] = shown.subject
    letter["Date"] = format_datetime(now.replace(tzinfo=UTC))
    letter["Message-ID"] = message_id
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    if out := templates.unsubscribe_url(settings, message.user_id):
        letter["List-Unsubscribe"] = f"<{out}>"
        letter["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    letter.set_content(shown.text)
    letter.add_alternative(shown.html, subtype="html")
    return Letter(sender.address, receiver.addr_spec, letter.as_bytes())


def _address(text: str, name: str) -> Address:
    try:
        text = addresses.ascii_address(text)
    except addresses.NoDomain:
        raise BadAddress("the address cannot be used") from None
    if not text.isascii() or not text.isprintable() or " " in text or text.count("@") != 1:
        raise BadAddress("the address cannot be used")
    try:
        address = Address(name, addr_spec=text)
    except (MessageError, ValueError, IndexError):
        raise BadAddress("the address cannot be used") from None
    if not address.username or "." not in address.domain:
        raise BadAddress("the address cannot be used")
    return address
