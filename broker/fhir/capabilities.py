"""The CapabilityStatement: the same offer in each release, in that release's words (R-380..R-391)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from broker.clock import to_instant

_INTERACTIONS = ("create", "read", "vread", "update", "delete")
_GUIDE = (
    "http://hl7.org/fhir/uv/subscriptions-backport/ImplementationGuide/hl7.fhir.uv.subscriptions-backport"
)
_WEBSOCKET = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-websocket"
_DOCUMENTATION = (
    "Changes sent to any base reach the subscriptions of all bases. Prefer: return=minimal | representation and, on searches, "
    "handling=strict (the default) | lenient; If-Match on update and delete; If-None-Match on read; If-None-Exist with "
    "identifier=system|value on create; Idempotency-Key on any write."
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the running broker offers beyond what the release fixes.

    `searches` is, for each resource type that is searched, search parameter -> type; `operations` operation -> definition, by
    type ('' for those of the base); `channels` the channel types; `security` says in a sentence who may do what.
    """

    base: str
    websocket: str
    software_version: str
    at_ms: int
    searches: Mapping[str, Mapping[str, str]]
    operations: Mapping[str, Mapping[str, str]]
    channels: Sequence[str]
    security: str


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
        "version": capabilities.software_version,
        "name": "FhirBroker",
        "title": "FHIR Subscription notification broker",
        "status": "active",
        "date": to_instant(capabilities.at_ms),
        "description": "Takes changes of resources and notifies about those that match a Subscription.",
        "kind": "instance",
        "software": {"name": "fhir-broker", "version": capabilities.software_version},
        "implementation": {"description": "FHIR Subscription notification broker", "url": capabilities.base},
        "fhirVersion": words.version,
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "extension": [{"url": _WEBSOCKET, "valueUri": capabilities.websocket}],
                "mode": "server",
                "documentation": _DOCUMENTATION,
                "security": {"description": capabilities.security},
                "resource": [_resource(name, words, capabilities) for name in sorted(words.resource_types)],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }
    at_base = capabilities.operations.get("")
    if at_base:
        statement["rest"][0]["operation"] = [
            {"name": code, "definition": url} for code, url in at_base.items()
        ]
    if words.instantiates:
        statement["instantiates"] = [words.instantiates]
    if words.is_backport:
        statement["implementationGuide"] = [_GUIDE]
    return orjson.dumps(statement)


def _resource(name: str, words: ReleaseWords, capabilities: Capabilities) -> dict[str, Any]:
    if name == "Subscription":
        rest = _subscription(words, capabilities)
    elif name == "SubscriptionTopic":
        rest = {
            "interaction": _codes("create", "read", "update", "delete", "search-type"),
            "documentation": "The topics that subscriptions may name; changing them is the administrator's.",
            "updateCreate": True,
        }
    else:
        rest = {
            "interaction": _codes(
                *_INTERACTIONS, *(["search-type"] if name in capabilities.searches else [])
            ),
            "versioning": "versioned-update",
            "readHistory": True,
            "updateCreate": True,
            "conditionalCreate": True,
            "conditionalRead": "not-match",
            "conditionalUpdate": False,
            "conditionalDelete": "not-supported",
        }
    resource: dict[str, Any] = {"type": name} | rest
    if name in capabilities.searches:
        resource["searchParam"] = _search(capabilities.searches[name])
    operations = capabilities.operations.get(name)
    if operations:
        resource["operation"] = [{"name": code, "definition": url} for code, url in operations.items()]
    return resource


def _subscription(words: ReleaseWords, capabilities: Capabilities) -> dict[str, Any]:
    rest: dict[str, Any] = {
        "documentation": f"Channel types: {', '.join(capabilities.channels)}. One status, one version: the current one is kept.",
        "interaction": _codes("create", "read", "update", "delete", "search-type"),
        "versioning": "versioned-update",
        "readHistory": False,
        "updateCreate": True,
        "conditionalCreate": False,
        "conditionalRead": "not-match",
        "conditionalUpdate": False,
        "conditionalDelete": "not-supported",
    }
    if words.profile:
        rest["supportedProfile"] = [words.profile]
    if words.subscription_extensions:
        rest = {"extension": list(words.subscription_extensions)} | rest
    return rest


def _codes(*codes: str) -> list[dict[str, str]]:
    return [{"code": code} for code in codes]


def _search(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in parameters.items()]
