"""The CapabilityStatement: the same offer in each release, in that release's words (R-380..R-391)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from broker.clock import to_instant

_OPERATIONS = "http://hl7.org/fhir/OperationDefinition/Subscription-"
_BACKPORT_OPERATIONS = (
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
)
_INTERACTIONS = ("create", "read", "vread", "update", "delete")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the running broker offers beyond what the release fixes. `subscription_search` and `topic_search` are code -> type."""

    base: str
    software_version: str
    at_ms: int
    subscription_search: Mapping[str, str]
    topic_search: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReleaseWords:
    """How one release words the statement."""

    version: str
    resource_types: frozenset[str]
    topic_type: str
    is_backport: bool
    instantiates: str | None
    subscription_extensions: Sequence[Mapping[str, Any]] = ()
    profile: str | None = None


def capability_statement(words: ReleaseWords, capabilities: Capabilities) -> bytes:
    statement: dict[str, Any] = {
        "resourceType": "CapabilityStatement",
        "id": "fhir-broker",
        "url": f"{capabilities.base}/metadata",
        "name": "FhirBroker",
        "title": "FHIR Subscription notification broker",
        "status": "active",
        "date": to_instant(capabilities.at_ms),
        "kind": "instance",
        "software": {"name": "fhir-broker", "version": capabilities.software_version},
        "implementation": {"description": "FHIR Subscription notification broker", "url": capabilities.base},
        "fhirVersion": words.version,
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "Changes sent to any base reach the subscriptions of all bases.",
                "resource": [_resource(name, words, capabilities) for name in sorted(words.resource_types)],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
    if words.instantiates:
        statement["instantiates"] = [words.instantiates]
    return orjson.dumps(statement)


def _resource(name: str, words: ReleaseWords, capabilities: Capabilities) -> dict[str, Any]:
    if name == "Subscription":
        return _subscription(words, capabilities)
    if name == words.topic_type:
        return {
            "type": name,
            "interaction": [{"code": "read"}, {"code": "search-type"}],
            "searchParam": _search(capabilities.topic_search),
        }
    return {
        "type": name,
        "interaction": [{"code": code} for code in _INTERACTIONS],
        "versioning": "versioned-update",
        "readHistory": True,
        "updateCreate": True,
        "conditionalCreate": True,
    }


def _subscription(words: ReleaseWords, capabilities: Capabilities) -> dict[str, Any]:
    operations = _BACKPORT_OPERATIONS if words.is_backport else _OPERATIONS
    resource: dict[str, Any] = {
        "type": "Subscription",
        "interaction": [{"code": code} for code in ("create", "read", "update", "delete", "search-type")],
        "versioning": "versioned",
        "updateCreate": True,
        "searchParam": _search(capabilities.subscription_search),
        "operation": [{"name": name, "definition": f"{operations}{name}"} for name in ("status", "events")],
    }
    if words.profile:
        resource["supportedProfile"] = [words.profile]
    if words.subscription_extensions:
        resource["extension"] = list(words.subscription_extensions)
    return resource


def _search(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in parameters.items()]
