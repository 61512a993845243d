"""The channels that this broker offers. The composition root builds them and opens them (`base.opened`)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from broker.channels.authorization import Authorization, NoAuthorization
from broker.channels.base import Channel
from broker.channels.message import MessageChannel
from broker.channels.pull import PullChannel
from broker.channels.rest_hook import RestHookChannel
from broker.egress.addresses import Allowance
from broker.egress.http import HttpPost

if TYPE_CHECKING:
    from broker.egress.smtp import Mailer


def channels(
    post: HttpPost,
    allowance: Allowance,
    mailer: "Mailer | None",
    base_url: str,
    authorization: Authorization | None = None,
) -> Mapping[str, Channel]:
    """Every channel by its channel-type code (R-105); without a mail relay there is no email channel."""
    authorized = authorization or NoAuthorization()
    rest_hook = RestHookChannel(post, allowance, authorized)
    offered: dict[str, Channel] = {
        "rest-hook": rest_hook,
        "websocket": PullChannel("a websocket"),
        "message": MessageChannel(post, rest_hook, base_url, authorized),
        "server-sent-events": PullChannel("an event stream"),
    }
    if mailer is not None:
        # what mail needs is imported where there is a relay
        from broker.channels.email import EmailChannel  # noqa: PLC0415

        offered["email"] = EmailChannel(mailer.send, mailer.relay.sender)
    return offered
