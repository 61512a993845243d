"""A simulated EHR: a FHIR R4 server that takes writes, checks profiles and SMART authorization, is searched,
and fails on request.

async with SimulatedEhr() as ehr:
    ehr.faults.add(Refuse(429, retry_after_s=1), LoseAnswer(), method="POST")
    ...
    assert ehr.store.resources("Observation") == [...]
"""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import orjson
from aiohttp import web

from broker.clock import Clock, SystemClock
from broker.testing.ehr_authorization import ALGORITHMS, EhrAuthorization, TokenRefused
from broker.testing.ehr_faults import FaultPlan, LoseAnswer, LoseRequest, Refuse, Slow
from broker.testing.ehr_interactions import EhrInteractions, EhrResponse
from broker.testing.ehr_outcomes import EhrRefusal
from broker.testing.ehr_profiles import profile_problems
from broker.testing.ehr_store import Document, EhrStore
from broker.testing.http_server import HttpServer

FHIR_JSON = "application/fhir+json"
_SHUTDOWN_S = 0.1
"""How long requests under way may last when it stops."""


@dataclass(frozen=True, slots=True)
class EhrRequest:
    """One request that the EHR received, and the status of its answer: 0 if it closed the connection."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    answered: int


class SimulatedEhr:
    """Listens while it is entered; `base` is its FHIR base.

    `required_profiles` lists for a type the profiles of which each resource has to claim one; a claimed
    profile is checked anyway; nothing is without `is_checked`. With `is_guarded`, each FHIR request needs an
    access token of a client of `authorization`. A transaction has at most `max_entries` entries. `requests`
    are all FHIR requests.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        required_profiles: Mapping[str, Sequence[str]] | None = None,
        is_guarded: bool = False,
        is_checked: bool = True,
        max_entries: int = 1_000,
        clock: Clock | None = None,
    ) -> None:
        self._address = (host, port)
        self._is_guarded = is_guarded
        self._server: HttpServer | None = None
        clock = clock or SystemClock()
        check = functools.partial(_problems, required_profiles=required_profiles or {})
        self.store = EhrStore(clock, check if is_checked else _unchecked)
        self.authorization = EhrAuthorization(clock)
        self.faults = FaultPlan()
        self.requests: list[EhrRequest] = []
        self._interactions = EhrInteractions(self.store, max_entries)
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Listens, after `stop` at the same address and with what was written before."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/r4/.well-known/smart-configuration", self._configuration)
        app.router.add_post("/token", self._token)
        app.router.add_route("*", "/r4", self._fhir)
        app.router.add_route("*", "/r4/{path:.*}", self._fhir)
        self._server = HttpServer(app, shutdown_timeout=_SHUTDOWN_S)
        host, port = self._address
        self._address = host, await self._server.start(host, port)

    async def stop(self) -> None:
        """Refuses connections from now on, and closes those that are open, as a killed server does."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def origin(self) -> str:
        host, port = self._address
        return f"http://{host}:{port}"

    @property
    def base(self) -> str:
        return f"{self.origin}/r4"

    async def wait_until(self, count: int, type: str, timeout_s: float = 60.0) -> bool:
        """Waits until the EHR has so many resources of a type; False if it does not within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.store.resources(type)) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return len(self.store.resources(type)) >= count
        return True

    async def _configuration(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "token_endpoint": f"{self.origin}/token",
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
                "scopes_supported": ["system/*.cruds"],
                "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
            }
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        try:
            granted = await self.authorization.issue(form, f"{self.origin}/token")
        except TokenRefused as refusal:
            status = 401 if refusal.code == "invalid_client" else 400
            return web.json_response(
                {"error": refusal.code, "error_description": str(refusal)}, status=status
            )
        return web.json_response(granted, headers={"Cache-Control": "no-store"})

    async def _fhir(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info.get("path", "").strip("/")
        body = await request.read()
        fault = self.faults.take(request.method, path)
        if isinstance(fault, Slow):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, LoseRequest):
            return self._hang_up(request, path)
        if isinstance(fault, Refuse):
            wait = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            outcome = EhrRefusal(fault.status, "transient", "It fails on request.").outcome
            return self._answer(request, path, EhrResponse(fault.status, outcome, wait))
        try:
            self._authorize(request, path, body)
            answer = self._interactions.answer(request, path, body, fault, self.base)
        except EhrRefusal as refusal:
            answer = EhrResponse(refusal.status, refusal.outcome)
        self._changed.set()
        if isinstance(fault, LoseAnswer):
            return self._hang_up(request, path)
        return self._answer(request, path, answer)

    def _authorize(self, request: web.Request, path: str, body: bytes) -> None:
        if self._is_guarded and path != "metadata":
            for kind, letter in self._interactions.needs(request.method, path, body):
                self.authorization.check(request.headers.get("Authorization", ""), kind, letter)

    def _answer(self, request: web.Request, path: str, answer: EhrResponse) -> web.Response:
        self._record(request, path, answer.status)
        body = b"" if answer.body is None else orjson.dumps(answer.body)
        return web.Response(
            status=answer.status, body=body, headers=dict(answer.headers), content_type=FHIR_JSON
        )

    def _hang_up(self, request: web.Request, path: str) -> web.Response:
        self._record(request, path, 0)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    def _record(self, request: web.Request, path: str, status: int) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(EhrRequest(request.method, path, request.query_string, headers, status))


def _unchecked(_document: Document) -> list[str]:
    return []


def _problems(document: Document, required_profiles: Mapping[str, Sequence[str]]) -> list[str]:
    # with the first write: fhir.resources takes half a second to import
    from broker.testing.validity import findings_in_resource  # noqa: PLC0415

    return [*findings_in_resource(dict(document)), *profile_problems(document, required_profiles)]
