"""Hands mail to the operator's own relay. It is the one destination that subscribers don't choose, so no
address rule holds here.
"""

import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail is handed in. `uses_tls`: from the first byte (smtps); else STARTTLS wherever the relay
    offers it.
    """

    host: str
    port: int
    username: str | None
    password: str | None
    uses_tls: bool
    sender: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The relay took the mail."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """It did not. `code` is its SMTP reply, 0 without one; 4xx may be cured by repeating."""

    code: int
    text: str


def relay_of(url: str, sender: str) -> Relay:
    """A relay from `smtp://user:password@host:port` or `smtps://…`. Raises ValueError for what is neither."""
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
    """One connection a mail. `tls` is for tests and private certificate authorities."""

    def __init__(self, relay: Relay, *, tls: ssl.SSLContext | None = None) -> None:
        self.relay = relay
        self._tls = tls

    async def send(self, message: EmailMessage, *, timeout_s: float) -> Taken | NotTaken:
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
            return NotTaken(error.code, f"the mail relay answered {error.code} {error.message}")
        except aiosmtplib.SMTPRecipientsRefused as error:
            first = error.recipients[0]
            return NotTaken(first.code, f"the mail relay refused the recipient: {first.code} {first.message}")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return NotTaken(0, f"the mail relay can't be reached: {type(error).__name__}")
        return Taken()
