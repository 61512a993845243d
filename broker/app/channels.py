"""Builds the channels a process can deliver by, and opens the clients they share."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from broker.app.outbound import open_authorization
from broker.app.writes import write_channel
from broker.channels.base import Channel, opened
from broker.channels.registry import channels
from broker.egress.addresses import Allowance, Network
from broker.egress.client import OF_ENDPOINTS, OF_TOKEN_ENDPOINTS, EgressClient
from broker.egress.client_certificates import ClientCertificates
from broker.egress.documents import DocumentClient
from broker.egress.handshakes import TlsProbe
from broker.egress.http_connection import ResponseLimits
from broker.egress.origin import KEEP_ALIVE_S
from broker.egress.proxy import Proxy
from broker.errors import ConfigurationError
from broker.security.key_ring import KeyRing
from broker.settings import Settings
from broker.store.bodies import Bodies
from broker.store.protocol import Store

if TYPE_CHECKING:
    from broker.egress.smtp import Mailer

_LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def allowed_networks(settings: Settings) -> tuple[Network, ...]:
    """The networks of `egress_allow`. Without them, a broker on one machine may notify that machine: it
    listens on loopback and has the embedded store (decision 150).
    """
    if settings.egress_allow or not settings.is_loopback or settings.redis_url is not None:
        return settings.egress_allow
    return _LOOPBACK


@contextlib.asynccontextmanager
async def open_channels(
    settings: Settings, store: Store, ring: KeyRing | None, documents: DocumentClient, bodies: Bodies
) -> AsyncIterator[Mapping[str, Channel]]:
    """The channels by their channel-type code; usable until the way out."""
    mailer = _mailer(settings.smtp_url, settings.smtp_from) if settings.smtp_url else None

    def client_without_kept_connections() -> EgressClient:
        return egress_client(settings, keep_alive_s=0, limits=OF_TOKEN_ENDPOINTS)

    def client_for(limits: ResponseLimits) -> EgressClient:
        return egress_client(settings, limits=limits)

    async with (
        egress_client(settings) as egress,
        open_authorization(
            settings, store, ring, documents, client_without_kept_connections
        ) as authorization,
        write_channel(settings, store, bodies, authorization, client_for) as writes,
    ):
        by_code = channels(egress.post, egress.allowance, mailer, settings.base_url, authorization)
        by_code = {**by_code, **writes}
        async with opened(by_code):
            yield by_code


def egress_client(
    settings: Settings,
    *,
    keep_alive_s: float = KEEP_ALIVE_S,
    limits: ResponseLimits = OF_ENDPOINTS,
    allowance: Allowance | None = None,
) -> EgressClient:
    """Sends to the addresses that subscribers may have, or those of `allowance`, with the client certificates
    of the tenants.
    """
    return EgressClient(
        allowance or Allowance(allowed_networks(settings)),
        tls=_tls(settings),
        proxy=_proxy(settings),
        certificates=_client_certificates(settings),
        keep_alive_s=keep_alive_s,
        limits=limits,
    )


def document_client(settings: Settings) -> DocumentClient:
    """Fetches documents from the addresses that channels may reach."""
    return DocumentClient(Allowance(allowed_networks(settings)), tls=_tls(settings), proxy=_proxy(settings))


def tls_probe(settings: Settings, *, timeout_s: float, allowance: Allowance | None = None) -> TlsProbe:
    """Makes handshakes with the addresses that channels may reach, or those of `allowance`."""
    return TlsProbe(
        allowance or Allowance(allowed_networks(settings)),
        tls=_tls(settings),
        proxy=_proxy(settings),
        certificates=_client_certificates(settings),
        timeout_s=timeout_s,
    )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    return _trusted(settings.egress_ca_file) if settings.egress_ca_file else None


def _proxy(settings: Settings) -> Proxy | None:
    return Proxy.parse(settings.egress_proxy) if settings.egress_proxy else None


def _mailer(url: str, sender: str) -> "Mailer":
    # most brokers have no relay, and need no library for it
    from broker.egress.smtp import Mailer, relay_of  # noqa: PLC0415

    return Mailer(relay_of(url, sender))


def _client_certificates(settings: Settings) -> ClientCertificates | None:
    directory = settings.egress_client_certs
    if directory is None:
        return None
    if not directory.is_dir():
        raise ConfigurationError(
            f"BROKER_EGRESS_CLIENT_CERTS={directory} is no directory. Name the one of the certificates."
        )
    return ClientCertificates(directory, lambda: _trusted(settings.egress_ca_file))


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the system's authorities and those of `ca_file`. Raises `ConfigurationError`."""
    context = ssl.create_default_context()
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"BROKER_EGRESS_CA_FILE={ca_file} can't be used: {error}. Name a PEM file of certificates."
        ) from error
    return context
