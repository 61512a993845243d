"""Signs notifications by Standard Webhooks (https://www.standardwebhooks.com), version v1: HMAC-SHA256.

What is signed is `<id>.<timestamp>.<body>`. The id of a notification is a UUID, so it has no dot that could
be taken for the separator, and it is the same in each attempt. The timestamp is that of the attempt.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from broker.security.subscription_secrets import SigningSecret

PREFIX = "whsec_"
_SECRET_BYTES = 32
Headers = tuple[tuple[str, str], ...]


def new_secret() -> bytes:
    return secrets.token_bytes(_SECRET_BYTES)


def shown_secret(secret: bytes) -> str:
    """The secret in the form that the libraries of Standard Webhooks take."""
    return PREFIX + base64.b64encode(secret).decode()


class WebhookSigner(NamedTuple):
    """Signs one attempt, with each secret that is valid then."""

    secrets: tuple[bytes, ...]
    at_s: int

    def headers(self, message_id: str, body: bytes) -> Headers:
        """The headers of the signature; none without a secret."""
        if not self.secrets:
            return ()
        signed = f"{message_id}.{self.at_s}.".encode() + body
        signatures = [
            "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
            for secret in self.secrets
        ]
        return (
            ("webhook-id", message_id),
            ("webhook-timestamp", str(self.at_s)),
            ("webhook-signature", " ".join(signatures)),
        )


UNSIGNED = WebhookSigner((), 0)


def signer_of(signing: Sequence[SigningSecret], now_ms: int) -> WebhookSigner:
    """The signer of an attempt that is made now."""
    if not signing:
        return UNSIGNED
    valid = tuple(each.secret for each in signing if not each.ends_ms or each.ends_ms > now_ms)
    return WebhookSigner(valid, now_ms // 1000)


def rotated(signing: Sequence[SigningSecret], secret: bytes, ends_ms: int) -> tuple[SigningSecret, ...]:
    """The new secret, and the one before it until `ends_ms`."""
    current = [each for each in signing if not each.ends_ms][:1]
    return (SigningSecret(secret, 0), *(each._replace(ends_ms=ends_ms) for each in current))
