"""`POST /readings`: payloads of devices as they are, one or many, with an answer for each.

A body with one payload is answered by its own status: 201 stored, 200 stored before, 202 quarantined, 422
refused. An array, NDJSON and CSV are answered by 200 with a result for each payload, whatever became of it.
Everything is durable before the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from broker.api.exchange import FhirResponse
from broker.api.failures import failed, response_to
from broker.api.limits import read_body
from broker.api.login_audit import address_of
from broker.api.media import media_types
from broker.api.messages import send_response
from broker.clock import Clock
from broker.errors import BrokerError, Issue, Malformed, TooLarge, Unprocessable, UnsupportedMedia
from broker.ingest.readings.formats import NDJSON, decode_json, payload_format, split_body
from broker.ingest.readings.intake import ReadingIntake
from broker.ingest.readings.values import CSV, GATT, JSON, RawReading, ReadingResult, ReadingStatus
from broker.mapping.decoders.gatt import CHARACTERISTICS
from broker.mapping.decoders.undecodable import Undecodable
from broker.mapping.reading import ReadingProblem
from broker.model import json_text
from broker.model.audit import Requester
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.services.client_limits import ClientLimits
from broker.telemetry import current_request

PATH = "/readings"
_log = structlog.get_logger(__name__)
_MAX_KEY_LENGTH = 256
_FORMATS: Mapping[str, str] = {
    "application/json": JSON,
    "text/json": JSON,
    "application/x-ndjson": NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
    "application/json-seq": NDJSON,
    "text/csv": CSV,
}
_BINARY = frozenset({"application/octet-stream", "application/vnd.bluetooth.gatt"})
_PARAMETERS = ("device", "patient", "gateway", "offset")
_STATUS: Mapping[ReadingStatus, int] = {
    ReadingStatus.ACCEPTED: 201,
    ReadingStatus.DUPLICATE: 200,
    ReadingStatus.QUARANTINED: 202,
    ReadingStatus.REFUSED: 422,
}


@dataclass(frozen=True, slots=True)
class ReadingParts:
    """What the endpoint uses; the composition root puts it into the application's state as `readings`."""

    intake: ReadingIntake
    clock: Clock
    limits: ClientLimits
    base_url: str
    max_body_bytes: int
    max_entries: int


class Endpoint:
    """The ASGI application behind the guard of its route."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(await _respond(scope, receive), send)


async def _respond(scope: Scope, receive: Receive) -> FhirResponse:
    parts: ReadingParts = scope["app"].state.readings
    try:
        return await _receive(parts, scope, receive)
    except BrokerError as error:
        return response_to(error, scope["method"], scope["path"])
    except Exception:  # noqa: BLE001 the client gets a 500, the log the reason
        _log.exception("request failed", path=scope["path"])
        return failed()


async def _receive(parts: ReadingParts, scope: Scope, receive: Receive) -> FhirResponse:
    principal: Principal = scope["state"]["principal"]
    headers: Mapping[str, str] = scope["state"]["headers"]
    query: Mapping[str, str] = QueryParams(scope["query_string"]) if scope["query_string"] else {}
    parts.limits.admit(principal)
    format_ = _format(headers.get("content-type") or "application/json", query.get("characteristic", ""))
    body = await read_body(
        receive,
        headers.get("content-length", ""),
        headers.get("content-encoding", ""),
        parts.max_body_bytes,
    )
    contents = split_body(body, format_)
    if not contents or not body.strip():
        raise Malformed(Issue("required", "The body has no reading. Send at least one."))
    if len(contents) > parts.max_entries:
        text = f"The body has more than {parts.max_entries} readings (BROKER_MAX_ENTRIES). Send less at once."
        raise TooLarge(Issue("too-costly", text), limit="entries")
    is_single = len(contents) == 1 and format_ == JSON and not body.lstrip().startswith(b"[")
    is_single |= format_.startswith(GATT)
    decoded = _decoded(body) if is_single and format_ == JSON else None
    key = _idempotency_key(headers.get("idempotency-key", ""), principal)
    raw = RawReading(
        principal.tenant,
        contents[0],
        payload_format(format_),
        datetime.fromtimestamp(parts.clock.now_ms() / 1000, UTC),
        key=key,
        requester=Requester(principal.client_id, address_of(scope)),
        parameters={name: query[name] for name in _PARAMETERS if name in query},
        trace=current_request.traceparent(),
        decoded=decoded,
    )
    readings = [raw]
    if not is_single:
        readings = [
            raw._replace(content=content, key=key and f"{key}#{n}") for n, content in enumerate(contents)
        ]
    results = await parts.intake.admit(readings)
    if is_single:
        (result,) = results
        location = {}
        if result.observations:
            location["Location"] = _url(parts, result.observations[0].reference)
        return _json(_result(parts, result), _STATUS[result.status], location)
    counts = {status: sum(result.status is status for result in results) for status in ReadingStatus}
    rows = [{"index": n} | _result(parts, result) for n, result in enumerate(results)]
    return _json({**{str(status): number for status, number in counts.items()}, "results": rows}, 200, {})


def _decoded(body: bytes) -> object:
    """The payload object. A body that is not JSON is not kept: its producer hears of it.

    Raises `Malformed`.
    """
    try:
        return decode_json(body)
    except Undecodable as error:
        raise Malformed(Issue("structure", str(error), error.place or None)) from None


@lru_cache(maxsize=256)
def _format(content_type: str, characteristic: str) -> str:
    """The format of the body. Raises `UnsupportedMedia`. Cached, since clients keep to a few."""
    name, parameters = next(media_types(content_type))
    if name in _BINARY:
        number = characteristic or parameters.get("characteristic", "")
        number = number.upper().removeprefix("0X")
        if number not in CHARACTERISTICS:
            text = (
                "A binary body is the value of a Bluetooth characteristic. Name it by the parameter "
                f"characteristic: one of {', '.join(sorted(CHARACTERISTICS))}."
            )
            raise UnsupportedMedia(Issue("not-supported", text))
        return GATT + number
    if name not in _FORMATS:
        text = f"The content type is none of {', '.join([*_FORMATS, *sorted(_BINARY)])}. Send one of these."
        raise UnsupportedMedia(Issue("not-supported", text))
    return _FORMATS[name]


def _idempotency_key(header: str, principal: Principal) -> str:
    """As that of a FHIR write: with access control it belongs to the client. Raises `Unprocessable`."""
    key = header.strip()
    if len(key) > _MAX_KEY_LENGTH:
        text = f"The Idempotency-Key is too long. Send at most {_MAX_KEY_LENGTH} characters."
        raise Unprocessable(Issue("too-long", text))
    is_shared = principal.client_id == OPEN_PRINCIPAL.client_id
    return key if is_shared or not key else f"{principal.client_id} {key}"


def _result(parts: ReadingParts, result: ReadingResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": str(result.status)}
    if result.observations:
        shown["observations"] = [
            {
                "status": str(stored.status),
                "reference": stored.reference,
                "version": str(stored.version),
                "url": _url(parts, stored.reference),
            }
            for stored in result.observations
        ]
    if result.problems:
        shown["problems"] = [_problem(problem) for problem in result.problems]
    if result.dead_letter:
        shown["deadLetter"] = result.dead_letter
    return shown


def _problem(problem: ReadingProblem) -> dict[str, Any]:
    shown = {name: value for name, value in problem._asdict().items() if value}
    return shown | ({"candidates": list(problem.candidates)} if problem.candidates else {})


def _url(parts: ReadingParts, reference: str) -> str:
    return f"{parts.base_url}/r4/{reference}"


def _json(document: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> FhirResponse:
    return FhirResponse(status, json_text.encode(document), headers, media_type="application/json")
