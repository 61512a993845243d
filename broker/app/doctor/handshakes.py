"""Makes a TLS handshake with each server that the configuration names by https, with the trust, the proxy and
the rules of addresses by which the broker connects to it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from broker.app.access import load_issuers
from broker.app.channels import tls_probe
from broker.app.doctor.files import SOON
from broker.app.doctor.finding import Finding, failure, ok, warning
from broker.app.outbound import load_outbound_rules
from broker.app.tracing import EVERYWHERE
from broker.app.writes import load_write_targets
from broker.egress.handshakes import TIMEOUT_S, FailureKind, HandshakeFailed, TlsProbe
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.settings.written import masked

TLS = "TLS"
_ACTIONS: dict[FailureKind, str] = {
    "refused-address": "Add its network to BROKER_EGRESS_ALLOW, or correct the URL.",
    "dns": "Correct the URL, or the name server of this machine (/etc/resolv.conf).",
    "certificate": "Have whoever operates it renew or correct the certificate. If an authority of your own"
    " signed it, name that in BROKER_EGRESS_CA_FILE.",
    "client-certificate": "Correct the file of the tenant and host in BROKER_EGRESS_CLIENT_CERTS: it has the"
    " certificate with its chain, and the key.",
    "no-response": "Check that it runs, and that firewalls and BROKER_EGRESS_PROXY let this machine connect.",
}


class _Server(NamedTuple):
    """An origin, the tenant whose client certificate it gets, and whether the operator alone chose it."""

    origin: str
    tenant: str = ""
    is_collector: bool = False


async def check_handshakes(
    settings: Settings, now_ms: int, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[Finding]:
    """A finding for each server; all handshakes are made at once."""
    try:
        named = _named_servers(settings)
        with (
            tls_probe(settings, timeout_s=timeout_s) as probe,
            tls_probe(settings, allowance=EVERYWHERE, timeout_s=timeout_s) as to_collector,
        ):
            found = await asyncio.gather(
                *(
                    _check(to_collector if server.is_collector else probe, server, names, now_ms)
                    for server, names in named.items()
                )
            )
    except ConfigurationError as error:
        yield failure(TLS, f"no handshake was made: {error}", "Correct it, then run this again.")
        return
    for finding in found:
        yield finding
    if not found:
        yield ok(TLS, "the settings name no server by https")


def _named_servers(settings: Settings) -> dict[_Server, list[str]]:
    """What names each server."""
    named: dict[_Server, list[str]] = {}
    for url, tenant, name in _urls(settings):
        parts = urlsplit(url)
        if parts.scheme == "https":
            server = _Server(f"https://{parts.netloc}", tenant, name == "BROKER_TRACES_URL")
            named.setdefault(server, []).append(name)
    return {server: list(dict.fromkeys(names)) for server, names in named.items()}


def _urls(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """URLs with the tenant that connects there, and what names them."""
    for issuer in load_issuers(settings).all():
        yield issuer.url, "", f"the issuer {issuer.name}"
        yield issuer.jwks_uri, "", f"the keys of the issuer {issuer.name}"
    for target in load_write_targets(settings).all():
        yield target.base, target.tenant, f"the write target {target.name}"
    for rule in load_outbound_rules(settings).all():
        yield rule.source, rule.tenant, f"the tokens for {rule.url}"
    yield settings.traces_url or "", "", "BROKER_TRACES_URL"


async def _check(probe: TlsProbe, server: _Server, names: list[str], now_ms: int) -> Finding:
    found = f"{masked(server.origin)} of {' and '.join(names)}"
    try:
        expiry_s = await probe.expiry_s(server.origin, server.tenant)
    except HandshakeFailed as error:
        # spans are lost without their collector, and nothing else is
        found_as = warning if server.is_collector else failure
        return found_as(TLS, f"{found}: {error}", _ACTIONS[error.kind])
    left = timedelta(seconds=expiry_s - now_ms // 1000)
    expiry = datetime.fromtimestamp(expiry_s, tz=UTC)
    text = f"{found}: its certificate expires {expiry:%Y-%m-%d}, in {left.days} days"
    if left < SOON:
        return warning(TLS, text, "Have whoever operates it renew the certificate.")
    return ok(TLS, text)
