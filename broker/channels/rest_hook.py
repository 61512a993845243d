"""The rest-hook channel: each notification is one POST to exactly the registered endpoint (R-300..R-309)."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from broker.channels.authorization import Authorization
from broker.channels.base import SendRequest, StatelessChannel
from broker.channels.http_post import post_notification
from broker.egress.addresses import Allowance, check_form, check_reach
from broker.egress.http import HttpPost
from broker.errors import Issue
from broker.model.notification import ErrorReport
from broker.model.outcome import DeliveryOutcome, Unreachable
from broker.model.subscription import Channel as ChannelSettings
from broker.model.subscription import Subscription

JSON_TYPES = frozenset({"application/fhir+json", "application/json"})
RESERVED_HEADERS = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that break framing or routing; `Proxy-*` are refused too (R-303)."""
SIGNATURE_HEADERS = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature"})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?")


class RestHookChannel(StatelessChannel):
    """Posts by `post`, which decides whether an address may be reached; `allowance` is for the check at
    registration.
    """

    is_pushed = True
    is_signed = True

    def __init__(self, post: HttpPost, allowance: Allowance, authorization: Authorization) -> None:
        self._post = post
        self._authorization = authorization
        self._allowance = allowance

    async def send(self, request: SendRequest) -> DeliveryOutcome:
        channel = request.subscription.channel
        if channel.endpoint is None:
            return Unreachable(ErrorReport(None, "the subscription has no endpoint"))
        return await post_notification(
            self._post, self._authorization, channel.endpoint, request, request.body
        )

    def concurrency_key(self, subscription: Subscription) -> str:
        """The origin (scheme and authority): connections are shared by it."""
        return origin_of(subscription)

    def check(self, subscription: Subscription) -> list[Issue]:
        channel = subscription.channel
        return [*self._check_endpoint(channel.endpoint), *_check_type(channel), *_check_headers(channel)]

    def _check_endpoint(self, endpoint: str | None) -> list[Issue]:
        if not endpoint:
            text = "a rest-hook channel needs an endpoint: the URL to which notifications are posted"
            return [Issue("invalid", text, "endpoint")]
        malformed = check_form(endpoint)
        if malformed:
            return [Issue("invalid", text, "endpoint") for text in malformed]
        return [Issue("forbidden", text, "endpoint") for text in check_reach(endpoint, self._allowance)]


def origin_of(subscription: Subscription) -> str:
    parts = urlsplit(subscription.channel.endpoint or "")
    return f"{parts.scheme}://{parts.netloc}"


def check_json_type(channel: ChannelSettings) -> Iterator[Issue]:
    """Notifications are JSON."""
    if channel.content_type.partition(";")[0].strip().lower() not in JSON_TYPES:
        text = f"notifications are sent as {' or '.join(sorted(JSON_TYPES))}, not {channel.content_type!r}"
        yield Issue("not-supported", text, "contentType")


def _check_type(channel: ChannelSettings) -> Iterator[Issue]:
    if _VALUE.fullmatch(channel.content_type):
        yield from check_json_type(channel)
    else:
        yield Issue("invalid", "the content type can't be sent as a header", "contentType")


def _check_headers(channel: ChannelSettings) -> Iterator[Issue]:
    """R-303. Texts don't repeat values: they may be secret."""
    for position, (name, value) in enumerate(channel.headers):
        where = f"parameter[{position}]"
        if not _TOKEN.fullmatch(name):
            yield Issue("invalid", f"{name!r} is not a valid header name", where)
        elif name.lower() in RESERVED_HEADERS or name.lower().startswith("proxy-"):
            text = f"the header {name} belongs to the connection and can't be set; leave it out"
            yield Issue("forbidden", text, where)
        elif name.lower() in SIGNATURE_HEADERS:
            text = f"the broker sets {name}; to have notifications signed, call $rotate-secret"
            yield Issue("forbidden", text, where)
        elif name.lower() == "traceparent":
            text = "the broker sets traceparent, from the request that made the event; leave it out"
            yield Issue("forbidden", text, where)
        elif not _VALUE.fullmatch(value):
            text = f"the value of {name} may only hold visible ASCII characters, with blanks between them"
            yield Issue("invalid", text, where)
