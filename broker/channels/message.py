"""The message channel: a message Bundle with the notification, posted to the receiver's `$process-message`
(R-340).
"""

from broker.channels.authorization import Authorization
from broker.channels.base import SendRequest, StatelessChannel
from broker.channels.http_post import post_notification
from broker.channels.rest_hook import RestHookChannel, origin_of
from broker.egress.http import HttpPost
from broker.errors import Issue
from broker.fhir.messages import message_bundle
from broker.model.notification import ErrorReport
from broker.model.outcome import DeliveryOutcome, Unreachable
from broker.model.resource import Resource
from broker.model.subscription import Subscription

OPERATION = "$process-message"


class MessageChannel(StatelessChannel):
    """The endpoint is the base URL of a FHIR server; the settings are checked as those of a rest-hook."""

    is_pushed = True
    is_signed = True

    def __init__(
        self, post: HttpPost, rest_hook: RestHookChannel, base_url: str, authorization: Authorization
    ) -> None:
        self._post = post
        self._rest_hook = rest_hook
        self._base_url = base_url
        self._authorization = authorization

    async def send(self, request: SendRequest) -> DeliveryOutcome:
        channel = request.subscription.channel
        if channel.endpoint is None:
            return Unreachable(ErrorReport(None, "the subscription has no endpoint"))
        base = f"{self._base_url}/{request.notification.release}"
        rendered = Resource(request.body)
        message = message_bundle(request.notification, rendered, base=base, destination=channel.endpoint)
        url = f"{channel.endpoint.rstrip('/')}/{OPERATION}"
        return await post_notification(self._post, self._authorization, url, request, message.text)

    def concurrency_key(self, subscription: Subscription) -> str:
        return origin_of(subscription)

    def check(self, subscription: Subscription) -> list[Issue]:
        issues = self._rest_hook.check(subscription)
        if "?" in (subscription.channel.endpoint or ""):
            issues.append(Issue("invalid", "the endpoint is a FHIR base URL, without a query", "endpoint"))
        return issues
