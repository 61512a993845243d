"""The operations of the broker, as OperationDefinitions of each release (R-360..R-368).

Those that HL7 defines carry HL7's canonical URL; the broker's own carry the URL at which this base serves them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir.dead_letter_operations import LETTER_OPERATIONS
from broker.fhir.operation import Operation, Parameter
from broker.model.release import Release

_R5 = "http://hl7.org/fhir/OperationDefinition/Subscription-"
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
_NUMBER = {Release.R4: "string", Release.R4B: "string", Release.R5: "integer64"}


_ALL = frozenset(Release)
_BACKPORTS = frozenset({Release.R4, Release.R4B})
_SINCE = Parameter("eventsSinceNumber", "in", 0, "1", _NUMBER, "The first event number, inclusive.")
_UNTIL = Parameter("eventsUntilNumber", "in", 0, "1", _NUMBER, "The last event number, inclusive.")
_REPORT = (
    Parameter("criteria", "out", 0, "1", "string", "The test as it is written."),
    Parameter("outcome", "out", 1, "1", "code", "passed, failed, error or not-evaluated."),
    Parameter("reason", "out", 1, "1", "string", "Why, in words."),
)
_TERM = (
    Parameter("applies-to", "out", 0, "1", "string", "The type of focus it is limited to."),
    Parameter("parameter", "out", 1, "1", "string", "The search parameter."),
    Parameter("expression", "out", 0, "1", "string", "Where it looks."),
    Parameter("wanted", "out", 0, "1", "string", "The value asked for."),
    Parameter("found", "out", 0, "*", "string", "A value found, shortened."),
    *_REPORT,
)
_CRITERIA = (*_REPORT, Parameter("term", "out", 0, "*", "", "One term of the query.", _TERM))
_IDS = Parameter("id", "in", 0, "*", "id", "Subscriptions to answer for; ignored at instance level.")
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
            Parameter("status", "in", 0, "*", "code", "Only Subscriptions of this status."),
            Parameter(
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
            Parameter(
                "content", "in", 0, "1", "code", "How much of each event, at most what was subscribed to."
            ),
            Parameter("return", "out", 1, "1", "Bundle", "A notification Bundle of type query-event."),
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
            Parameter("token", "out", 1, "1", "string", "To be sent once, as bind-with-token."),
            Parameter("expiration", "out", 1, "1", "dateTime", "When the token and what it bound end."),
            Parameter("subscription", "out", 0, "*", "string", "What the token stands for."),
            Parameter("websocket-url", "out", 1, "1", "url", "Where to connect."),
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
            Parameter("eventsSinceInstant", "in", 0, "1", "instant", "The earliest event, inclusive."),
            Parameter("eventsUntilInstant", "in", 0, "1", "instant", "The latest event, inclusive."),
            Parameter("return", "out", 1, "1", "OperationOutcome", "How many events go out again."),
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
            Parameter("event", "in", 1, "*", "CodeableConcept", "What happened; a Coding is taken too."),
            Parameter("focus", "in", 0, "1", "Reference", "The stored resource it happened to, or"),
            Parameter("resource", "in", 0, "1", "Resource", "the resource itself, which is stored first."),
            Parameter("focus", "out", 1, "1", "Reference", "The version the event refers to."),
        ),
    ),
    *LETTER_OPERATIONS,
    Operation(
        "explain",
        "Explain why a change is notified or not",
        at_type=False,
        at_instance=True,
        affects_state=False,
        standard=frozenset(),
        parameters=(
            Parameter("resource", "in", 0, "1", "Resource", "The state to explain, as if it were sent now."),
            Parameter("reference", "in", 0, "1", "string", "Or a stored one: Type/id, Type/id/_history/n."),
            Parameter("previous", "in", 0, "1", "Resource", "The state before; default: what is stored."),
            Parameter("interaction", "in", 0, "1", "code", "create, update or delete."),
            Parameter("verdict", "out", 1, "1", "boolean", "Whether the subscriber is or would be notified."),
            Parameter("reason", "out", 1, "1", "string", "The first thing that decided, in a sentence."),
            Parameter(
                "subscription",
                "out",
                1,
                "1",
                "",
                "Its state.",
                (
                    Parameter("id", "out", 1, "1", "string", "Its id."),
                    Parameter("status", "out", 1, "1", "code", "Its status."),
                    Parameter("counting", "out", 1, "1", "boolean", "Whether matching changes get a number."),
                    Parameter("counting-since", "out", 0, "1", "instant", "When it was activated."),
                    Parameter("events", "out", 1, "1", "string", "The number of its last event."),
                    Parameter("delivered", "out", 1, "1", "string", "The number of the last one delivered."),
                ),
            ),
            Parameter("topic", "out", 1, "1", "uri", "The topic version it is bound to."),
            Parameter(
                "change",
                "out",
                1,
                "1",
                "",
                "What was explained.",
                (
                    Parameter("focus", "out", 1, "1", "string", "The version."),
                    Parameter("interaction", "out", 1, "1", "code", "create, update or delete."),
                    Parameter("release", "out", 1, "1", "code", "The release it is written in."),
                    Parameter("time", "out", 1, "1", "instant", "When it was accepted."),
                    Parameter("stored", "out", 1, "1", "boolean", "False for one that was only given."),
                    Parameter("previous", "out", 1, "1", "boolean", "Whether a state before is at hand."),
                ),
            ),
            Parameter(
                "trigger",
                "out",
                0,
                "*",
                "",
                "One trigger of the topic.",
                (
                    Parameter("element", "out", 1, "1", "string", "Its place in the topic."),
                    Parameter("resource", "out", 1, "1", "string", "The type it is about."),
                    *_REPORT[1:],
                    Parameter("require-both", "out", 0, "1", "boolean", "Whether both halves must pass."),
                    Parameter("previous", "out", 0, "1", "", "The test of the state before.", _CRITERIA),
                    Parameter("current", "out", 0, "1", "", "The test of the state after.", _CRITERIA),
                    Parameter("fhirPath", "out", 0, "1", "", "The FHIRPath criteria.", _REPORT),
                ),
            ),
            Parameter("filter", "out", 0, "*", "", "One filter of the Subscription.", _TERM),
            Parameter(
                "delivery",
                "out",
                0,
                "1",
                "",
                "Where a stored change is on its way.",
                (
                    Parameter("waiting-to-be-matched", "out", 1, "1", "boolean", "No matcher had it yet."),
                    Parameter(
                        "numbered",
                        "out",
                        0,
                        "1",
                        "boolean",
                        "Whether it became an event; absent if too long ago.",
                    ),
                    Parameter("event-number", "out", 0, "1", "string", "Its number."),
                    Parameter("state", "out", 0, "1", "code", "delivered or waiting."),
                    Parameter("attempts", "out", 0, "1", "integer", "Failed attempts of what is under way."),
                    Parameter("error", "out", 0, "1", "string", "The last failure."),
                    Parameter("next-attempt", "out", 0, "1", "instant", "When it is tried again."),
                ),
            ),
            Parameter(
                "authorization",
                "out",
                1,
                "1",
                "",
                "On whose behalf.",
                (Parameter("tenant", "out", 1, "1", "string", "Whose changes the Subscription sees."),),
            ),
        ),
    ),
    Operation(
        "dry-run",
        "Try a Subscription on stored changes",
        at_type=True,
        at_instance=False,
        affects_state=False,
        standard=frozenset(),
        parameters=(
            Parameter("subscription", "in", 1, "1", "Subscription", "One that is not registered."),
            Parameter("count", "in", 0, "1", "integer", "How many of the last changes, at most 10000."),
            Parameter("changes", "out", 1, "1", "integer", "How many there were to look at."),
            Parameter("matched", "out", 1, "1", "integer", "How many would have been events."),
            Parameter("oldest", "out", 0, "1", "instant", "The time of the oldest looked at."),
            Parameter("complete", "out", 1, "1", "boolean", "Whether the whole log was looked at."),
            Parameter(
                "match",
                "out",
                0,
                "100",
                "",
                "The newest that match.",
                (
                    Parameter("reference", "out", 1, "1", "string", "The version."),
                    Parameter("interaction", "out", 1, "1", "code", "create, update or delete."),
                    Parameter("time", "out", 1, "1", "instant", "When it was accepted."),
                ),
            ),
            Parameter("failed", "out", 0, "1", "integer", "How many evaluations failed."),
            Parameter("problem", "out", 0, "5", "string", "Why the first of them failed."),
        ),
    ),
)


def _canonical(operation: Operation, release: Release, base: str) -> str:
    if release not in operation.standard:
        return f"{base}/OperationDefinition/{operation.code}"
    return f"{_R5 if release is Release.R5 else _BACKPORT}{operation.code}"


def definitions(release: Release, base: str, resource: str) -> Mapping[str, str]:
    """The operations of a resource type, code to canonical URL, for the CapabilityStatement; codes without `$` (R-386)."""
    return {
        operation.code: _canonical(operation, release, base)
        for operation in OPERATIONS
        if operation.resource == resource
    }


def operation_definitions(release: Release, *, version: str, base: str, at_ms: int) -> Sequence[bytes]:
    """Every OperationDefinition of a base; the id of each is its code."""
    return [
        _definition(one, release, version=version, base=base, at_ms=at_ms)
        for one in sorted(OPERATIONS, key=lambda one: one.code)
    ]


def _definition(operation: Operation, release: Release, *, version: str, base: str, at_ms: int) -> bytes:
    return orjson.dumps(
        {
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
            "parameter": [_parameter(one, release) for one in operation.parameters],
        }
    )


def _parameter(parameter: Parameter, release: Release) -> dict[str, Any]:
    """An element of a type, or made of parts: never both (opd-1, opd-2)."""
    kind = parameter.type if isinstance(parameter.type, str) else parameter.type[release]
    return {
        "name": parameter.name,
        "use": parameter.use,
        "min": parameter.min,
        "max": parameter.max,
        "documentation": parameter.documentation,
    } | (
        {"part": [_parameter(one, release) for one in parameter.parts]} if parameter.parts else {"type": kind}
    )
