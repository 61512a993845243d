"""The CapabilityStatement: the same capabilities in the vocabulary of each release (R-380..R-391)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from broker.clock import to_instant
from broker.fhir.backport_urls import BASE
from broker.fhir.operation import ANY_TYPE
from broker.model.resource import Resource
from broker.model.topic import Topic

_INTERACTIONS = ("create", "read", "vread", "update", "patch", "delete", "history-instance")
_GUIDE = (
    "http://hl7.org/fhir/uv/subscriptions-backport/ImplementationGuide/hl7.fhir.uv.subscriptions-backport"
)
_TOPIC = f"{BASE}capabilitystatement-subscriptiontopic-canonical"
_WEBSOCKET = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-websocket"
_SECURITY_SERVICE = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_DOCUMENTATION = (
    "Changes sent to any base reach the subscriptions of all bases. Prefer: return=minimal | representation "
    "(the default) | OperationOutcome on every write; handling=lenient (the default) | strict on searches, "
    "where lenient ignores unknown parameters and names them in an OperationOutcome; _summary and _elements "
    "on searches and reads, _sort, _total and _count on searches; _include and _revinclude on searches of "
    "stored resources, by the parameters in searchInclude of any type, and pages that show one moment, "
    "Bundle.meta.lastUpdated; _pretty; If-Match and If-None-Match on update, patch and delete; If-None-Match "
    "and If-Modified-Since on read; conditional create, update, patch and delete with the criteria "
    "identifier and _id (Subscriptions: any search parameter); conditional references in transactions; "
    "Idempotency-Key on any write. A precondition that is not supported is refused."
)


class SearchCapability(NamedTuple):
    """One search parameter: its code, its type, and the canonical of its definition, '' if it has none of its
    own type.
    """

    code: str
    type: str
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the running broker offers beyond what the release fixes.

    `searches`: for each resource type that can be searched, its search parameters; `histories`: the
    types with a history; `includes` those that
    `_include` and `_revinclude` follow. `operations`: for each
    resource type ('' for the base, `Resource` for every type), operation -> URL of its definition.
    `channels`: the channel types. `security`: a sentence on who may do what. `is_smart`: clients need access
    tokens.
    """

    base: str
    websocket: str
    software_version: str
    at_ms: int
    searches: Mapping[str, Sequence[SearchCapability]]
    histories: Collection[str]
    includes: Mapping[str, Sequence[str]]
    operations: Mapping[str, Mapping[str, str]]
    channels: Sequence[str]
    security: str
    is_smart: bool


@dataclass(frozen=True, slots=True)
class CapabilityVocabulary:
    """What one release adds to the statement."""

    version: str
    resource_types: frozenset[str]
    topic_type: str
    is_backport: bool
    instantiates: str | None
    subscription_extensions: Sequence[Mapping[str, Any]] = ()
    profile: str | None = None


def capability_statement(vocabulary: CapabilityVocabulary, capabilities: Capabilities) -> Resource:
    statement: dict[str, Any] = {
        "resourceType": "CapabilityStatement",
        "id": "fhir-broker",
        "url": f"{capabilities.base}/metadata",
        "version": capabilities.software_version,
        "name": "FhirBroker",
        "title": "FHIR Subscription notification broker",
        "status": "active",
        "date": to_instant(capabilities.at_ms),
        "description": (
            "Accepts changes of resources and notifies subscribers about those that match a Subscription."
        ),
        "kind": "instance",
        "software": {"name": "fhir-broker", "version": capabilities.software_version},
        "implementation": {"description": "FHIR Subscription notification broker", "url": capabilities.base},
        "fhirVersion": vocabulary.version,
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json", "application/fhir+json"],
        "rest": [
            {
                "extension": [{"url": _WEBSOCKET, "valueUri": capabilities.websocket}],
                "mode": "server",
                "documentation": _DOCUMENTATION,
                "security": _security(capabilities),
                "resource": [
                    _resource(name, vocabulary, capabilities) for name in sorted(vocabulary.resource_types)
                ],
                "interaction": _codes("transaction", "batch", "history-system"),
            }
        ],
    }
    at_base = capabilities.operations.get("")
    if at_base:
        statement["rest"][0]["operation"] = [
            {"name": code, "definition": url} for code, url in at_base.items()
        ]
    if vocabulary.instantiates:
        statement["instantiates"] = [vocabulary.instantiates]
    if vocabulary.is_backport:
        statement["implementationGuide"] = [_GUIDE]
    return Resource(orjson.dumps(statement))


def _security(capabilities: Capabilities) -> dict[str, Any]:
    service = {"coding": [{"system": _SECURITY_SERVICE, "code": "SMART-on-FHIR"}]}
    return ({"service": [service]} if capabilities.is_smart else {}) | {"description": capabilities.security}


def _resource(name: str, vocabulary: CapabilityVocabulary, capabilities: Capabilities) -> dict[str, Any]:
    if name == "Subscription":
        rest = _subscription(vocabulary, capabilities)
    elif name == "SubscriptionTopic":
        rest = {
            "interaction": _codes("create", "read", "update", "patch", "delete", "search-type"),
            "documentation": "The topics that subscriptions may name; only an administrator may change them.",
            "updateCreate": True,
            "conditionalCreate": True,
            "conditionalUpdate": False,
            "conditionalDelete": "not-supported",
        }
    elif name == "AuditEvent":
        rest = {
            "interaction": _codes("read", "vread", "search-type"),
            "documentation": "The audit trail of the broker, for auditors. No client writes it.",
            "updateCreate": False,
            "conditionalCreate": False,
            "conditionalUpdate": False,
            "conditionalDelete": "not-supported",
        }
    else:
        rest = {
            "interaction": _codes(
                *_INTERACTIONS,
                *(["search-type"] if name in capabilities.searches else []),
                *(["history-type"] if name in capabilities.histories else []),
            ),
            "versioning": "versioned-update",
            "readHistory": True,
            "updateCreate": True,
            "conditionalCreate": True,
            "conditionalRead": "full-support",
            "conditionalUpdate": True,
            "conditionalDelete": "single",
        }
    if not vocabulary.is_backport:  # an element of R5
        rest["conditionalPatch"] = rest["conditionalUpdate"]
    if name == "Binary":
        rest["documentation"] = (
            "Content of any media type is sent and read as it is, or as a Binary in FHIR JSON."
        )
    resource: dict[str, Any] = {"type": name} | rest
    if name in capabilities.searches:
        included = [f"{name}:{code}" for code in capabilities.includes.get(name, ())]
        resource |= {"searchInclude": included} if included else {}
        resource["searchParam"] = _search(capabilities.searches[name])
    operations = {**capabilities.operations.get(ANY_TYPE, {}), **capabilities.operations.get(name, {})}
    if operations:
        resource["operation"] = [{"name": code, "definition": url} for code, url in operations.items()]
    return resource


def _subscription(vocabulary: CapabilityVocabulary, capabilities: Capabilities) -> dict[str, Any]:
    rest: dict[str, Any] = {
        "documentation": (
            f"Channel types: {', '.join(capabilities.channels)}. Only the current version is kept."
        ),
        "interaction": _codes("create", "read", "update", "patch", "delete", "search-type"),
        "versioning": "versioned-update",
        "readHistory": False,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": True,
        "conditionalDelete": "single",
    }
    if vocabulary.profile:
        rest["supportedProfile"] = [vocabulary.profile]
    if vocabulary.subscription_extensions:
        rest = {"extension": list(vocabulary.subscription_extensions)} | rest
    return rest


def _codes(*codes: str) -> list[dict[str, str]]:
    return [{"code": code} for code in codes]


def _search(parameters: Sequence[SearchCapability]) -> list[dict[str, str]]:
    return [
        {"name": each.code}
        | ({"definition": each.definition} if each.definition else {})
        | {"type": each.type}
        for each in parameters
    ]


def topic_extensions(topics: Sequence[Topic]) -> list[dict[str, str]]:
    """The topics, each by its URL and by its URL with the version: clients register either (R-385)."""
    canonicals = [canonical for topic in topics for canonical in (topic.url, topic.canonical)]
    return [{"url": _TOPIC, "valueCanonical": canonical} for canonical in dict.fromkeys(canonicals)]
