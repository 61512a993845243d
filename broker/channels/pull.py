"""Channels over which the subscriber connects and reads: websocket (R-320..R-327) and server-sent events.

Nothing is sent from here: each open connection reads the outbox (`delivery/following.py`). These channels
only check what may be registered.
"""

from broker.channels.base import SendRequest, StatelessChannel
from broker.channels.rest_hook import check_json_type
from broker.errors import Issue
from broker.model.notification import ErrorReport
from broker.model.outcome import DeliveryOutcome, Unreachable
from broker.model.subscription import Subscription


class PullChannel(StatelessChannel):
    """`connection` names the kind of connection in messages, such as "a websocket"."""

    is_pushed = False

    def __init__(self, connection: str) -> None:
        self._connection = connection

    async def send(self, request: SendRequest) -> DeliveryOutcome:  # noqa: ARG002 nothing is sent
        """Never called for a valid record: the store makes no such subscription due."""
        text = f"notifications are not sent: the subscriber reads them over {self._connection}"
        return Unreachable(ErrorReport(None, text))

    def concurrency_key(self, subscription: Subscription) -> str:
        return f"{subscription.tenant}:{subscription.id}"

    def check(self, subscription: Subscription) -> list[Issue]:
        channel = subscription.channel
        text = f"nothing is posted over {self._connection}, so headers can't be set; leave the header out"
        return [
            *check_json_type(channel),
            *(Issue("not-supported", text, f"parameter[{n}]") for n in range(len(channel.headers))),
        ]
