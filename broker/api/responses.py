"""From handler to HTTP and back: what a handler is given, what it answers, and how errors become an OperationOutcome."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import structlog
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from broker import errors
from broker.api.auth import tenant_of
from broker.api.limits import read_body
from broker.api.media import FHIR_JSON, check_accept, check_content_type
from broker.api.services import Services
from broker.errors import Issue, RequestError, StoreFull, StoreUnavailable
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


class Call(NamedTuple):
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


class Reply(NamedTuple):
    """A FHIR answer; `after` runs once it has left. With `chunks` the body is what they bring, in `media_type`."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    after: Callable[[], Awaitable[None]] | None = None
    media_type: str = FHIR_JSON
    chunks: AsyncIterator[bytes] | None = None


Handler = Callable[[Call], Awaitable[Reply]]
_BODILESS = frozenset({204, 304})
_NO_QUERY = QueryParams()


def version_headers(version: int, at_ms: int) -> dict[str, str]:
    return {"ETag": f'W/"{version}"', "Last-Modified": _http_date(at_ms // 1000)}


@lru_cache(maxsize=16)
def _http_date(at_s: int) -> str:
    """Much happens within one second."""
    return formatdate(at_s, usegmt=True)


def failure(error: RequestError) -> Reply:
    """The OperationOutcome of a refused request."""
    return Reply(STATUS[type(error)], operation_outcome(error.issues))


class FhirBases:
    """The bases `/r4`, `/r4b` and `/r5` as an ASGI application: media types, bounded body, errors, headers.

    It stands before Starlette's (`beside`) and speaks ASGI itself: every reading of a device passes here, and routing,
    request and response took as long as the rest of the way to the store.
    """

    def __init__(self, services: Services, handler: Handler, beside: Starlette) -> None:
        self._services = services
        self._handler = handler
        self._beside = beside
        self._paths_beside = {route.path for route in beside.routes if isinstance(route, Route)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._paths_beside:
            await self._beside(scope, receive, send)
            return
        reply = await self._reply(scope, receive)
        if reply.chunks is not None:
            stream = StreamingResponse(reply.chunks, reply.status, reply.headers, media_type=reply.media_type)
            await stream(scope, receive, send)
            return
        body = reply.body
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        if body:
            headers.append((b"content-type", reply.media_type.encode()))
        if reply.status not in _BODILESS:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        if reply.after is not None:
            await reply.after()

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        services = self._services
        method, path = scope["method"], scope["path"]
        # the first of a name counts
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])
        }
        query = QueryParams(scope["query_string"]) if scope["query_string"] else _NO_QUERY
        try:
            release = _release(path)
            check_accept(headers, query, path, release)
            body = b""
            if method in {"POST", "PUT"}:
                is_search = path.endswith("/_search")
                check_content_type(headers.get("content-type", ""), release, is_search=is_search)
                body = await read_body(receive, headers.get("content-length", ""), services.settings.max_body)
            call = Call(
                services,
                release,
                adapter(release),
                tenant_of(headers),
                method="GET" if method == "HEAD" else method,
                path=path[len(release) + 1 :].lstrip("/"),
                params={},
                query=query,
                headers=headers,
                body=body,
            )
        except RequestError as error:
            return failure(error)
        return await answer(self._handler, call)


async def answer(handler: Handler, call: Call) -> Reply:
    """What the handler replies; each error as the OperationOutcome it deserves."""
    try:
        return await handler(call)
    except RequestError as error:
        return failure(error)
    except StoreFull as error:
        metrics.intake_refused.inc()
        _log.warning("no room", path=call.path, error=str(error))
        issue = Issue("throttled", f"{error}; nothing was promised: send it again later")
        return Reply(503, operation_outcome([issue]), {"Retry-After": "5"})
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


def _release(path: str) -> Release:
    name = path.split("/", 2)[1]
    try:
        return Release(name)
    except ValueError:
        known = ", ".join(f"/{release}" for release in Release)
        raise errors.NotFound(
            Issue("not-found", f"there is no FHIR base /{name}; the bases are {known}")
        ) from None
