"""From handler to HTTP and back: what a handler is given, what it answers, and how errors become an OperationOutcome."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

import structlog
from starlette.background import BackgroundTask
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from broker import errors
from broker.api.auth import tenant_of
from broker.api.limits import read_body
from broker.api.media import FHIR_JSON, check_accept, check_content_type
from broker.api.services import Services
from broker.errors import Issue, RequestError, StoreUnavailable
from broker.fhir.outcomes import operation_outcome
from broker.fhir.release import ReleaseAdapter, adapter
from broker.model.change import Tenant
from broker.model.release import Release
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)

STATUS: Mapping[type[RequestError], int] = {
    errors.Malformed: 400,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.NotAcceptable: 406,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unprocessable: 422,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a FHIR base, or one entry of a batch. `path` is what stands behind the base, without a leading slash."""

    services: Services
    release: Release
    adapter: ReleaseAdapter
    tenant: Tenant
    method: str
    path: str
    params: Mapping[str, str]
    query: QueryParams
    headers: Mapping[str, str]
    body: bytes

    @property
    def base(self) -> str:
        return f"{self.services.base_url}/{self.release}"

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    @property
    def self_url(self) -> str:
        return self.url(self.path) + (f"?{self.query}" if self.query else "")

    @property
    def wants_minimal(self) -> bool:
        return "return=minimal" in self.headers.get("prefer", "")

    @property
    def expected_version(self) -> str:
        """The version If-Match names, '' without one."""
        given = self.headers.get("if-match", "").strip()
        if not given:
            return ""
        version = given.removeprefix("W/").strip('"')
        if not version.isdigit():
            raise errors.Malformed(Issue("value", f'If-Match takes an ETag like W/"3", not {given!r}'))
        return version


@dataclass(frozen=True, slots=True)
class Reply:
    """A FHIR answer; `after` runs once it has left. With `chunks` the body is what they bring, in `media_type`."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: Callable[[], Awaitable[None]] | None = None
    media_type: str = FHIR_JSON
    chunks: AsyncIterator[bytes] | None = None


Handler = Callable[[Call], Awaitable[Reply]]


def version_headers(version: int, at_ms: int) -> dict[str, str]:
    return {"ETag": f'W/"{version}"', "Last-Modified": formatdate(at_ms / 1000, usegmt=True)}


def failure(error: RequestError) -> Reply:
    """The OperationOutcome of a refused request."""
    return Reply(STATUS[type(error)], operation_outcome(error.issues))


def fhir(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Makes an endpoint of a handler: media types, bounded body, errors, headers."""

    async def endpoint(request: Request) -> Response:
        services: Services = request.app.state.services
        reply = await _answer(handler, request, services)
        if reply.chunks is not None:
            return StreamingResponse(reply.chunks, reply.status, reply.headers, media_type=reply.media_type)
        headers = {"Content-Type": reply.media_type} if reply.body else {}
        task = BackgroundTask(reply.after) if reply.after else None
        return Response(reply.body, reply.status, headers | reply.headers, background=task)

    return endpoint


async def _answer(handler: Handler, request: Request, services: Services) -> Reply:
    try:
        release = _release(request)
        check_accept(request, release)
        body = b""
        if request.method in {"POST", "PUT"}:
            check_content_type(request, release)
            body = await read_body(request, services.settings.max_body)
        call = Call(
            services,
            release,
            adapter(release),
            tenant_of(request),
            method="GET" if request.method == "HEAD" else request.method,
            path=request.url.path.removeprefix(f"/{release}").lstrip("/"),
            params={},
            query=request.query_params,
            headers=request.headers,
            body=body,
        )
    except RequestError as error:
        return failure(error)
    return await answer(handler, call)


async def answer(handler: Handler, call: Call) -> Reply:
    """What the handler replies; each error as the OperationOutcome it deserves."""
    try:
        return await handler(call)
    except RequestError as error:
        return failure(error)
    except StoreUnavailable as error:
        metrics.store_errors.inc()
        _log.warning("store unavailable", path=call.path, error=str(error))
        issue = Issue("transient", "the store is away; nothing was promised: send it again")
        return Reply(503, operation_outcome([issue]), {"Retry-After": "2"})
    except Exception:  # noqa: BLE001 the caller is told, the log has the rest
        _log.exception("request failed", path=call.path)
        return Reply(
            500, operation_outcome([Issue("exception", "the broker failed on this request; it is logged")])
        )


def _release(request: Request) -> Release:
    name = request.path_params.get("release", "")
    try:
        return Release(name)
    except ValueError:
        known = ", ".join(f"/{release}" for release in Release)
        raise errors.NotFound(
            Issue("not-found", f"there is no FHIR base /{name}; the bases are {known}")
        ) from None
