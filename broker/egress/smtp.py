"""Sends mail through the operator's relay, over aiosmtplib, and turns every result into a value.

No address rule applies: the operator configures the relay, subscribers don't choose it. aiosmtplib's errors
end here.
"""

import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib


@dataclass(frozen=True, slots=True)
class Relay:
    """A mail relay. `uses_tls`: TLS from the first byte (smtps); otherwise STARTTLS if it is offered."""

    host: str
    port: int
    username: str | None
    password: str | None
    uses_tls: bool
    sender: str


@dataclass(frozen=True, slots=True)
class MailAccepted:
    """The relay accepted the mail."""


@dataclass(frozen=True, slots=True)
class MailRefused:
    """The relay refused the mail. `is_transient`: its reply code was 4xx, so a repetition may be accepted."""

    is_transient: bool
    text: str


@dataclass(frozen=True, slots=True)
class RelayUnreachable:
    """The relay gave no reply."""

    text: str


class SendMail(Protocol):
    """Sends one mail within `timeout_s`. `Mailer.send` implements it; a test can pass a function."""

    async def __call__(
        self, message: EmailMessage, *, timeout_s: float
    ) -> MailAccepted | MailRefused | RelayUnreachable:
        """One attempt. Raises nothing but `CancelledError`."""
        ...


def relay_of(url: str, sender: str) -> Relay:
    """Parses `smtp://user:password@host:port` or `smtps://…`. Raises ValueError for any other URL."""
    parts = urlsplit(url)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError
    uses_tls = parts.scheme == "smtps"
    return Relay(
        host=parts.hostname,
        port=parts.port or (465 if uses_tls else 25),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        uses_tls=uses_tls,
        sender=sender,
    )


class Mailer:
    """Opens one connection for each mail. `tls` serves tests and private certificate authorities."""

    def __init__(self, relay: Relay, *, tls: ssl.SSLContext | None = None) -> None:
        self.relay = relay
        self._tls = tls

    async def send(
        self, message: EmailMessage, *, timeout_s: float
    ) -> MailAccepted | MailRefused | RelayUnreachable:
        """One attempt. Raises nothing but `CancelledError`."""
        relay = self.relay
        try:
            await aiosmtplib.send(
                message,
                hostname=relay.host,
                port=relay.port,
                username=relay.username,
                password=relay.password,
                use_tls=relay.uses_tls,
                tls_context=self._tls,
                timeout=timeout_s,
            )
        except aiosmtplib.SMTPResponseException as error:
            return _refused(error.code, f"the mail relay answered {error.code} {error.message}")
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            text = f"the mail relay refused the recipient: {first.code} {first.message}"
            return _refused(first.code, text)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return RelayUnreachable(f"the mail relay can't be reached: {type(error).__name__}")
        return MailAccepted()


def _refused(code: int, text: str) -> MailRefused | RelayUnreachable:
    """Aiosmtplib gives a negative code or 0 where the relay closed the connection without a reply."""
    return MailRefused(400 <= code < 500, text) if code > 0 else RelayUnreachable(text)
