"""Answers every error with its HTTP status and an OperationOutcome."""

from collections.abc import Mapping

import structlog

from broker import errors
from broker.api.exchange import FhirRequest, FhirResponse, Handler
from broker.errors import (
    BrokerError,
    IndexIncomplete,
    Issue,
    KeysUnavailable,
    Overloaded,
    RequestError,
    StoreFull,
    StoreUnavailable,
)
from broker.fhir.outcomes import operation_outcome
from broker.services.http_status import STATUS
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)


def failure(error: RequestError) -> FhirResponse:
    """The response to a request that was refused."""
    match error:
        case errors.TooLarge(limit=limit) | errors.TooMany(limit=limit):
            metrics.limit_refusals.labels(limit).inc()
        case errors.TooDeep():
            metrics.limit_refusals.labels("depth").inc()
    return FhirResponse(STATUS[type(error)], operation_outcome(error.issues), _headers(error))


def _headers(error: RequestError) -> Mapping[str, str]:
    """WWW-Authenticate of a 401, and of a 403 for lack of a scope (RFC 6750, 3); Retry-After of a 429."""
    match error:
        case errors.TooMany(retry_after_s=int(seconds)):
            return {"Retry-After": str(seconds)}
        case errors.Unauthenticated(was_sent=True):
            parameters = ', error="invalid_token"'
        case errors.Unauthenticated():
            parameters = ""
        case errors.Forbidden(scope=str(scope)) if scope:
            parameters = f', error="insufficient_scope", scope="{scope}"'
        case _:
            return {}
    return {"WWW-Authenticate": f'Bearer realm="fhir-broker"{parameters}'}


async def respond(handler: Handler, request: FhirRequest) -> FhirResponse:
    """The response of the handler, or to the error it raises. An unexpected error is logged and answered by
    500.
    """
    try:
        return await handler(request)
    except BrokerError as error:
        return response_to(error, request.method, request.path)
    except Exception:  # noqa: BLE001 the client gets a 500, the log the reason
        _log.exception("request failed", path=request.path)
        return failed()


def response_to(error: BrokerError, method: str, path: str) -> FhirResponse:
    """The response to an error that the broker raises on purpose, wherever in a request."""
    match error:
        case RequestError():
            return failure(error)
        case StoreFull():
            metrics.intake_refused.inc()
            _log.warning("change refused, the store is full", path=path, error=str(error))
            text = f"The store is full; the change was not accepted. Retry the request later. ({error})"
            return _unavailable(Issue("throttled", text), retry_after_s=5)
        case Overloaded():
            _log.warning("change refused, the broker is overloaded", path=path)
            text = (
                "The broker is overloaded; the change was not accepted. Retry the request after Retry-After."
            )
            return _unavailable(Issue("throttled", text), retry_after_s=error.retry_after_s)
        case StoreUnavailable():
            metrics.store_errors.inc()
            _log.warning("store unavailable", path=path, error=str(error))
            text = "Store unavailable; the change was not accepted. Retry the request."
            if method == "GET":
                text = "Store unavailable. Retry the request."
            return _unavailable(Issue("transient", text), retry_after_s=2)
        case KeysUnavailable() | IndexIncomplete():
            return _unavailable(Issue("transient", str(error)), retry_after_s=error.retry_after_s)
    _log.error("request failed", path=path, error=type(error).__name__, exc_info=error)
    return failed()


def failed() -> FhirResponse:
    """The response to a request on which the code failed."""
    text = "The broker failed on this request. Retry it; if it fails again, report it with the time."
    return FhirResponse(500, operation_outcome([Issue("exception", text)]))


def _unavailable(issue: Issue, *, retry_after_s: int) -> FhirResponse:
    return FhirResponse(503, operation_outcome([issue]), {"Retry-After": str(retry_after_s)})
