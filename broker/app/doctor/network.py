"""Checks names: those that the settings need, and those of the registered endpoints with the rules of
BROKER_EGRESS_ALLOW.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from urllib.parse import urlsplit

from broker.app.channels import allowed_networks
from broker.app.doctor.finding import Finding, failure, ok, warning
from broker.egress.addresses import Allowance, check_url, literal
from broker.egress.resolver import AddressesRefused, HostUnknown, Resolver
from broker.errors import StoreUnavailable
from broker.model.wording import count_of
from broker.settings import Settings
from broker.store.protocol import Store
from broker.store.sealed_secrets import SealedSecrets

DNS, ENDPOINTS = "DNS", "endpoints"
MAX_ORIGINS = 200
"""Of how many origins the names are looked up: those with the most subscriptions."""
_PORTS = {"http": 80, "https": 443, "smtp": 25, "smtps": 465, "mqtt": 1883, "mqtts": 8883}


async def check_names(settings: Settings) -> AsyncIterator[Finding]:
    """The hosts that the settings name."""
    named = dict(_named_hosts(settings))
    resolved = []
    for host, variables in named.items():
        try:
            await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
            resolved.append(host)
        except (OSError, UnicodeError) as error:
            yield failure(
                DNS,
                f"{host} of {variables} has no address: {error}",
                f"Correct {variables}, or the name server of this machine (/etc/resolv.conf).",
            )
    if resolved or not named:
        yield ok(DNS, f"hosts of the settings that have an address: {', '.join(resolved) or 'none is named'}")


def _named_hosts(settings: Settings) -> Iterator[tuple[str, str]]:
    urls = {
        f"BROKER_{each.name.upper()}": getattr(settings, each.name)
        for each in fields(settings)
        if each.metadata["kind"].name == "url"
    }
    if _is_cluster(settings.redis_url):
        del urls["BROKER_REDIS_URL"]  # the store's own check names a node
    by_host: dict[str, list[str]] = {}
    for variable, url in urls.items():
        host = urlsplit(url).hostname if url else None
        if host and literal(host) is None:
            by_host.setdefault(host, []).append(variable)
    yield from ((host, " and ".join(variables)) for host, variables in by_host.items())


def _is_cluster(url: str | None) -> bool:
    return url is not None and "+cluster:" in url


async def check_endpoints(settings: Settings, store: Store) -> AsyncIterator[Finding]:
    """Whether each registered endpoint has an address that may be notified."""
    origins: Counter[str] = Counter()
    examples: dict[str, str] = {}
    try:
        async for sealed in SealedSecrets(store).all():
            channel = sealed.subscription.channel
            if channel.endpoint and urlsplit(channel.endpoint).scheme in {"http", "https"}:
                parts = urlsplit(channel.endpoint)
                origin = f"{parts.scheme}://{parts.netloc}"
                origins[origin] += 1
                examples.setdefault(origin, channel.endpoint)
    except StoreUnavailable as error:
        yield failure(ENDPOINTS, f"the subscriptions cannot be read: {error}", "Run this again.")
        return
    allowance = Allowance(allowed_networks(settings))
    resolver = Resolver(allowance)
    try:
        looked_up = [origin for origin, _ in origins.most_common(MAX_ORIGINS)]
        problems = await asyncio.gather(
            *(_problem(resolver, allowance, origin, examples[origin]) for origin in looked_up)
        )
    finally:
        resolver.close()
    refused = {origin: problem for origin, problem in zip(looked_up, problems, strict=True) if problem}
    for origin, problem in refused.items():
        yield warning(
            ENDPOINTS,
            f"{origin} ({count_of(origins[origin], 'subscription')}): {problem}",
            "Correct the name server, or BROKER_EGRESS_ALLOW if the network may be notified; or have the"
            " client correct its endpoint.",
        )
    reached = len(looked_up) - len(refused)
    more = f", of {len(origins)}" if len(origins) > len(looked_up) else ""
    yield ok(ENDPOINTS, f"{count_of(reached, 'origin')} may be notified{more}")


async def _problem(resolver: Resolver, allowance: Allowance, origin: str, url: str) -> str:
    """Why the origin may not or cannot be notified; '' if it can."""
    if problems := check_url(url, allowance):
        return "; ".join(problems)
    parts = urlsplit(origin)
    try:
        await resolver.permitted(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (HostUnknown, AddressesRefused) as error:
        return str(error)
    return ""
