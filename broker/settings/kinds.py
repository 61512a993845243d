"""The kinds of value a setting may have: what each takes, in words, and how it is read from text."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from broker import failpoints

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SIZES = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of setting: its name in the docs, what it takes, and how it is read (ValueError: not that)."""

    name: str
    takes: str
    read: Callable[[str], Any]


def _read_duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", text)
    if not found:
        raise ValueError
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def spelled(duration: timedelta) -> str:
    """As it would be written in the environment, in the largest unit that fits."""
    unit = next((one for one in reversed(_UNITS) if not duration % timedelta(**{_UNITS[one]: 1})), "ms")
    return f"{duration // timedelta(**{_UNITS[unit]: 1})}{unit}"


def _read_bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,12}) ?(|KiB|MiB|GiB)", text)
    if not found or int(found[1]) == 0:
        raise ValueError
    return int(found[1]) * _SIZES[found[2]]


def _read_bool(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError


def _read_networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in re.split(r"[,\s]+", text) if part)


def _read_base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    _ = parts.port  # raises ValueError if there is none of that number
    return text


def _read_redis_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme in {"redis+cluster", "rediss+cluster"}:
        for node in parts.netloc.rpartition("@")[2].split(","):
            _read_redis_url(f"redis://{node}")
        return text
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.path):
        raise ValueError
    _ = parts.port
    return text


def _read_smtp_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError
    _ = parts.port
    return text


def number(low: int, high: int) -> Kind:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return Kind("number", f"a whole number from {low} to {high}", read)


def choice(*codes: str) -> Kind:
    def read(text: str) -> str:
        if text.lower() not in codes:
            raise ValueError
        return text.lower()

    return Kind(" | ".join(codes), f"one of {', '.join(codes)}", read)


TEXT = Kind("text", "text", str)
PATH = Kind("path", "a path", Path)
BOOL = Kind("bool", "true or false", _read_bool)
DURATION = Kind("duration", "a number and a unit of ms, s, m, h or d, such as 500ms or 72h", _read_duration)
BYTES = Kind("bytes", "a number of bytes, or of KiB, MiB or GiB, such as 5MiB", _read_bytes)
NETWORKS = Kind("networks", "networks such as 10.0.0.0/8, separated by commas or blanks", _read_networks)
BASE_URL = Kind("url", "an http or https URL without query and fragment", _read_base_url)
SMTP_URL = Kind("url", "an smtp:// or smtps:// URL", _read_smtp_url)
FAILPOINTS = Kind(
    "failpoints",
    f"name:action@k, several separated by commas; actions are kill, pause=<ms>, error, unavailable; names {', '.join(failpoints.NAMES)}",
    failpoints.parse,
)
REDIS_URL = Kind(
    "url", "a redis://, rediss:// or unix:// URL, or redis+cluster://host:port,host:port", _read_redis_url
)
