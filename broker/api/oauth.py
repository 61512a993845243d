"""The OAuth endpoints: `/oauth/token`, `/oauth/introspect` and `/oauth/revoke` (SMART Backend Services, RFC
6749, 7009, 7662).

Requests are forms, answers JSON that no cache may store. A client authenticates at the token and revocation
endpoints by a signed assertion for the URL it posts to. A refused request is answered with the error of RFC
6749, 5.2; nothing of it is logged but that it was refused.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from broker.api.limits import read_body
from broker.api.login_audit import LoginAudit, address_of
from broker.errors import KeysUnavailable, OAuthError, RequestError, StoreUnavailable, TooLarge
from broker.model.audit import AuditAction, AuditEntry, AuditOutcome
from broker.model.change import Tenant
from broker.model.principal import Principal
from broker.security.clients import Client
from broker.security.token_request_words import ASSERTION_TYPE, GRANT_TYPE
from broker.services.access_tokens import TokenService
from broker.store.audit_journal import AuditJournal

TOKEN_PATH = "/oauth/token"  # noqa: S105 no secret
INTROSPECT_PATH = "/oauth/introspect"
REVOKE_PATH = "/oauth/revoke"
_FORM = "application/x-www-form-urlencoded"
_MAX_BODY_BYTES = 65_536
_MAX_FIELDS = 20
_SUCCESS = AuditOutcome.SUCCESS
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_log = structlog.get_logger(__name__)
_Endpoint = Callable[[Request], Awaitable[Response]]
_Answer = Callable[["OAuthParts", Request, Mapping[str, str]], Awaitable[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class OAuthParts:
    """What the endpoints use; the composition root puts it into the application's state as `oauth`."""

    tokens: TokenService
    login: LoginAudit
    journal: AuditJournal
    base_url: str

    async def record(
        self, request: Request, client_id: str, tenant: Tenant, detail: str, outcome: AuditOutcome = _SUCCESS
    ) -> None:
        """Records what became of a client's request in the audit trail. Raises `StoreUnavailable`."""
        entry = AuditEntry(AuditAction.TOKEN, outcome, client_id, address_of(request.scope), detail)
        await self.journal.record(tenant, entry)


def _endpoint(answer: _Answer) -> _Endpoint:
    """The endpoint that answers with the JSON of `answer`, or with the error that it raises."""

    async def endpoint(request: Request) -> Response:
        parts: OAuthParts = request.app.state.oauth
        try:
            return JSONResponse(await _answered(parts, request, answer), headers=_NO_STORE)
        except OAuthError as error:
            return _refusal(400, error.code, str(error))
        except StoreUnavailable as error:
            _log.warning("store unavailable", path=request.url.path, error=str(error))
            return _unavailable("Store unavailable. Retry the request.", 2)
        except KeysUnavailable as error:
            return _unavailable(str(error), error.retry_after_s)
        except TooLarge as error:
            return _refusal(413, "invalid_request", str(error))
        except RequestError as error:
            return _refusal(400, "invalid_request", str(error))

    return endpoint


async def _answered(parts: OAuthParts, request: Request, answer: _Answer) -> Mapping[str, object]:
    """The answer; a refusal is recorded, of the client that is authenticated or else as a failed login."""
    try:
        return await answer(parts, request, await _form(request))
    except (OAuthError, RequestError) as error:
        code = error.code if isinstance(error, OAuthError) else "invalid_request"
        principal: Principal = request.state.principal
        client: Client | Principal = getattr(request.state, "client", principal)
        if not client.client_id:
            await parts.login.record_failure(address_of(request.scope), code)
        else:
            await parts.record(request, client.client_id, client.tenant, code, AuditOutcome.MINOR_FAILURE)
        raise


async def _token(parts: OAuthParts, request: Request, form: Mapping[str, str]) -> Mapping[str, object]:
    """S-060 to S-068."""
    if _required(form, "grant_type") != GRANT_TYPE:
        raise OAuthError("unsupported_grant_type", f"Only grant_type={GRANT_TYPE} is supported.")
    scope = _required(form, "scope")
    client = await _client(parts, request, form)
    issued = await parts.tokens.issue(client, scope)
    await parts.record(request, client.client_id, client.tenant, "issued")
    return {
        "access_token": issued.secret,
        "token_type": "bearer",
        "expires_in": issued.expires_in_s,
        "scope": issued.scope,
    }


async def _introspect(parts: OAuthParts, request: Request, form: Mapping[str, str]) -> Mapping[str, object]:
    """S-090 to S-093. The caller has an access token of its own."""
    principal: Principal = request.state.principal
    token = await parts.tokens.introspect(principal, _required(form, "token"))
    await parts.record(request, principal.client_id, principal.tenant, "introspected")
    if token is None:
        return {"active": False}
    return {
        "active": True,
        "scope": token.scope,
        "client_id": token.client_id,
        "exp": token.expires_ms // 1000,
        "token_type": "bearer",
    }


async def _revoke(parts: OAuthParts, request: Request, form: Mapping[str, str]) -> Mapping[str, object]:
    token = _required(form, "token")
    client = await _client(parts, request, form)
    await parts.tokens.revoke(client, token)
    await parts.record(request, client.client_id, client.tenant, "revoked")
    return {}


token = _endpoint(_token)
introspect = _endpoint(_introspect)
revoke = _endpoint(_revoke)


async def _client(parts: OAuthParts, request: Request, form: Mapping[str, str]) -> Client:
    if "client_secret" in form or "authorization" in request.headers:
        text = "Clients authenticate by private_key_jwt alone. Send a client_assertion and no secret."
        raise OAuthError("invalid_client", text)
    if _required(form, "client_assertion_type") != ASSERTION_TYPE:
        raise OAuthError("invalid_client", f"client_assertion_type is not {ASSERTION_TYPE}.")
    assertion = _required(form, "client_assertion")
    audience = f"{parts.base_url}{request.url.path}"
    client = await parts.tokens.authenticate_client(assertion, audience, form.get("client_id", ""))
    request.state.client = client
    return client


async def _form(request: Request) -> Mapping[str, str]:
    """The fields of the body; raises `OAuthError` unless each is given once, and what `read_body` raises."""
    if request.url.query:
        raise OAuthError("invalid_request", "Send the parameters in the body, not in the URL.")
    headers = request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise OAuthError("invalid_request", f"The Content-Type is not {_FORM}.")
    body = await read_body(
        request.receive,
        headers.get("content-length", ""),
        headers.get("content-encoding", ""),
        _MAX_BODY_BYTES,
    )
    try:
        fields = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError as error:
        raise OAuthError("invalid_request", f"The body is not {_FORM}.") from error
    form = dict(fields)
    if len(form) < len(fields):
        raise OAuthError("invalid_request", "A parameter is given twice.")
    return form


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name, "")
    if not value:  # RFC 6749, 3.2: a parameter without a value counts as omitted
        raise OAuthError("invalid_request", f"{name} is missing.")
    return value


def _unavailable(text: str, retry_after_s: int) -> Response:
    response = _refusal(503, "temporarily_unavailable", text)
    response.headers["Retry-After"] = str(retry_after_s)
    return response


def _refusal(status: int, code: str, text: str) -> Response:
    return JSONResponse({"error": code, "error_description": text}, status, headers=_NO_STORE)
