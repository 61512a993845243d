"""The ASGI application of a process: the FHIR bases `/r4`, `/r4b` and `/r5`, and all other
routes.

It speaks ASGI itself for the FHIR bases, because routing, request and response of a framework took as long as
the rest of the way to the store, and every reading of a device passes here. For the same reason it calls the
endpoint of device payloads itself (`routes.direct_endpoints`). Everything else goes to a Starlette
application: health, metrics, websockets, and what is mounted, such as a console or static files.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from broker.api.binaries import binary_of, is_binary_read, is_raw_write
from broker.api.exchange import FhirRequest, FhirResponse, Handler
from broker.api.failures import failure, respond, response_to
from broker.api.limits import read_body
from broker.api.login_audit import LoginAudit, address_of
from broker.api.media import ACCEPT_PATCH, FHIR_JSON, check_accept, check_content_type
from broker.api.messages import headers_of, send_response
from broker.api.routes import direct_endpoints
from broker.api.searchsets import is_form, with_form
from broker.errors import BrokerError, Malformed, UnsupportedMedia
from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource
from broker.services.client_limits import ClientLimits
from broker.telemetry import current_request

_BASES: Mapping[str, Release] = {str(release): release for release in Release}
_NO_QUERY = QueryParams()
_ALLOW = {"Allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", "Accept-Patch": ACCEPT_PATCH}


class Application:
    """Passes a request below a FHIR base to `dispatch`, every other one to `other`.

    A request without a valid principal goes no further, unless `is_public` says so of its method and path.
    """

    def __init__(
        self,
        dispatch: Handler,
        is_public: Callable[[str, str], bool],
        other: Starlette,
        login: LoginAudit,
        limits: ClientLimits,
        *,
        base_url: str,
        max_body_bytes: int,
    ) -> None:
        self._dispatch = dispatch
        self._is_public = is_public
        self._other = other
        self._direct = direct_endpoints(other)
        self._login = login
        self._limits = limits
        self._base_url = base_url
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # `OPTIONS *` has the path `*`
        name = scope["path"].lstrip("/").partition("/")[0] if scope["type"] == "http" else ""
        release = _BASES.get(name)
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            current_request.name_route("*")
            await send_response(FhirResponse(204, headers=_ALLOW), send)
        elif release is None:
            endpoint = self._direct.get((scope.get("method", ""), scope.get("path", "")), self._other)
            scope["app"] = self._other  # has the state that endpoints read
            await endpoint(scope, receive, send)
        else:
            await self._serve(release, scope, receive, send)

    async def _serve(self, release: Release, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(release, scope, receive)
        if response.chunks is not None:
            stream = StreamingResponse(
                response.chunks,
                response.status,
                response.headers,
                media_type=response.media_type,
            )
            await stream(scope, receive, send)
            return
        await send_response(response, send, has_body=scope["method"] != "HEAD")
        if response.after is not None:
            await response.after()

    async def _respond(self, release: Release, scope: Scope, receive: Receive) -> FhirResponse:
        try:
            request = await self._read(release, scope, receive)
        except UnsupportedMedia as error:
            headers = {"Accept-Patch": ACCEPT_PATCH} if scope["method"] == "PATCH" else {}
            return failure(error)._replace(headers=headers)
        except BrokerError as error:  # authentication needs the store, and keys of issuers
            return response_to(error, scope["method"], scope["path"])
        response = await respond(self._dispatch, request)
        if response.media_type == FHIR_JSON and request.query.get("_pretty") == "true":
            return response._replace(body=json_text.indented(response.body))
        return response

    async def _read(self, release: Release, scope: Scope, receive: Receive) -> FhirRequest:
        """The request with its principal; raises a `RequestError` for what HTTP alone already shows to be
        wrong.
        """
        method, path = scope["method"], scope["path"][len(release) + 1 :].strip("/")
        headers = headers_of(scope)
        query = QueryParams(scope["query_string"]) if scope["query_string"] else _NO_QUERY
        method = "GET" if method == "HEAD" else method
        address = address_of(scope)
        principal = await self._login.principal_of(
            headers, address, is_public=lambda: self._is_public(method, path)
        )
        self._limits.admit(principal)
        content_type = headers.get("content-type", "")
        has_form = is_form(method, path, content_type)
        is_raw = is_raw_write(method, path, content_type)
        # the content of a Binary has a media type of its own: `with_content` compares it
        is_read = method == "GET" and is_binary_read(path) and not query.get("_format")
        if not (has_form or is_read):
            check_accept(headers, query, path, release)
        body = b""
        if method in {"POST", "PUT", "PATCH"}:
            if not is_raw:
                is_search = path.endswith("/_search")
                check_content_type(content_type, release, is_search=is_search, is_patch=method == "PATCH")
            body = await read_body(
                receive,
                headers.get("content-length", ""),
                headers.get("content-encoding", ""),
                self._max_body_bytes,
            )
        if has_form:
            query, body = with_form(query, body), b""
            check_accept(headers, query, path, release)
        if is_raw:
            body = binary_of(path, content_type, headers.get("x-security-context", ""), body)
        resource = Resource(body, json_text.decode_received)
        if len(body) >= json_text.LARGE_BYTES:
            with contextlib.suppress(Malformed):  # who reads the resource reports it
                await asyncio.to_thread(lambda: resource.fields)
        return FhirRequest(
            principal,
            release,
            self._base_url,
            method=method,
            path=path,
            params={},
            query=query,
            headers=headers,
            resource=resource,
            address=address,
        )
