"""The operations of the broker, and their OperationDefinitions in each release (R-360..R-368).

Operations that HL7 defines have HL7's canonical URL; the broker's own have the URL at which the base serves
them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir.operation import ANY_TYPE, Operation, OperationParameter
from broker.model.release import Release
from broker.model.resource import Resource

_CORE = "http://hl7.org/fhir/OperationDefinition/"
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
_BULK_DATA = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
_ALL = frozenset(Release)
_BACKPORTS = frozenset({Release.R4, Release.R4B})
OPERATIONS: Sequence[Operation] = (
    Operation(
        "status",
        "Status of Subscriptions",
        at_type=True,
        at_instance=True,
        affects_state=False,
        standard=_ALL,
    ),
    Operation(
        "events",
        "Events of a Subscription",
        at_type=False,
        at_instance=True,
        affects_state=False,
        standard=_ALL,
    ),
    Operation(
        "get-ws-binding-token",
        "Token to bind a websocket with",
        at_type=True,
        at_instance=True,
        affects_state=True,
        standard=_ALL,
    ),
    Operation(
        "stream",
        "Stream of notifications",
        at_type=False,
        at_instance=True,
        affects_state=False,
    ),
    Operation(
        "resend",
        "Send events again",
        at_type=False,
        at_instance=True,
        affects_state=True,
        standard=_BACKPORTS,
    ),
    Operation(
        "explain",
        "Explain why a change is notified or not",
        at_type=False,
        at_instance=True,
        affects_state=False,
    ),
    Operation(
        "dry-run",
        "Try a Subscription on stored changes",
        at_type=True,
        at_instance=False,
        affects_state=False,
    ),
    *(
        Operation(code, title, at_type=False, at_instance=True, affects_state=affects_state)
        for code, title, affects_state in (
            ("attempts", "List attempts to send notifications", False),
            ("delivery", "Report the delivery of a Subscription", False),
            ("retry", "Attempt a failed notification now", True),
            ("send-test", "Send a heartbeat and report its outcome", False),
            ("rotate-secret", "Make a new secret that signs notifications", True),
            ("adopt", "Give a Subscription without a client to a client", True),
        )
    ),
    *(
        Operation(code, title, at_type=False, at_instance=False, affects_state=affects_state, resource="")
        for code, title, affects_state in (
            ("business-event", "Report a business event", True),
            ("dead-letters", "List dead letters", False),
            ("redrive-dead-letters", "Redrive dead letters", True),
            ("discard-dead-letters", "Discard dead letters", True),
        )
    ),
    Operation(
        "lastn",
        "Last Observations of each code",
        at_type=True,
        at_instance=False,
        affects_state=False,
        standard=_ALL,
        resource="Observation",
    ),
    Operation(
        "export",
        "Export resources in bulk",
        at_type=False,
        at_instance=False,
        affects_state=False,
        standard=_ALL,
        resource="",
    ),
    *(
        Operation(code, title, at_type=True, at_instance=False, affects_state=False, resource="AuditEvent")
        for code, title in (
            ("export-trail", "Export the audit trail"),
            ("verify-trail", "Verify the audit trail"),
        )
    ),
    Operation(
        "try",
        "Try a topic on stored changes",
        at_type=True,
        at_instance=False,
        affects_state=False,
        resource="SubscriptionTopic",
    ),
    Operation(
        "context",
        "Show the context of a device",
        at_type=False,
        at_instance=True,
        affects_state=False,
        resource="Device",
    ),
    Operation(
        "validate",
        "Validate a resource",
        at_type=True,
        at_instance=True,
        affects_state=False,
        standard=_ALL,
        resource=ANY_TYPE,
    ),
)


def _canonical(operation: Operation, release: Release, base: str) -> str:
    if release not in operation.standard:
        return f"{base}/OperationDefinition/{operation.code}"
    if not operation.resource:
        return f"{_BULK_DATA}{operation.code}"
    if operation.resource != "Subscription":
        return f"{_CORE}{operation.resource}-{operation.code}"
    return (
        f"{_CORE}Subscription-{operation.code}" if release is Release.R5 else f"{_BACKPORT}{operation.code}"
    )


def definitions(release: Release, base: str, resource: str) -> Mapping[str, str]:
    """The operations of a resource type, code to canonical URL, for the CapabilityStatement; codes without
    `$` (R-386).
    """
    return {
        operation.code: _canonical(operation, release, base)
        for operation in OPERATIONS
        if operation.resource_in(release) == resource
    }


def operation_definitions(release: Release, *, version: str, base: str, at_ms: int) -> Sequence[Resource]:
    """The OperationDefinitions of a base; the id of each is its code."""
    return [
        _definition(operation, release, version=version, base=base, at_ms=at_ms)
        for operation in sorted(OPERATIONS, key=lambda operation: operation.code)
    ]


def _definition(operation: Operation, release: Release, *, version: str, base: str, at_ms: int) -> Resource:
    members = {
        "resourceType": "OperationDefinition",
        "id": operation.code,
        "url": _canonical(operation, release, base),
        "name": operation.title.title().replace(" ", ""),
        "title": operation.title,
        "status": "active",
        "kind": "operation",
        "date": to_instant(at_ms),
        "description": f"{operation.title}, as served by this base (FHIR {version}).",
        "affectsState": operation.affects_state,
        "code": operation.code,
        **({"resource": [operation.resource_in(release)]} if operation.resource else {}),
        "system": not operation.resource,
        "type": operation.at_type,
        "instance": operation.at_instance,
        "parameter": [
            _parameter(parameter) for parameter in operation.parameters if release in parameter.releases
        ],
    }
    return Resource(orjson.dumps(members))


def _parameter(parameter: OperationParameter) -> dict[str, Any]:
    """A parameter has a type or parts, never both (opd-1, opd-2)."""
    return {
        "name": parameter.name,
        "use": parameter.use,
        "min": parameter.min,
        "max": parameter.max,
        "documentation": parameter.documentation,
    } | (
        {"part": [_parameter(part) for part in parameter.parts]}
        if parameter.parts
        else {"type": parameter.type}
    )
