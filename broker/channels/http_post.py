"""Posts a notification body over HTTP and translates the response to an outcome: shared by the channels that
use HTTP.

The status codes mean what R-304 and R-305 say; other packages see only the outcome.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import assert_never

from broker.channels.authorization import Authorization, Credentials, TokenUnavailable
from broker.channels.base import SendRequest
from broker.egress.http import HttpFailure, HttpPost, HttpResponse
from broker.model.change import Tenant
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Delivered, DeliveryOutcome, EndpointGone, Refused, Unreachable

TOKEN_WAIT_S = 10.0
"""How long a notification waits for an access token, at most."""
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_ERROR_CODES = {
    "dns": DeliveryError.DNS,
    "no-response": DeliveryError.NO_RESPONSE,
    "refused-address": None,  # the code system has no code for it
}


async def post_notification(
    post: HttpPost, authorization: Authorization, url: str, request: SendRequest, body: bytes
) -> DeliveryOutcome:
    """One POST with the registered headers, as they were registered (R-302), and the body's signature.

    Where the operator has configured access tokens for the endpoint, the token takes the place of a
    registered Authorization header. A token that is answered with 401 is replaced, and the POST repeated
    once (S-104).
    """

    async def send(credentials: Credentials | None) -> HttpResponse | HttpFailure:
        return await _post(post, credentials, url, request, body)

    answer = await with_credentials(
        authorization, request.subscription.tenant, url, send, timeout_s=request.timeout_s
    )
    return answer_outcome(answer)


async def with_credentials(
    authorization: Authorization,
    tenant: Tenant,
    url: str,
    send: Callable[[Credentials | None], Awaitable[HttpResponse | HttpFailure]],
    *,
    timeout_s: float,
) -> HttpResponse | HttpFailure | TokenUnavailable:
    """What `send` answers with the credentials for the URL. Those that are answered with 401 are replaced,
    and `send` is called once more (S-104).
    """
    wait_s = min(timeout_s, TOKEN_WAIT_S)
    credentials = await authorization.credentials(tenant, url, timeout_s=wait_s)
    if isinstance(credentials, TokenUnavailable):
        return credentials
    answer = await send(credentials)
    if credentials is not None and isinstance(answer, HttpResponse) and answer.status == 401:
        await authorization.refused(tenant, url, credentials)
        credentials = await authorization.credentials(tenant, url, timeout_s=wait_s)
        if isinstance(credentials, TokenUnavailable):
            return credentials
        answer = await send(credentials)
    return answer


def answer_outcome(answer: HttpResponse | HttpFailure | TokenUnavailable) -> DeliveryOutcome:
    """The outcome of a request by what it was answered."""
    match answer:
        case HttpResponse():
            return _outcome_of(answer)
        case HttpFailure(kind=kind, text=text):
            return Unreachable(ErrorReport(_ERROR_CODES[kind], text))
        case TokenUnavailable():
            return _without_token(answer)
    assert_never(answer)


async def _post(
    post: HttpPost, credentials: Credentials | None, url: str, request: SendRequest, body: bytes
) -> HttpResponse | HttpFailure:
    channel = request.subscription.channel
    headers = (("Content-Type", channel.content_type), *channel.headers)
    of_attempt = tuple(request.signer.headers(request.notification.id, body))
    if request.traceparent:
        of_attempt = (*of_attempt, ("traceparent", request.traceparent))
    if credentials is not None:
        headers = tuple(header for header in headers if header[0].lower() != "authorization")
        of_attempt = (*of_attempt, ("Authorization", credentials.authorization))
    exchange = request.exchange
    if exchange is not None:
        exchange.sent(body, headers, of_attempt)
    answer = await post(
        url,
        headers=headers,
        attempt_headers=of_attempt,
        body=body,
        timeout_s=request.timeout_s,
        tenant=request.subscription.tenant,
    )
    if exchange is not None and isinstance(answer, HttpResponse):
        exchange.answered(answer.status, answer.body)
    return answer


def _without_token(unavailable: TokenUnavailable) -> DeliveryOutcome:
    """Nothing was sent: it is tried again like a request to a receiver that is down."""
    return Refused(True, ErrorReport(None, unavailable.text), unavailable.retry_after_s, is_unavailable=True)


def _outcome_of(response: HttpResponse) -> DeliveryOutcome:
    status = status_text(response.status)
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


def status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
