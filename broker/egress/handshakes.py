"""Makes a TLS handshake with a server, sends no request, and reads when its certificate expires: `TlsProbe`.

`fhir-broker doctor` uses it. The rules of `client.EgressClient` hold: a literal address is judged from the
URL, a name after its lookup, no proxy but the operator's own, and the client certificate that the tenant has
there.
"""

import asyncio
import ssl
from types import TracebackType
from typing import Any, Literal, Self

from broker.egress.addresses import Allowance, check_url
from broker.egress.client_certificates import ClientCertificates
from broker.egress.connector import Connector
from broker.egress.failures import failure_of
from broker.egress.http_connection import ResponseLimits
from broker.egress.proxy import Proxy
from broker.egress.requests import NotSendable, Target
from broker.egress.resolver import Resolve, Resolver

TIMEOUT_S = 10.0
FailureKind = Literal["refused-address", "dns", "certificate", "client-certificate", "no-response"]


class HandshakeFailed(Exception):  # noqa: N818 an expected result
    """There is no connection, or no certificate that is accepted. The text says why, for an operator."""

    def __init__(self, kind: FailureKind, text: str) -> None:
        super().__init__(text)
        self.kind: FailureKind = kind


class TlsProbe:
    """A context manager. `resolve` and `tls` are parameters for tests and private authorities."""

    def __init__(
        self,
        allowance: Allowance,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        certificates: ClientCertificates | None = None,
        resolve: Resolve | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._allowance = allowance
        self._connector = Connector(
            Resolver(allowance, resolve), tls=tls, proxy=proxy, limits=ResponseLimits(0)
        )
        self._certificates = certificates
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connector.close()

    async def expiry_s(self, url: str, tenant: str = "") -> int:
        """When the certificate of the server of an https URL expires, in seconds since 1970.

        Raises `HandshakeFailed`.
        """
        problems = check_url(url, self._allowance)
        if problems:
            raise HandshakeFailed("refused-address", problems[0])
        target = Target.of(url)
        try:
            certificate = await self._certificate(target, tenant)
        except NotSendable as error:
            raise HandshakeFailed("client-certificate", str(error)) from error
        except ssl.SSLCertVerificationError as error:
            raise HandshakeFailed("certificate", failure_of(error, target).text) from error
        except TimeoutError as error:
            raise HandshakeFailed("no-response", f"no handshake within {self._timeout_s:g} s") from error
        except OSError as error:
            failure = failure_of(error, target)
            raise HandshakeFailed(failure.kind, failure.text) from error
        return int(ssl.cert_time_to_seconds(certificate["notAfter"]))

    async def _certificate(self, target: Target, tenant: str) -> dict[str, Any]:
        """That of the server, as `ssl.SSLSocket.getpeercert` describes it."""
        certificates, tls = self._certificates, None
        if certificates is not None and (identity := certificates.identity(tenant, target.host)):
            tls = certificates.context(identity)
        async with asyncio.timeout(self._timeout_s):
            connection = await self._connector.connect(target, tls)
        try:
            return connection.peer_certificate()
        finally:
            connection.close()
