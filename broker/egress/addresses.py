"""Decides which addresses and URLs may be contacted. Pure: no lookup, no socket (R-308, R-455).

The table of reserved networks is our own because `ipaddress.is_global` differs between Python's patch
releases. An IPv6 address that embeds an IPv4 address counts as both: it is public only if each of them is.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_RESERVED: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT); some clouds keep metadata here
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments; Teredo is handled before
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_NAT64 = IPv6Network("64:ff9b::/96")
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_NAME = re.compile(
    r"(?=.{1,253}\.?\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


def is_public(ip: Address) -> bool:
    """True for an address of the public internet."""
    if isinstance(ip, IPv6Address):
        embedded = list(_embedded_ipv4(ip))
        if embedded:
            return all(is_public(address) for address in embedded)
        if ip not in _GLOBAL_UNICAST:
            return False
    return not any(ip in network for network in _RESERVED)


def _embedded_ipv4(ip: IPv6Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that traffic to `ip` may reach."""
    if ip.ipv4_mapped is not None:
        yield ip.ipv4_mapped
    elif ip in _SIX_TO_FOUR:
        yield IPv4Address(int(ip) >> 80 & 0xFFFFFFFF)
    elif ip in _TEREDO:
        yield IPv4Address(int(ip) >> 64 & 0xFFFFFFFF)
        yield IPv4Address(~int(ip) & 0xFFFFFFFF)
    elif ip in _NAT64:
        yield IPv4Address(int(ip) & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The networks that the operator allows besides https to public addresses (BROKER_EGRESS_ALLOW)."""

    networks: tuple[Network, ...] = ()

    def permits(self, ip: Address, scheme: str) -> str | None:
        """None if `ip` may be contacted, otherwise the reason why not."""
        if scheme not in {"http", "https"}:
            return f"{scheme!r} is neither http nor https"
        if self._includes(ip):
            return None
        if not is_public(ip):
            return f"{ip} is not a public address"
        if scheme != "https":
            return f"{ip} may be notified over https only"
        return None

    def _includes(self, ip: Address) -> bool:
        candidates: Iterable[Address] = [ip]
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            candidates = [ip, ip.ipv4_mapped]  # the operating system connects to the IPv4 address
        return any(address in network for address in candidates for network in self.networks)


def check_form(url: str) -> list[str]:
    """What is wrong with the form of the URL; empty if a request can be sent to it as written (R-300)."""
    return list(_form_problems(url))


@lru_cache(maxsize=1_024)
def _form_problems(url: str) -> tuple[str, ...]:
    return tuple(_find_form_problems(url))


def _find_form_problems(url: str) -> list[str]:
    if not _URL_CHARACTERS.fullmatch(url):
        return ["the URL has characters that must be percent-encoded"]
    try:
        parsed = URL(url, encoded=True)
        port = parsed.port
    except (ValueError, IndexError):  # yarl raises IndexError for `https://[a]@`
        return ["the URL can't be parsed: its host or port is malformed"]
    if parsed.scheme not in {"http", "https"}:
        return ["the URL must be absolute and start with https:// or http://"]
    if not parsed.raw_host:
        return ["the URL has no host"]
    problems = []
    if "@" in parsed.raw_authority:
        problems.append("the URL must not contain a user name or password; use a header")
    if "#" in url:
        problems.append("the URL must not have a fragment")
    if port == 0 or parsed.raw_authority.endswith(":"):
        problems.append("the port must be between 1 and 65535; otherwise leave out the port and its colon")
    ip = literal(parsed.raw_host)
    is_bracketed = "[" in parsed.raw_authority
    if is_bracketed != isinstance(ip, IPv6Address) or (ip is None and not _is_name(parsed.raw_host)):
        problems.append(f"{parsed.raw_host!r} is neither a host name nor an address in its usual notation")
    return problems


def check_reach(url: str, allowance: Allowance) -> list[str]:
    """Why a well-formed URL may not be notified, as far as no lookup is needed; the client judges again when
    it connects.
    """
    parsed = URL(url, encoded=True)
    ip = literal(parsed.raw_host or "")
    if ip is not None:
        reason = allowance.permits(ip, parsed.scheme)
        return [] if reason is None else [reason]
    if parsed.scheme == "http" and not allowance.networks:
        return ["plain http is not allowed: use https"]
    return []


def check_url(url: str, allowance: Allowance) -> list[str]:
    """All reasons why `url` may not be notified, as far as no lookup is needed."""
    return check_form(url) or check_reach(url, allowance)


@lru_cache(maxsize=1_024)
def literal(host: str) -> Address | None:
    """The address if `host` is one in canonical notation and without a zone, otherwise None."""
    if "%" in host:
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    """Whether no resolver takes it for an address, as it does `127.1`, `0x7f000001` and `2130706433`."""
    return bool(_NAME.fullmatch(host)) and not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
