"""The message channel: the notification inside a message Bundle, posted to the subscriber's `$process-message` (R-340)."""

from broker.channels.base import SendRequest
from broker.channels.rest_hook import RestHook
from broker.errors import Issue
from broker.fhir.messages import message_bundle
from broker.model.outcome import Outcome
from broker.model.subscription import Channel as ChannelSettings

OPERATION = "$process-message"


class Message:
    """Posts as a rest-hook does; the endpoint is the base URL of a FHIR server."""

    is_pushed = True

    def __init__(self, hook: RestHook, base_url: str) -> None:
        self._hook = hook
        self._base_url = base_url

    async def send(self, request: SendRequest) -> Outcome:
        base = f"{self._base_url}/{request.notification.release}"
        body = message_bundle(request.notification, request.body, base=base, destination=request.endpoint)
        url = f"{request.endpoint.rstrip('/')}/{OPERATION}"
        return await self._hook.send(request._replace(endpoint=url, body=body))

    def check(self, channel: ChannelSettings) -> list[Issue]:
        issues = self._hook.check(channel)
        if channel.endpoint and "?" in channel.endpoint:
            issues.append(Issue("invalid", "the endpoint is a FHIR base URL, without a query", "endpoint"))
        return issues
