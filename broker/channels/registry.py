"""Which channels there are."""

from collections.abc import Mapping

from broker.channels.base import Channel
from broker.channels.email import Email
from broker.channels.message import Message
from broker.channels.pull import Pull
from broker.channels.rest_hook import RestHook
from broker.egress.client import EgressClient
from broker.egress.smtp import Mailer


def channels(egress: EgressClient, mailer: Mailer | None, base_url: str) -> Mapping[str, Channel]:
    """Every channel by its channel-type code (R-105). `egress` must be open while they are used; no relay, no email."""
    hook = RestHook(egress)
    offered: dict[str, Channel] = {
        "rest-hook": hook,
        "websocket": Pull("a websocket"),
        "message": Message(hook, base_url),
        "server-sent-events": Pull("an event stream"),
    }
    if mailer is not None:
        offered["email"] = Email(mailer)
    return offered
