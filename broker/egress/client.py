"""Sends one POST to an address that may be notified, and turns whatever happens into a value.

Nothing leaves without passing `addresses`: a literal address is judged from the URL, a name after its lookup, and the connection
goes to an address that was judged, never to a second lookup's (R-455). No redirects, no proxies, no cookies, no decompression;
what is read of an answer is bounded in bytes and in time (R-304, R-309). An endpoint's requests beyond its share wait outside the
time limit, so its own queue is never taken for its silence.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from broker.clock import Clock, SystemClock
from broker.egress.addresses import Address, Allowance, check_url, literal
from broker.egress.waits import retry_after_s

_log = structlog.get_logger(__name__)
CONNECTIONS_PER_ORIGIN = 32
USER_AGENT = "fhir-broker"
KEEP_ALIVE_S = 4.0
"""Shorter than the five seconds after which many servers close an idle connection."""
_LOOKUPS = 32
_TARGETS = 10_000
_BODY_S = 1.0

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses; raises OSError if there are none."""


class Answer(NamedTuple):
    """The endpoint answered. `body` is at most the first `max_response_bytes` of it."""

    status: int
    retry_after_s: float | None
    body: bytes


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """It did not. `text` may be shown to the subscriber: it holds no looked-up address and no part of the URL but its host."""

    kind: Literal["dns", "refused-address", "no-response"]
    text: str


_is_new: ContextVar[bool] = ContextVar("is_new")
"""Whether the attempt of this task has opened a connection."""


class _Connector(aiohttp.TCPConnector):
    """Notes that it opens a connection; aiohttp's own tracing tells it too, at a fifth of a request's time."""

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        _is_new.set(True)
        return await super()._create_connection(*args, **kwargs)


class _AddressRefusedError(OSError):
    """Every address of a name is off limits."""


class _Lookup(AbstractResolver):
    """Gives the connector the permitted addresses of a name, and only those."""

    def __init__(self, resolve: Resolve, allowance: Allowance, scheme: str) -> None:
        self._resolve = resolve
        self._allowance = allowance
        self._scheme = scheme

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            found = await self._resolve(host, port)
        except UnicodeError as error:  # a name that IDNA can't encode
            raise OSError(f"{host!r} is no name") from error
        usable = [ip for ip in map(literal, found) if ip is not None]
        reasons = {str(ip): self._allowance.permits(ip, self._scheme) for ip in usable}
        permitted = [ip for ip in usable if reasons[str(ip)] is None]
        if found and not permitted:
            _log.warning("addresses refused", host=host, reasons=sorted(filter(None, reasons.values())))
            raise _AddressRefusedError(f"{host} has no address that may be notified")
        return [
            ResolveResult(
                hostname=host,
                host=str(ip),
                port=port,
                family=_family(ip),
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for ip in permitted
            if family in {socket.AF_UNSPEC, _family(ip)}
        ]

    async def close(self) -> None:
        """Holds nothing."""


def _family(ip: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if isinstance(ip, IPv6Address) else socket.AF_INET


@dataclass(slots=True)
class _Share:
    """One origin's requests; forgotten when none is left."""

    room: asyncio.Semaphore
    users: int = field(default=0)


class EgressClient:
    """One client a process; an async context manager. `resolve` and `tls` are for tests and private certificate authorities."""

    def __init__(
        self,
        allowance: Allowance,
        *,
        connections_per_origin: int = CONNECTIONS_PER_ORIGIN,
        max_response_bytes: int = 65_536,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.allowance = allowance
        self._connections_per_origin = connections_per_origin
        self._max_response_bytes = max_response_bytes
        self._tls = tls
        self._resolve = resolve or self._look_up
        self._clock = clock or SystemClock()
        self._targets: dict[str, URL | NoAnswer] = {}
        self._fields: dict[tuple[tuple[str, str], ...], CIMultiDict[str]] = {}
        self._shares: dict[tuple[str, str | None, int | None], _Share] = {}
        # a pool of its own: slow name servers must not hold up what else runs in threads
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup")
        self._sessions: dict[tuple[str, bool], aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        self._sessions = {
            (scheme, keeps): self._session(scheme, keeps=keeps)
            for scheme in ("http", "https")
            for keeps in (True, False)
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            await session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _session(self, scheme: str, *, keeps: bool) -> aiohttp.ClientSession:
        """A session a scheme, so that the lookup knows which rule holds; `keeps` tells whether it reuses connections."""
        connector = _Connector(
            limit=0,  # the shares bound it
            ssl=self._tls or True,
            resolver=_Lookup(self._resolve, self.allowance, scheme),
            use_dns_cache=False,
            keepalive_timeout=KEEP_ALIVE_S if keeps else None,
            force_close=not keeps,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers={"Accept-Encoding"},
        )

    async def post(
        self, url: str, *, headers: tuple[tuple[str, str], ...], body: bytes, timeout_s: float
    ) -> Answer | NoAnswer:
        """One attempt within `timeout_s`, lookup included (R-306). Raises nothing but `CancelledError`."""
        target = self._target(url)
        if isinstance(target, NoAnswer):
            return target
        origin = (target.scheme, target.raw_host, target.port)
        share = self._shares.get(origin)
        if share is None:
            share = self._shares[origin] = _Share(asyncio.Semaphore(self._connections_per_origin))
        share.users += 1
        try:
            async with share.room, asyncio.timeout(timeout_s) as limit:
                return await self._attempt(target, self._fields_of(headers), body, limit)
        except TimeoutError:
            return NoAnswer("no-response", f"no answer within {timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _translated(error, target)
        finally:
            share.users -= 1
            if share.users == 0:
                del self._shares[origin]

    def _target(self, url: str) -> URL | NoAnswer:
        """The URL taken apart, or why it may not be notified: the allowance never changes, so neither does the answer."""
        target = self._targets.get(url)
        if target is None:
            problems = check_url(url, self.allowance)
            target = NoAnswer("refused-address", problems[0]) if problems else URL(url, encoded=True)
            if len(self._targets) >= _TARGETS:
                self._targets.clear()
            self._targets[url] = target
        return target

    async def _attempt(
        self, target: URL, headers: CIMultiDict[str], body: bytes, limit: asyncio.Timeout
    ) -> Answer:
        _is_new.set(False)
        kept, fresh = self._sessions[target.scheme, True], self._sessions[target.scheme, False]
        try:
            return await self._exchange(kept, target, headers, body, limit)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # an idle connection that the endpoint had closed before it saw the request is no failure of the endpoint
            if _is_new.get():
                raise
        return await self._exchange(fresh, target, headers, body, limit)

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        target: URL,
        headers: CIMultiDict[str],
        body: bytes,
        limit: asyncio.Timeout,
    ) -> Answer:
        async with session.post(target, data=body, headers=headers, allow_redirects=False) as response:
            limit.reschedule(
                None
            )  # it has answered; the rest has a bound of its own, and can't unsay the status
            wait_s = retry_after_s(
                response.headers.get("Retry-After"), response.headers.get("Date"), self._clock.now_ms()
            )
            return Answer(response.status, wait_s, await self._beginning(response))

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """What came of the body within its bounds; a connection with more to come is closed. The status stands either way."""
        if response.content.at_eof():  # as most answers are: without a body
            return b""
        chunks: list[bytes] = []
        left = self._max_response_bytes
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(_BODY_S):
                while left > 0 and (chunk := await response.content.read(left)):
                    chunks.append(chunk)
                    left -= len(chunk)
        if not response.content.at_eof():
            response.close()
        return b"".join(chunks)

    def _fields_of(self, headers: tuple[tuple[str, str], ...]) -> CIMultiDict[str]:
        """The headers as aiohttp takes them, which copies them; a subscription's are the same each time."""
        fields = self._fields.get(headers)
        if fields is None:
            if len(self._fields) >= _TARGETS:
                self._fields.clear()
            fields = self._fields[headers] = _fields(headers)
        return fields

    async def _look_up(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]


def _fields(headers: Sequence[tuple[str, str]]) -> CIMultiDict[str]:
    """Headers as given, repeated ones repeated; ours only where none is given."""
    fields: CIMultiDict[str] = CIMultiDict()
    spelling: dict[str, str] = {}
    for name, value in headers:
        # aiohttp takes two spellings of one name for a replacement
        fields.add(spelling.setdefault(name.lower(), name), value)
    fields.setdefault("User-Agent", USER_AGENT)
    return fields


def _translated(error: Exception, target: URL) -> NoAnswer:
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=_AddressRefusedError()):
            return NoAnswer("refused-address", f"{target.raw_host} has no address that may be notified")
        case aiohttp.ClientConnectorDNSError():
            return NoAnswer("dns", f"{target.raw_host} can't be resolved")
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            reason = getattr(cause, "verify_message", None) or "it does not verify"
            return NoAnswer("no-response", f"the certificate is not accepted: {reason}")
        case aiohttp.ClientSSLError():
            return NoAnswer("no-response", "no TLS connection could be made")
        case aiohttp.ClientConnectorError(os_error=cause):
            reason = os.strerror(cause.errno) if cause.errno else "no address answers"
            return NoAnswer("no-response", f"no connection: {reason}")
        case aiohttp.ClientResponseError():
            return NoAnswer("no-response", "the answer is not HTTP")
        case aiohttp.ClientConnectionError() | OSError():
            return NoAnswer("no-response", "the connection was closed before an answer")
    return NoAnswer("no-response", f"the request could not be sent: {type(error).__name__}")
