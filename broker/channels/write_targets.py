"""The FHIR servers that the channel `fhir-write` may write to, and how: the file BROKER_WRITE_TARGETS.

The administrator writes it. A Subscription names a target of its tenant by `fhir-write:<name>`; where that
is, what is written there and how is never in a Subscription.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from broker.egress.addresses import check_form
from broker.errors import ConfigurationError
from broker.fhir.server_capabilities import Needs
from broker.fhir.server_writes import DeleteMode, WriteMode, WriteRules
from broker.model.change import DEFAULT_TENANT, TENANT_PATTERN, Tenant
from broker.model.release import Release
from broker.security.key_provider import refuse_unknown, required_text
from broker.toml_tables import read_tables

SCHEME = "fhir-write:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_Word = TypeVar("_Word", Release, WriteMode, DeleteMode)
MAX_BUNDLE_ENTRIES = 500
PRESETS: dict[str, dict[str, Any]] = {
    "general": {"mode": "conditional-update", "max_entries": 50},
    "single-writes": {"mode": "conditional-update", "max_entries": 1},
    "create-only": {"mode": "conditional-create", "max_entries": 1},
    "aws-healthlake": {"mode": "update", "max_entries": 160},
    "azure-health-data-services": {"mode": "conditional-update", "max_entries": 500},
}
"""Values of members that a target does not set; docs/ehr-guide.md has the sources of those of products."""


@dataclass(frozen=True, slots=True)
class WriteTarget:
    """One server. `max_entries` and `max_bundle_bytes` bound its transactions; with one entry, requests are
    sent without a Bundle. `lookups` are the types that its references are resolved for by identifier,
    `creates` those of them that are created where the server has none.
    """

    name: str
    tenant: Tenant
    base: str
    rules: WriteRules
    types: tuple[str, ...]
    lookups: tuple[str, ...] = ()
    creates: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    max_entries: int = 50
    max_bundle_bytes: int = 1_000_000

    @property
    def needs(self) -> Needs:
        """What the capability check asks of the server."""
        return Needs(self.rules, self.types, self.lookups, self.creates, self.profiles, self.max_entries > 1)


class WriteTargets:
    """Finds a target of a tenant by the endpoint that a Subscription names."""

    def __init__(self, targets: Sequence[WriteTarget] = ()) -> None:
        self._targets = {(target.tenant, target.name): target for target in targets}

    @property
    def are_there(self) -> bool:
        """Whether the broker offers the channel."""
        return bool(self._targets)

    @classmethod
    def read(cls, path: Path) -> "WriteTargets":
        """Raises `ConfigurationError` that names the table and the member."""
        targets: dict[tuple[Tenant, str], WriteTarget] = {}
        for number, members in enumerate(read_tables(path, "BROKER_WRITE_TARGETS", "target"), 1):
            try:
                target = _parse(dict(members))
            except (ConfigurationError, ValueError, TypeError) as error:
                raise ConfigurationError(f"{path}: target {number}: {error}") from error
            if (target.tenant, target.name) in targets:
                raise ConfigurationError(
                    f"{path}: target {number}: another one has the same name and tenant."
                )
            targets[target.tenant, target.name] = target
        return cls(list(targets.values()))

    def all(self) -> Sequence[WriteTarget]:
        """Those of every tenant."""
        return list(self._targets.values())

    def find(self, tenant: Tenant, endpoint: str | None) -> WriteTarget | None:
        """The target that the endpoint names; None if the tenant has no such target."""
        if not endpoint or not endpoint.startswith(SCHEME):
            return None
        return self._targets.get((tenant, endpoint.removeprefix(SCHEME)))


def _parse(given: dict[str, Any]) -> WriteTarget:
    preset = given.pop("preset", "general")
    if preset not in PRESETS:
        raise ConfigurationError(f"preset is none of {', '.join(PRESETS)}.")
    members = PRESETS[preset] | given
    tenant = members.pop("tenant", DEFAULT_TENANT)
    if not isinstance(tenant, str) or not TENANT_PATTERN.fullmatch(tenant):
        raise ConfigurationError("tenant is no name of a tenant.")
    name, base = required_text(members, "name"), required_text(members, "base").rstrip("/")
    if not _NAME.fullmatch(name):
        raise ConfigurationError("name has other characters than letters, digits, and . _ - between them.")
    problems = check_form(base)
    if problems:
        raise ConfigurationError(f"base: {problems[0]}.")
    if "?" in base:
        raise ConfigurationError("base has a query.")
    rules = WriteRules(
        _choice(members, "release", Release, Release.R4),
        _choice(members, "mode", WriteMode, WriteMode.CONDITIONAL_UPDATE),
        _choice(members, "deletes", DeleteMode, DeleteMode.REFUSE),
        _text(members, "identifier_system"),
    )
    types, lookups, creates = (_types(members, member) for member in ("types", "lookups", "creates"))
    profiles = _texts(members, "profiles")
    max_entries = _number(members, "max_entries", 1, MAX_BUNDLE_ENTRIES, 50)
    max_bundle_bytes = _number(members, "max_bundle_bytes", 10_000, 16_000_000, 1_000_000)
    refuse_unknown(members)
    if not types:
        raise ConfigurationError("types names no type: list those that may be written.")
    if set(creates) - set(lookups):
        raise ConfigurationError("creates names a type that lookups does not name.")
    return WriteTarget(
        name, Tenant(tenant), base, rules, types, lookups, creates, profiles, max_entries, max_bundle_bytes
    )


def _choice(members: dict[str, Any], name: str, words: type[_Word], default: _Word) -> _Word:
    value = members.pop(name, default)
    try:
        return words(value)
    except ValueError:
        raise ConfigurationError(f"{name} is none of {', '.join(words)}.") from None


def _text(members: dict[str, Any], name: str) -> str:
    value = members.pop(name, "")
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is not a text.")
    return value


def _texts(members: dict[str, Any], name: str) -> tuple[str, ...]:
    value = members.pop(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise ConfigurationError(f"{name} is not a list of texts.")
    return tuple(dict.fromkeys(value))


def _types(members: dict[str, Any], name: str) -> tuple[str, ...]:
    types = _texts(members, name)
    if not all(_TYPE.fullmatch(text) for text in types):
        raise ConfigurationError(f"{name} has a name that is no resource type.")
    return types


def _number(members: dict[str, Any], name: str, least: int, most: int, default: int) -> int:
    value = members.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"{name} is not a whole number from {least} to {most}.")
    return value
