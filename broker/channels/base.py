"""The interface between delivery and the ways to reach a subscriber.

Delivery renders a notification and calls `send`; registration calls `check`; the composition root opens and
closes the channels. A new channel passes `tests/conformance/test_channel.py` before it is registered.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, Protocol

from broker.channels.exchange import Exchange
from broker.errors import Issue
from broker.model.notification import Notification
from broker.model.outcome import DeliveryOutcome
from broker.model.subscription import Subscription
from broker.security.webhook_signatures import UNSIGNED, WebhookSigner


class SendRequest(NamedTuple):
    """One attempt: `body` is the rendered `notification`, empty for a channel that writes resources. The
    channel sends it as it is or wraps it, and signs what it sends by `signer` if it is a channel that is
    signed. `subscription` has the values of its headers. `traceparent` goes with a request over HTTP; '' for
    none. The channel reports to `exchange`, if there is one, what it sends and what is answered.
    """

    subscription: Subscription
    notification: Notification
    body: bytes
    timeout_s: float
    signer: WebhookSigner = UNSIGNED
    traceparent: str = ""
    exchange: Exchange | None = None


class Channel(Protocol):
    """One way to reach subscribers, shared by all subscriptions that use it.

    `is_pushed`: the dispatcher sends. Otherwise subscribers connect and read, and a subscription is active
    without a handshake (R-153). `is_signed`: what it sends has a signature once there is a secret.
    `is_for_administrators`: nobody else may register it. `writes_resources`: it writes whole resources, and
    needs no rendered notification.
    """

    is_pushed: bool
    is_signed: bool
    is_for_administrators: bool
    writes_resources: bool

    async def open(self) -> None:
        """Acquires what `send` needs (connections, files). Called once, before the first `send`."""

    async def close(self) -> None:
        """Releases what `open` acquired. Called once, after the last `send` has ended."""

    def check(self, subscription: Subscription) -> list[Issue]:
        """Why this channel can't serve the settings of the subscription's channel; called at registration,
        empty if it can.

        `expression` names no element of a FHIR release: it is `endpoint`, `parameter[i]` (i counts
        `headers`), `contentType` or `content`, and the caller translates it.
        """
        ...

    def concurrency_key(self, subscription: Subscription) -> str:
        """Names the resource that attempts compete for, such as an HTTP origin or a mail relay.

        The dispatcher bounds the attempts under way for each key, so that a slow receiver holds up only its
        own.
        """
        ...

    async def send(self, request: SendRequest) -> DeliveryOutcome:
        """Makes one attempt. Every failure is an outcome; only `CancelledError` is raised."""
        ...


class StatelessChannel:
    """Base of channels that hold nothing between attempts, or use what the composition root opens."""

    is_signed = False
    is_for_administrators = False
    writes_resources = False

    async def open(self) -> None:
        """Nothing to acquire."""

    async def close(self) -> None:
        """Nothing to release."""


@contextlib.asynccontextmanager
async def opened(channels: Mapping[str, Channel]) -> AsyncIterator[Mapping[str, Channel]]:
    """Opens all channels, and closes those that were opened, in reverse order."""
    async with contextlib.AsyncExitStack() as stack:
        for channel in channels.values():
            await channel.open()
            stack.push_async_callback(channel.close)
        yield channels
