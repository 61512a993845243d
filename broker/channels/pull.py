"""Channels over which the subscriber comes to the broker: websocket (R-320..R-327) and server-sent events.

Nothing is sent from here: open connections read the outbox themselves (`delivery/following.py`). These only say what may be
registered.
"""

from broker.channels.base import SendRequest
from broker.channels.rest_hook import JSON_TYPES
from broker.errors import Issue
from broker.model.notification import ErrorReport
from broker.model.outcome import Outcome, Unreachable
from broker.model.subscription import Channel as ChannelSettings


class Pull:
    """A channel without an endpoint of the subscriber's."""

    is_pushed = False

    def __init__(self, name: str) -> None:
        self._name = name

    async def send(self, request: SendRequest) -> Outcome:
        """Never asked: nothing of such a subscription becomes due for a dispatcher."""
        return Unreachable(ErrorReport(None, f"{request.subscription_id} is read by its subscriber"))

    def check(self, channel: ChannelSettings) -> list[Issue]:
        issues = []
        if channel.content_type.partition(";")[0].strip().lower() not in JSON_TYPES:
            text = (
                f"notifications are sent as {' or '.join(sorted(JSON_TYPES))}, not {channel.content_type!r}"
            )
            issues.append(Issue("not-supported", text, "contentType"))
        issues += [
            Issue(
                "not-supported",
                f"nothing is posted over {self._name}, so no header can be set",
                f"parameter[{n}]",
            )
            for n in range(len(channel.headers))
        ]
        return issues
