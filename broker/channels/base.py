"""The seam between delivery and the ways to reach a subscriber. A new channel passes `tests/conformance/test_channel.py` first."""

from typing import NamedTuple, Protocol

from broker.errors import Issue
from broker.model.notification import Notification
from broker.model.outcome import Outcome
from broker.model.subscription import Channel as ChannelSettings
from broker.model.subscription import SubscriptionId


class SendRequest(NamedTuple):
    """One attempt: the headers go out as registered (R-302), and `body`, the rendered `notification`, as it is or wrapped."""

    subscription_id: SubscriptionId
    endpoint: str
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    notification: Notification
    timeout_s: float


class Channel(Protocol):
    """One way to reach subscribers; shared by all subscriptions that use it.

    Where it isn't `is_pushed`, subscribers come and read; such a subscription needs no handshake to be active (R-153).
    """

    is_pushed: bool

    async def send(self, request: SendRequest) -> Outcome:
        """One attempt. Whatever goes wrong is an outcome; the only exception is `CancelledError`."""
        ...

    def check(self, channel: ChannelSettings) -> list[Issue]:
        """Why this channel can't serve the settings, asked at registration.

        `expression` is neutral: `endpoint`, `parameter[i]` (i counts `headers`), `contentType` or `content`; the caller makes it
        the element of a release.
        """
        ...
