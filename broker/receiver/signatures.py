"""Verifies the signatures of notifications as a subscriber does: Standard Webhooks, version v1.

`docs/signatures.md` shows the same function. It needs the standard library only.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

TOLERANCE_S = 300
"""How far the time of an attempt may differ from the clock of the subscriber."""


class NotVerified(Exception):  # noqa: N818 names the condition
    """The request is not from the broker, was altered, or is old. The message says which, and no secret."""


def verify(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_s: float) -> str:
    """The id of the notification. `secrets` are those that are valid, as the broker showed them.

    Raises `NotVerified`.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, signatures = (
            lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature")
        )
    except KeyError as error:
        raise NotVerified(f"the header {error.args[0]} is missing") from None
    if not timestamp.isascii() or not timestamp.isdigit():
        raise NotVerified("the timestamp is not a number of seconds")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise NotVerified("the timestamp is too far from now")
    signed = f"{message_id}.{timestamp}.".encode() + body
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = hmac.digest(key, signed, "sha256")
        if any(hmac.compare_digest(expected, sent) for sent in _decoded(signatures)):
            return message_id
    raise NotVerified("no signature fits the body")


def _decoded(signatures: str) -> list[bytes]:
    """The signatures of version v1; others are passed over."""
    decoded = []
    for signature in signatures.split(" "):
        version, _, text = signature.partition(",")
        if version == "v1":
            try:
                decoded.append(base64.b64decode(text, validate=True))
            except binascii.Error:
                continue
    return decoded
