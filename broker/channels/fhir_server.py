"""One FHIR server that the channel `fhir-write` writes to: sends a request to it and judges the answer.

A refusal belongs to the resource that was sent only if the server explains it by an OperationOutcome.
Everything else (a gateway's page, a wrong address, a missing permission) concerns the whole server, and no
resource is blamed for it.
"""

from http import HTTPStatus
from typing import NamedTuple

from broker.channels.authorization import Authorization, Credentials, TokenUnavailable
from broker.channels.exchange import Exchange
from broker.channels.http_post import answer_outcome, status_text, with_credentials
from broker.channels.write_targets import WriteTarget
from broker.egress.http import HttpFailure, HttpResponse, HttpSend
from broker.egress.http_connection import ResponseLimits
from broker.fhir.server_answers import is_resource, outcome_summary
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import EndpointGone, Refused, Unreachable

RESPONSE_LIMITS = ResponseLimits(8_388_608, body_s=30.0)
"""CapabilityStatements of full servers have megabytes, and the body says what became of each resource."""
_JSON = "application/fhir+json"
_TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,  # another client changes the resource at the moment
        HTTPStatus.LOCKED,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)

Failure = Refused | Unreachable
"""Why the server can't be written to now: the outcome of the whole attempt."""


class Accepted(NamedTuple):
    """A 2xx; the body is a FHIR resource or empty."""

    status: int
    body: bytes
    location: str


class ItemRefused(NamedTuple):
    """The server refused what was sent. `outcome` is its OperationOutcome, if it sent one."""

    status: int
    text: str
    outcome: bytes = b""


class FhirServer:
    """The server of one target, for one attempt."""

    def __init__(
        self,
        send: HttpSend,
        authorization: Authorization,
        target: WriteTarget,
        timeout_s: float,
        traceparent: str = "",
        exchange: Exchange | None = None,
    ) -> None:
        self._trace = (("traceparent", traceparent),) if traceparent else ()
        self._send = send
        self._authorization = authorization
        self._timeout_s = timeout_s
        self._exchange = exchange
        self.target = target

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        content_type: str = _JSON,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Accepted | ItemRefused | Failure:
        """One request below the base of the server, within the timeout of the attempt."""
        url = f"{self.target.base}/{path}" if path else self.target.base
        head = (("Content-Type", content_type),) if body else ()

        async def send(credentials: Credentials | None) -> HttpResponse | HttpFailure:
            attempt_headers = (*headers, *self._trace)
            if credentials is not None:
                attempt_headers = (*attempt_headers, ("Authorization", credentials.authorization))
            common = (*head, ("Accept", _JSON))
            if self._exchange is not None:
                self._exchange.sent(body, common, attempt_headers)
            answer = await self._send(
                method,
                url,
                headers=common,
                attempt_headers=attempt_headers,
                body=body,
                timeout_s=self._timeout_s,
                tenant=self.target.tenant,
            )
            if self._exchange is not None and isinstance(answer, HttpResponse):
                self._exchange.answered(answer.status, answer.body)
            return answer

        answer = await with_credentials(
            self._authorization, self.target.tenant, url, send, timeout_s=self._timeout_s
        )
        return judge(answer)


def judge(answer: HttpResponse | HttpFailure | TokenUnavailable) -> Accepted | ItemRefused | Failure:
    """What an answer to a write or a search means."""
    if not isinstance(answer, HttpResponse):
        return _failure(answer)
    status = answer.status
    if 200 <= status < 300:
        if answer.body.strip() and not is_resource(answer.body):
            text = f"the server answered {status_text(status)} with a body that is no FHIR resource"
            return Refused(True, ErrorReport(DeliveryError.ERROR_RESPONSE, text))
        return Accepted(status, answer.body, answer.location)
    explained = outcome_summary(answer.body)
    text = f"the server answered {status_text(status)}" + (f": {explained}" if explained else "")
    if status in _TRANSIENT:
        return Refused(True, ErrorReport(DeliveryError.ERROR_RESPONSE, text), answer.retry_after_s)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:  # gateways answer it too
        return ItemRefused(status, text, answer.body if explained is not None else b"")
    is_of_item = 400 <= status < 500 or status == HTTPStatus.NOT_IMPLEMENTED
    if explained is None or status == HTTPStatus.UNAUTHORIZED or not is_of_item:
        return _failure(answer)
    return ItemRefused(status, text, answer.body)


def _failure(answer: HttpResponse | HttpFailure | TokenUnavailable) -> Failure:
    match answer_outcome(answer):
        case EndpointGone(error=error):  # a write target does not unsubscribe: its administrator decides
            return Refused(False, error)
        case Refused() | Unreachable() as failure:
            return failure
        case _:
            return Unreachable(ErrorReport(None, "the answer of the server was not understood"))
