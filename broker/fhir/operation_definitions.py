"""The operations of the broker, and their OperationDefinitions in each release (R-360..R-368).

Operations that HL7 defines have HL7's canonical URL; the broker's own have the URL at which the base serves
them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir.dead_letter_operations import DEAD_LETTER_OPERATIONS
from broker.fhir.diagnostic_operations import DRY_RUN, EXPLAIN
from broker.fhir.operation import ANY_TYPE, Operation, OperationParameter
from broker.model.release import Release
from broker.model.resource import Resource

_CORE = "http://hl7.org/fhir/OperationDefinition/"
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
_NUMBER = {Release.R4: "string", Release.R4B: "string", Release.R5: "integer64"}
_PROFILE = {Release.R4: "uri", Release.R4B: "uri", Release.R5: "canonical"}
_ALL = frozenset(Release)
_BACKPORTS = frozenset({Release.R4, Release.R4B})
_SINCE = OperationParameter("eventsSinceNumber", "in", 0, "1", _NUMBER, "The first event number, inclusive.")
_UNTIL = OperationParameter("eventsUntilNumber", "in", 0, "1", _NUMBER, "The last event number, inclusive.")
_IDS = OperationParameter("id", "in", 0, "*", "id", "Subscriptions to return; ignored at instance level.")
OPERATIONS: Sequence[Operation] = (
    Operation(
        "status",
        "Status of Subscriptions",
        at_type=True,
        at_instance=True,
        affects_state=False,
        standard=_ALL,
        parameters=(
            _IDS,
            OperationParameter("status", "in", 0, "*", "code", "Only Subscriptions of this status."),
            OperationParameter(
                "return", "out", 1, "1", "Bundle", "A searchset with one status resource a Subscription."
            ),
        ),
    ),
    Operation(
        "events",
        "Events of a Subscription",
        at_type=False,
        at_instance=True,
        affects_state=False,
        standard=_ALL,
        parameters=(
            _SINCE,
            _UNTIL,
            OperationParameter(
                "content",
                "in",
                0,
                "1",
                "code",
                "How much of each event, at most the content of the Subscription.",
            ),
            OperationParameter(
                "return", "out", 1, "1", "Bundle", "A notification Bundle of type query-event."
            ),
        ),
    ),
    Operation(
        "get-ws-binding-token",
        "Token to bind a websocket with",
        at_type=True,
        at_instance=True,
        affects_state=True,
        standard=_ALL,
        parameters=(
            _IDS,
            OperationParameter("token", "out", 1, "1", "string", "Send it once, as bind-with-token."),
            OperationParameter(
                "expiration", "out", 1, "1", "dateTime", "When the token and its websocket binding expire."
            ),
            OperationParameter(
                "subscription", "out", 0, "*", "string", "A Subscription that the token binds."
            ),
            OperationParameter("websocket-url", "out", 1, "1", "url", "The URL to connect to."),
        ),
    ),
    Operation(
        "resend",
        "Send events again",
        at_type=False,
        at_instance=True,
        affects_state=True,
        standard=_BACKPORTS,
        parameters=(
            _SINCE,
            _UNTIL,
            OperationParameter(
                "eventsSinceInstant", "in", 0, "1", "instant", "The earliest event, inclusive."
            ),
            OperationParameter("eventsUntilInstant", "in", 0, "1", "instant", "The latest event, inclusive."),
            OperationParameter(
                "return", "out", 1, "1", "OperationOutcome", "How many events are sent again."
            ),
        ),
    ),
    Operation(
        "business-event",
        "Report a business event",
        at_type=False,
        at_instance=False,
        affects_state=True,
        standard=frozenset(),
        resource="",
        parameters=(
            OperationParameter(
                "event", "in", 1, "*", "CodeableConcept", "What happened; a Coding is accepted too."
            ),
            OperationParameter(
                "focus", "in", 0, "1", "Reference", "The stored resource that it happened to, or"
            ),
            OperationParameter(
                "resource", "in", 0, "1", "Resource", "the resource itself, which is stored first."
            ),
            OperationParameter("focus", "out", 1, "1", "Reference", "The version that the event refers to."),
        ),
    ),
    Operation(
        "validate",
        "Validate a resource",
        at_type=True,
        at_instance=True,
        affects_state=False,
        standard=_ALL,
        resource=ANY_TYPE,
        parameters=(
            OperationParameter(
                "resource", "in", 0, "1", "Resource", "What to validate; needed unless the mode is delete."
            ),
            OperationParameter(
                "mode", "in", 0, "1", "code", "What to do with it: create, update, delete or profile."
            ),
            OperationParameter(
                "profile", "in", 0, "1", _PROFILE, "The profile to validate it by; unknown ones are refused."
            ),
            OperationParameter("return", "out", 1, "1", "OperationOutcome", "The issues of the resource."),
        ),
    ),
    *DEAD_LETTER_OPERATIONS,
    EXPLAIN,
    DRY_RUN,
)


def _canonical(operation: Operation, release: Release, base: str) -> str:
    if release not in operation.standard:
        return f"{base}/OperationDefinition/{operation.code}"
    if operation.resource == ANY_TYPE:
        return f"{_CORE}{ANY_TYPE}-{operation.code}"
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
        if operation.resource == resource
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
        **({"resource": [operation.resource]} if operation.resource else {}),
        "system": not operation.resource,
        "type": operation.at_type,
        "instance": operation.at_instance,
        "parameter": [_parameter(parameter, release) for parameter in operation.parameters],
    }
    return Resource(orjson.dumps(members))


def _parameter(parameter: OperationParameter, release: Release) -> dict[str, Any]:
    """A parameter has a type or parts, never both (opd-1, opd-2)."""
    type_name = parameter.type if isinstance(parameter.type, str) else parameter.type[release]
    return {
        "name": parameter.name,
        "use": parameter.use,
        "min": parameter.min,
        "max": parameter.max,
        "documentation": parameter.documentation,
    } | (
        {"part": [_parameter(part, release) for part in parameter.parts]}
        if parameter.parts
        else {"type": type_name}
    )
