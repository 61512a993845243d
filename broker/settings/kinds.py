"""The kinds of value a setting can have: what each accepts, in words, and how it is read from text."""

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
_INDEX = re.compile(r"[a-z_][A-Za-z-]*(\+[a-z_][A-Za-z-]*)*(@date)?")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


@dataclass(frozen=True, slots=True)
class SettingKind:
    """A type of setting: its name in the docs, what it accepts, and how it is read (raises `ValueError`
    otherwise). In a TOML file it is a string, or of the type `literal`.
    """

    name: str
    accepts: str
    read: Callable[[str], Any]
    literal: type = str
    separator: str = ","

    def text_of(self, value: object) -> str:
        """A value of TOML as `read` takes it. Raises `ValueError` for one of another type."""
        if type(value) not in {str, self.literal}:
            raise ValueError
        match value:
            case bool():
                return str(value).lower()
            case list():
                return _joined(value)
            case dict():
                members = (
                    (key, _joined(part) if isinstance(part, list) else part) for key, part in value.items()
                )
                return self.separator.join(f"{key}={_checked(part)}" for key, part in members)
        return str(value)


def _joined(parts: list[object]) -> str:
    return ",".join(map(_checked, parts))


def _checked(part: object) -> str:
    if not isinstance(part, str):
        raise ValueError  # noqa: TRY004 a value of the wrong type is refused as any other
    return part


def _read_duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", text)
    if not match:
        raise ValueError
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def duration_text(duration: timedelta) -> str:
    """The duration as written in the environment, in the largest unit that fits."""
    unit = next((unit for unit in reversed(_UNITS) if not duration % timedelta(**{_UNITS[unit]: 1})), "ms")
    return f"{duration // timedelta(**{_UNITS[unit]: 1})}{unit}"


def _read_period(text: str) -> timedelta | None:
    return None if text.lower() == "forever" else _read_duration(text)


def _read_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12}) ?(|KiB|MiB|GiB)", text)
    if not match or int(match[1]) == 0:
        raise ValueError
    return int(match[1]) * _SIZES[match[2]]


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
    _ = parts.port  # raises ValueError for a port that is not a number up to 65535
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


def _read_mqtt_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or parts.path.strip("/"):
        raise ValueError
    _ = parts.port
    return text


def _read_proxy_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise ValueError
    _ = parts.port
    return text


def _read_origins(text: str) -> tuple[str, ...]:
    origins = tuple(text.replace(",", " ").split())
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.path):
            raise ValueError
        _ = parts.port
    return origins


def _read_keep(text: str) -> tuple[tuple[str, timedelta | None], ...]:
    kept: dict[str, timedelta | None] = {}
    for part in re.split(r"[,\s]+", text):
        name, _, duration = part.partition("=")
        if not re.fullmatch(r"[A-Z][A-Za-z]+", name) or name in kept:
            raise ValueError
        kept[name] = None if duration == "forever" else _read_duration(duration)
    return tuple(kept.items())


def _read_indexes(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    indexes: dict[str, tuple[str, ...]] = {}
    for part in re.split(r"[;\s]+", text.strip("; ")):
        name, equals, listed = part.partition("=")
        definitions = tuple(listed.split(",")) if listed else ()
        if not equals or not re.fullmatch(r"[A-Z][A-Za-z]+|\*", name) or name in indexes:
            raise ValueError
        if not all(map(_INDEX.fullmatch, definitions)) or len(set(definitions)) < len(definitions):
            raise ValueError
        indexes[name] = definitions
    return tuple(indexes.items())


def number(low: int, high: int) -> SettingKind:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return SettingKind("number", f"a whole number from {low} to {high}", read, int)


def _read_ratio(text: str) -> float:
    if not re.fullmatch(r"[01]|0?\.\d{1,9}|1\.0+", text):
        raise ValueError
    return float(text)


def _read_policies(text: str) -> tuple[tuple[str, str], ...]:
    policies: dict[str, str] = {}
    for part in re.split(r"[,\s]+", text):
        client, _, policy = part.rpartition("=")
        if not client or policy not in {"off", "warn", "reject"} or client in policies:
            raise ValueError
        policies[client] = policy
    return tuple(policies.items())


def _read_elements(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not names or not all(re.fullmatch(r"[A-Z][A-Za-z]*\.[a-z][A-Za-z]*", name) for name in names):
        raise ValueError
    return names


def choice(*codes: str) -> SettingKind:
    def read(text: str) -> str:
        if text.lower() not in codes:
            raise ValueError
        return text.lower()

    literal = int if any(map(str.isdecimal, codes)) else str
    return SettingKind(" | ".join(codes), f"one of {', '.join(codes)}", read, literal)


TEXT = SettingKind("text", "text", str)
PATH = SettingKind("path", "a path", Path)
BOOL = SettingKind("bool", "true or false", _read_bool, bool)
DURATION = SettingKind(
    "duration", "a number and a unit (ms, s, m, h or d), such as 500ms or 72h", _read_duration
)
KEEP = SettingKind(
    "types",
    "resource types, each with a duration or forever, such as Observation=24h,Encounter=forever",
    _read_keep,
    dict,
)
INDEXES = SettingKind(
    "indexes",
    "off, or resource types (* is every other one), each with its indexes, such as"
    " Observation=subject+code@date,code;Device=",
    lambda text: () if text.lower() == "off" else _read_indexes(text),
    dict,
    ";",
)
PERIOD = SettingKind("duration", "a duration such as 72h or 2192d, or forever", _read_period)
RATIO = SettingKind("number", "a number from 0 to 1, such as 0.05", _read_ratio, float)
BYTES = SettingKind("bytes", "a number of bytes, KiB, MiB or GiB, such as 5MiB", _read_bytes, int)
POLICIES = SettingKind(
    "policies",
    "client ids, each with off, warn or reject, such as ward-gateway=reject,fhir:inbox=warn",
    _read_policies,
    dict,
)
ELEMENTS = SettingKind(
    "elements", "elements of resources, such as Patient.name,Patient.birthDate", _read_elements, list
)
NETWORKS = SettingKind(
    "networks", "networks such as 10.0.0.0/8, separated by commas or spaces", _read_networks, list
)
BASE_URL = SettingKind("url", "an http or https URL without query and fragment", _read_base_url)
SMTP_URL = SettingKind("url", "an smtp:// or smtps:// URL", _read_smtp_url)
ORIGINS = SettingKind(
    "origins", "origins such as https://app.example.org, separated by commas, or *", _read_origins, list
)
PROXY_URL = SettingKind(
    "url", "an http:// URL of a host and port, such as http://proxy:3128", _read_proxy_url
)
MQTT_URL = SettingKind(
    "url", "an mqtt:// or mqtts:// URL of a host, such as mqtts://mqtt.example.org:8883", _read_mqtt_url
)
FAILPOINTS = SettingKind(
    "failpoints",
    "name:action@k, several separated by commas, with an action of kill, pause=<ms>, error or unavailable "
    f"and a name of {', '.join(failpoints.NAMES)}",
    failpoints.parse,
    list,
)
REDIS_URL = SettingKind(
    "url", "a redis://, rediss:// or unix:// URL, or redis+cluster://host:port,host:port", _read_redis_url
)
