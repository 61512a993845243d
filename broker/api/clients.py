"""The API of administrators for registered clients: `/oauth/clients`, in the JSON of RFC 7591.

A refused request is answered in the JSON of RFC 7591, 3.2.2. Every change is in the audit trail of the
administrator's tenant before its response leaves.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.api.limits import read_body
from broker.api.login_audit import address_of
from broker.errors import Issue, OAuthError, RequestError, StoreUnavailable, UnsupportedMedia
from broker.model.audit import AuditAction, AuditEntry, AuditOutcome
from broker.model.principal import Principal
from broker.security.clients import Registration, decode_registration
from broker.services.clients import ClientService, etag_of, shown
from broker.services.http_status import STATUS
from broker.store.audit_journal import AuditJournal

CLIENTS_PATH = "/oauth/clients"
CLIENT_PATH = CLIENTS_PATH + "/{client_id:path}"
_MAX_BODY_BYTES = 262_144
_NO_STORE = {"Cache-Control": "no-store"}
_log = structlog.get_logger(__name__)
_Answer = Callable[["ClientParts", Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ClientParts:
    """What the endpoints use; the composition root puts it into the application's state as `clients`."""

    clients: ClientService
    journal: AuditJournal
    base_url: str


def _endpoint(act: str, answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that answers with `answer`, or with the error that it raises. An act is audited."""

    async def endpoint(request: Request) -> Response:
        parts: ClientParts = request.app.state.clients
        try:
            try:
                return await answer(parts, request)
            except (OAuthError, RequestError) as error:
                if act:  # without the id of the request, which may be any text
                    await _record(parts, request, act, AuditOutcome.MINOR_FAILURE)
                if isinstance(error, OAuthError):
                    return _refusal(400, error.code, str(error))
                return _refusal(STATUS[type(error)], error.issues[0].code, str(error))
        except StoreUnavailable as error:
            _log.warning("store unavailable", path=request.url.path, error=str(error))
            response = _refusal(503, "temporarily_unavailable", "Store unavailable. Retry the request.")
            response.headers["Retry-After"] = "2"
            return response

    return endpoint


async def _list(parts: ClientParts, request: Request) -> Response:
    registrations = await parts.clients.all(_principal(request).tenant)
    return JSONResponse({"clients": [shown(each) for each in registrations]}, headers=_NO_STORE)


async def _add(parts: ClientParts, request: Request) -> Response:
    members = await _body(request)
    registration = await parts.clients.add(_principal(request).tenant, members)
    client_id = registration.client.client_id
    await _record(parts, request, f"register client {client_id}")
    response = _shown(registration, 201)
    response.headers["Location"] = f"{parts.base_url}{CLIENTS_PATH}/{quote(client_id, safe='')}"
    return response


async def _show(parts: ClientParts, request: Request) -> Response:
    return _shown(await parts.clients.get(_principal(request).tenant, request.path_params["client_id"]), 200)


async def _replace(parts: ClientParts, request: Request) -> Response:
    members, client_id = await _body(request), request.path_params["client_id"]
    etag = request.headers.get("if-match", "")
    registration = await parts.clients.replace(_principal(request).tenant, client_id, members, etag)
    verb = "disable" if registration.client.is_disabled else "change"
    await _record(parts, request, f"{verb} client {client_id}")
    return _shown(registration, 200)


async def _remove(parts: ClientParts, request: Request) -> Response:
    client_id, etag = request.path_params["client_id"], request.headers.get("if-match", "")
    await parts.clients.remove(_principal(request).tenant, client_id, etag)
    await _record(parts, request, f"remove client {client_id}")
    return Response(status_code=204, headers=_NO_STORE)


list_clients = _endpoint("", _list)
add_client = _endpoint("register client", _add)
show_client = _endpoint("", _show)
replace_client = _endpoint("change client", _replace)
remove_client = _endpoint("remove client", _remove)


async def _body(request: Request) -> Any:
    headers = request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMedia(Issue("not-supported", "Send the registration as application/json."))
    body = await read_body(
        request.receive,
        headers.get("content-length", ""),
        headers.get("content-encoding", ""),
        _MAX_BODY_BYTES,
    )
    try:
        return decode_registration(body)
    except ValueError as error:
        raise OAuthError(
            "invalid_client_metadata", "The body is not JSON, or names a member twice."
        ) from error


async def _record(
    parts: ClientParts, request: Request, detail: str, outcome: AuditOutcome = AuditOutcome.SUCCESS
) -> None:
    principal = _principal(request)
    address = address_of(request.scope)
    entry = AuditEntry(AuditAction.ADMINISTER, outcome, principal.client_id, address, detail)
    await parts.journal.record(principal.tenant, entry)


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


def _shown(registration: Registration, status: int) -> Response:
    headers = _NO_STORE | ({} if registration.is_file else {"ETag": etag_of(registration)})
    return JSONResponse(shown(registration), status, headers=headers)


def _refusal(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": code, "error_description": text}, status, headers=_NO_STORE)
