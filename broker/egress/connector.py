"""Opens connections to endpoints: to an address that was judged, with TLS, directly or through the operator's
proxy. `EgressClient` has one.
"""

import asyncio
import ssl

from broker.egress.http_connection import HttpConnection, ResponseLimits
from broker.egress.proxy import Proxy, ProxyRefused
from broker.egress.requests import Target
from broker.egress.resolver import Resolver


class Connector:
    """Each connection reads responses within `limits`."""

    def __init__(
        self, resolver: Resolver, *, tls: ssl.SSLContext | None, proxy: Proxy | None, limits: ResponseLimits
    ) -> None:
        """Without `tls`, the system's authorities are trusted. They are loaded for the first https target."""
        self._resolver = resolver
        self._tls = tls
        self._proxy = proxy
        self._limits = limits

    def close(self) -> None:
        """Ends the lookups; open connections stay."""
        self._resolver.close()

    async def connect(self, target: Target, tls: ssl.SSLContext | None = None) -> HttpConnection:
        """A new connection to the first permitted address that accepts one; `tls` replaces the usual one."""
        addresses = await self._resolver.permitted(target.scheme, target.host, target.port)
        for address in addresses[:-1]:
            try:
                return await self._connect_to(address, target, tls)
            except ssl.SSLError:
                raise
            except OSError:
                continue
        return await self._connect_to(addresses[-1], target, tls)

    def _trusted(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    async def _connect_to(
        self, address: str, target: Target, with_certificate: ssl.SSLContext | None
    ) -> HttpConnection:
        loop = asyncio.get_running_loop()
        tls = (with_certificate or self._trusted()) if target.scheme == "https" else None
        name = target.host if tls else None
        connection = HttpConnection(self._limits)
        if self._proxy is None:
            await loop.create_connection(
                lambda: connection, address, target.port, ssl=tls, server_hostname=name
            )
            return connection
        transport: asyncio.Transport | None = await self._proxy.open_tunnel(address, target.port)
        if tls and transport:
            transport = await loop.start_tls(transport, connection, tls, server_hostname=name)
        elif transport:
            transport.set_protocol(connection)
        if transport is None:
            raise ProxyRefused("the tunnel closed while TLS was set up")
        connection.connection_made(transport)
        return connection
