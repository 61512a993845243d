"""The rest-hook channel: each notification is one POST to exactly the endpoint (R-300..R-309)."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import assert_never

from broker.channels.base import SendRequest
from broker.egress.addresses import check_form, check_reach
from broker.egress.client import Answer, EgressClient, NoAnswer
from broker.errors import Issue
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Delivered, Gone, Outcome, Refused, Unreachable
from broker.model.subscription import Channel as ChannelSettings

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
_CURABLE = frozenset({408, 425, 429})
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?")


class RestHook:
    """Posts through the egress client, which decides whether an address may be reached."""

    is_pushed = True

    def __init__(self, egress: EgressClient) -> None:
        self._egress = egress

    async def send(self, request: SendRequest) -> Outcome:
        headers = (("Content-Type", request.content_type), *request.headers)
        answer = await self._egress.post(
            request.endpoint, headers=headers, body=request.body, timeout_s=request.timeout_s
        )
        match answer:
            case Answer():
                return _judged(answer)
            case NoAnswer(kind=kind, text=text):
                return Unreachable(ErrorReport(_CODES[kind], text))
        assert_never(answer)

    def check(self, channel: ChannelSettings) -> list[Issue]:
        return [*self._check_endpoint(channel.endpoint), *_check_type(channel), *_check_headers(channel)]

    def _check_endpoint(self, endpoint: str | None) -> list[Issue]:
        if not endpoint:
            return [Issue("invalid", "a rest-hook needs an endpoint to post to", "endpoint")]
        malformed = check_form(endpoint)
        if malformed:
            return [Issue("invalid", text, "endpoint") for text in malformed]
        return [
            Issue("forbidden", text, "endpoint") for text in check_reach(endpoint, self._egress.allowance)
        ]


_CODES = {
    "dns": DeliveryError.DNS,
    "no-response": DeliveryError.NO_RESPONSE,
    "refused-address": None,  # the code system has no word for it
}


def _judged(answer: Answer) -> Outcome:
    """R-304, R-305."""
    if 200 <= answer.status < 300:
        return Delivered(answer.status)
    text = f"the endpoint answered {answer.status}{_phrase(answer.status)}"
    if 300 <= answer.status < 400:
        text += "; redirects are not followed"
    error = ErrorReport(DeliveryError.ERROR_RESPONSE, text)
    if answer.status == 410:
        return Gone(error)
    is_curable = answer.status in _CURABLE or 500 <= answer.status < 600
    return Refused(answer.status, is_curable, error, answer.retry_after_s)


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _check_type(channel: ChannelSettings) -> Iterator[Issue]:
    if not _VALUE.fullmatch(channel.content_type):
        yield Issue("invalid", "the content type can't be sent as a header", "contentType")
    elif channel.content_type.partition(";")[0].strip().lower() not in JSON_TYPES:
        text = f"notifications are sent as {' or '.join(sorted(JSON_TYPES))}, not {channel.content_type!r}"
        yield Issue("not-supported", text, "contentType")


def _check_headers(channel: ChannelSettings) -> Iterator[Issue]:
    """R-303. Values are not repeated in the text: they may be secret."""
    for position, (name, value) in enumerate(channel.headers):
        where = f"parameter[{position}]"
        if not _TOKEN.fullmatch(name):
            yield Issue("invalid", f"{name!r} is no header name", where)
        elif name.lower() in RESERVED_HEADERS or name.lower().startswith("proxy-"):
            yield Issue("forbidden", f"the header {name} belongs to the connection and can't be set", where)
        elif not _VALUE.fullmatch(value):
            text = f"the value of {name} holds characters other than visible ASCII, or a blank at an end"
            yield Issue("invalid", text, where)
