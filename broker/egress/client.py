"""Sends one request to an address that may be notified, and turns every result into a value: `http.HttpPost`
and `http.HttpSend`.

A literal address is judged from the URL, a name after its lookup; the connection goes to an address that was
judged, never to the result of a second lookup (R-455). No redirects, no cookies, no decompression, no proxy
but the operator's own. A response is bounded in bytes and in time (R-304, R-309).
"""

import asyncio
import os
import ssl
from types import TracebackType
from typing import NamedTuple, Self

from broker.clock import Clock, SystemClock
from broker.egress.addresses import Allowance, check_url
from broker.egress.client_certificates import ClientCertificates, Identity
from broker.egress.connector import Connector
from broker.egress.failures import failure_of
from broker.egress.http import HttpFailure, HttpResponse
from broker.egress.http_connection import ConnectionEnded, HttpConnection, NotHttp, ResponseLimits
from broker.egress.origin import KEEP_ALIVE_S, Origin
from broker.egress.proxy import Proxy
from broker.egress.requests import NotSendable, Target, header_lines, request_head
from broker.egress.resolver import Resolve, Resolver
from broker.egress.waits import retry_after_s
from broker.recently_used import RecentlyUsed

CONNECTIONS_PER_ORIGIN = 32
MAX_PREPARED = 10_000
MAX_UNUSED_S = 300.0
"""The requests of a subscription that is gone, or has another endpoint, leave after this time."""
OF_ENDPOINTS = ResponseLimits(65_536)
OF_TOKEN_ENDPOINTS = ResponseLimits(65_536, body_s=10.0)
"""The broker itself reads the body: it needs all of it."""

_Destination = tuple[str, str, tuple[tuple[str, str], ...]]
"""The method, and the URL and the headers of a subscription."""


class _Prepared(NamedTuple):
    """The target of a subscription and the head of its requests: they are the same each time."""

    target: Target
    head: bytes


class EgressClient:
    """An async context manager. `resolve` and `tls` are parameters for tests and private authorities. With a
    `keep_alive_s` of 0 each request has a connection of its own, and none is sent a second time.
    """

    def __init__(
        self,
        allowance: Allowance,
        *,
        connections_per_origin: int = CONNECTIONS_PER_ORIGIN,
        keep_alive_s: float = KEEP_ALIVE_S,
        limits: ResponseLimits = OF_ENDPOINTS,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        resolve: Resolve | None = None,
        clock: Clock | None = None,
        certificates: ClientCertificates | None = None,
    ) -> None:
        self.allowance = allowance
        self._connections_per_origin = connections_per_origin
        self._keep_alive_s = keep_alive_s
        self._sweep_s = keep_alive_s or KEEP_ALIVE_S
        self._connector = Connector(Resolver(allowance, resolve), tls=tls, proxy=proxy, limits=limits)
        self._clock = clock or SystemClock()
        self._prepared = RecentlyUsed[_Destination, _Prepared | HttpFailure](MAX_PREPARED, MAX_UNUSED_S)
        self._certificates = certificates
        self._origins: dict[tuple[str, str, int, Identity | None], Origin] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for origin in self._origins.values():
            origin.close_idle(older_than_s=0)
        self._connector.close()

    async def post(
        self,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        """A POST; else as `send`."""
        return await self.send(
            "POST",
            url,
            headers=headers,
            body=body,
            timeout_s=timeout_s,
            attempt_headers=attempt_headers,
            tenant=tenant,
        )

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeout_s: float,
        attempt_headers: tuple[tuple[str, str], ...] = (),
        tenant: str = "",
    ) -> HttpResponse | HttpFailure:
        """One attempt within `timeout_s`, lookup included (R-306). Raises nothing but `CancelledError`.

        The head of `headers` is kept for the next attempt, that of `attempt_headers` is not.

        Requests beyond an origin's connections wait outside the time limit: its own queue is never taken for
        its silence.
        """
        prepared = self._prepare(method, url, headers)
        if isinstance(prepared, HttpFailure):
            return prepared
        target, head = prepared
        try:
            lines = header_lines(attempt_headers)
            answer = await self._origin(target, tenant).exchange(
                b"%b%d\r\n%b\r\n%b" % (head, len(body), lines, body), timeout_s
            )
        except NotSendable as error:
            return _not_sendable(error)
        except TimeoutError as error:
            # the operating system's own time limit carries a number; ours does not
            reason = (
                f"no connection: {os.strerror(error.errno)}"
                if error.errno
                else f"no answer within {timeout_s:g} s"
            )
            return HttpFailure("no-response", reason)
        except (OSError, ConnectionEnded, NotHttp) as error:
            return failure_of(error, target)
        wait_s = (
            retry_after_s(answer.retry_after, answer.date, self._clock.now_ms())
            if answer.retry_after
            else None
        )
        return HttpResponse(answer.status, wait_s, answer.body, answer.location)

    def _prepare(
        self, method: str, url: str, headers: tuple[tuple[str, str], ...]
    ) -> "_Prepared | HttpFailure":
        """The request's head, or why it can't be sent: the allowance never changes, so neither does the
        verdict.
        """
        key = (method, url, headers)
        prepared = self._prepared.get(key)
        if prepared is None:
            problems = check_url(url, self.allowance)
            try:
                if problems:
                    prepared = HttpFailure("refused-address", problems[0])
                else:
                    target = Target.of(url)
                    prepared = _Prepared(target, request_head(target, headers, method))
            except NotSendable as error:
                prepared = _not_sendable(error)
            self._prepared.put(key, prepared)
        return prepared

    def _origin(self, target: Target, tenant: str) -> Origin:
        """Connections with different client certificates are never shared."""
        certificates, identity = self._certificates, None
        if certificates is not None and target.scheme == "https":
            identity = certificates.identity(tenant, target.host)
        key = (target.scheme, target.host, target.port, identity)
        origin = self._origins.get(key)
        if origin is None:

            async def open_connection() -> HttpConnection:
                tls = certificates.context(identity) if certificates and identity else None
                return await self._connector.connect(target, tls)

            origin = Origin(
                open_connection,
                max_connections=self._connections_per_origin,
                keep_alive_s=self._keep_alive_s,
            )
            self._origins[key] = origin
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep_idle)
        return origin

    def _sweep_idle(self) -> None:
        """Closes idle connections and drops unused origins; rests while there is none."""
        for key, origin in list(self._origins.items()):
            origin.close_idle(older_than_s=self._keep_alive_s)
            if origin.is_unused:
                del self._origins[key]
        self._sweep = None
        if self._origins:
            self._sweep = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep_idle)


def _not_sendable(error: NotSendable) -> HttpFailure:
    return HttpFailure("no-response", f"the request could not be sent: {error}")
