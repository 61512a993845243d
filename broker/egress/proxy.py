"""Reaches an endpoint through the operator's HTTP proxy (CONNECT, RFC 9110 9.3.6).

The tunnel leads to the address that was judged, never to a name: the proxy resolves nothing, so the address
check holds.
"""

import asyncio
import base64
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

from broker.errors import ConfigurationError

_MAX_ANSWER_BYTES = 16_384


class ProxyRefused(OSError):  # noqa: N818 an expected answer
    """The proxy did not open the tunnel."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is a header value, or empty; it is never logged."""

    host: str
    port: int
    authorization: str = ""

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """Reads `http://user:password@host:port`. Raises `ConfigurationError`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = None, None
        if parts is None or parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
            raise ConfigurationError(
                "the proxy's URL must be http://host:port; http reaches https endpoints too"
            )
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return cls(parts.hostname, port or 3128, authorization)

    async def open_tunnel(self, address: str, port: int) -> asyncio.Transport:
        """A transport whose bytes reach `address`. Raises OSError or `ProxyRefused`; the caller sets the
        protocol.
        """
        loop = asyncio.get_running_loop()
        transport, tunnel = await loop.create_connection(_Tunnel, self.host, self.port)
        authority = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"
        if self.authorization:
            head += f"Proxy-Authorization: {self.authorization}\r\n"
        transport.write(f"{head}\r\n".encode())
        try:
            status = await tunnel.answer
        except BaseException:
            transport.abort()
            raise
        if not 200 <= status < 300:
            transport.abort()
            raise ProxyRefused(f"the proxy answered {status} to CONNECT")
        return transport


class _Tunnel(asyncio.Protocol):
    """Reads the proxy's answer to CONNECT, up to the end of its header."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end and not rest and head[:9] in {b"HTTP/1.1 ", b"HTTP/1.0 "} and head[9:12].isdigit():
            if not self.answer.done():
                self.answer.set_result(int(head[9:12]))
        elif end or len(self._received) > _MAX_ANSWER_BYTES:
            self._fail("the proxy's answer to CONNECT is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the protocol's signature
        self._fail("the proxy closed the connection")

    def _fail(self, text: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(ProxyRefused(text))
