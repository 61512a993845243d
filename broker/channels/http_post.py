"""Posts a notification body over HTTP and translates the response to an outcome: shared by the channels that
use HTTP.

The status codes mean what R-304 and R-305 say; other packages see only the outcome.
"""

from http import HTTPStatus
from typing import assert_never

from broker.channels.base import SendRequest
from broker.egress.http import HttpFailure, HttpPost, HttpResponse
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Delivered, DeliveryOutcome, EndpointGone, Refused, Unreachable

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_ERROR_CODES = {
    "dns": DeliveryError.DNS,
    "no-response": DeliveryError.NO_RESPONSE,
    "refused-address": None,  # the code system has no code for it
}


async def post_notification(post: HttpPost, url: str, request: SendRequest, body: bytes) -> DeliveryOutcome:
    """One POST with the registered headers, as they were registered (R-302), and the body's signature."""
    channel = request.subscription.channel
    headers = (("Content-Type", channel.content_type), *channel.headers)
    signature = request.signer.headers(request.notification.id, body)
    answer = await post(
        url,
        headers=headers,
        attempt_headers=signature,
        body=body,
        timeout_s=request.timeout_s,
        tenant=request.subscription.tenant,
    )
    match answer:
        case HttpResponse():
            return _outcome_of(answer)
        case HttpFailure(kind=kind, text=text):
            return Unreachable(ErrorReport(_ERROR_CODES[kind], text))
    assert_never(answer)


def _outcome_of(response: HttpResponse) -> DeliveryOutcome:
    status = _status_text(response.status)
    if 200 <= response.status < 300:
        return Delivered(status)
    text = f"the endpoint answered {status}"
    if 300 <= response.status < 400:
        text += "; redirects are not followed"
    error = ErrorReport(DeliveryError.ERROR_RESPONSE, text)
    if response.status == HTTPStatus.GONE:
        return EndpointGone(error)
    is_transient = response.status in _TRANSIENT or 500 <= response.status < 600
    return Refused(is_transient, error, response.retry_after_s, response.status in _UNAVAILABLE)


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
