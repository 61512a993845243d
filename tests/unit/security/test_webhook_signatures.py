"""Signatures are those of Standard Webhooks: its own library accepts them, and nothing that was altered."""

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from broker.receiver.signatures import NotVerified, verify
from broker.security.subscription_secrets import SigningSecret
from broker.security.webhook_signatures import new_secret, rotated, shown_secret, signer_of

MESSAGE_ID = "3b0d0f5c-6f3e-8d52-8a4e-8a7f0f6f2a11"
BODY = '{"resourceType":"Bundle",\n "x": "é\\u0000"}'.encode()
OLD, NEW, OTHER = (SigningSecret(bytes([n]) * 32, 0) for n in range(3))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def headers_by(*signing: SigningSecret, at_ms: int | None = None) -> dict[str, str]:
    return dict(signer_of(signing, at_ms or now_ms()).headers(MESSAGE_ID, BODY))


def test_the_signature_is_that_of_the_library() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    headers = headers_by(NEW, at_ms=int(at.timestamp() * 1000) + 999)
    library = Webhook(shown_secret(NEW.secret))
    assert headers == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": library.sign(MESSAGE_ID, at, BODY.decode()),
    }
    assert "." not in MESSAGE_ID


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_while_two_secrets_are_valid_each_verifies(secret: SigningSecret) -> None:
    headers = headers_by(NEW, OLD._replace(ends_ms=now_ms() + 60_000))
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(shown_secret(secret.secret)).verify(BODY.decode(), headers)
    assert verify(headers, BODY, [shown_secret(secret.secret)], time.time()) == MESSAGE_ID


def test_a_secret_signs_no_more_from_its_end_on() -> None:
    headers = headers_by(NEW, OLD._replace(ends_ms=1_000), at_ms=1_000)
    assert headers == headers_by(NEW, at_ms=1_000)
    assert headers != headers_by(NEW, OLD._replace(ends_ms=1_001), at_ms=1_000)
    assert headers_by() == {}


def test_a_rotation_keeps_the_current_secret_until_the_end_and_drops_older_ones() -> None:
    first = rotated((), b"a", 5)
    second = rotated(first, b"b", 5)
    third = rotated(second, b"c", 9)
    assert first == (SigningSecret(b"a", 0),)
    assert second == (SigningSecret(b"b", 0), SigningSecret(b"a", 5))
    assert third == (SigningSecret(b"c", 0), SigningSecret(b"b", 9))


def test_secrets_are_long_and_never_the_same() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b64decode(shown_secret(secret).removeprefix("whsec_"))) for secret in secrets} == {32}


@pytest.mark.parametrize(
    ("changed", "body", "problem"),
    [
        ({}, BODY + b" ", "fits"),
        ({"webhook-id": "4" + MESSAGE_ID[1:]}, BODY, "fits"),
        ({"webhook-timestamp": -10}, BODY, "fits"),
        ({"webhook-timestamp": -400}, BODY, "too far"),
        ({"webhook-timestamp": 400}, BODY, "too far"),
        ({"webhook-timestamp": "²"}, BODY, "not a number"),
        ({"webhook-signature": "v1,not base64"}, BODY, "fits"),
        ({"webhook-signature": "v1"}, BODY, "fits"),
        ({"webhook-signature": ""}, BODY, "fits"),
        ({"webhook-signature": "v2,AAAA"}, BODY, "fits"),
    ],
)
def test_what_was_altered_or_is_old_is_refused(
    changed: dict[str, str | int], body: bytes, problem: str
) -> None:
    """A number stands for so many seconds from now."""
    secret = shown_secret(NEW.secret)
    now = int(time.time())
    headers = headers_by(NEW) | {
        name: str(now + value) if isinstance(value, int) else value for name, value in changed.items()
    }
    with pytest.raises(NotVerified, match=problem):
        verify(headers, body, [secret], time.time())
    # the library has no error of its own for what is no base64
    with pytest.raises((WebhookVerificationError, ValueError)):
        Webhook(secret).verify(body.decode(), headers)


def test_a_signature_of_another_secret_and_a_missing_header_are_refused() -> None:
    secret = shown_secret(OTHER.secret)
    with pytest.raises(NotVerified, match="fits"):
        verify(headers_by(NEW), BODY, [secret], time.time())
    for name in headers_by(OTHER):
        headers = {other: value for other, value in headers_by(OTHER).items() if other != name}
        with pytest.raises(NotVerified, match=f"{name} is missing"):
            verify(headers, BODY, [secret], time.time())
