"""The operations of Subscription, as OperationDefinitions of each release (R-360..R-368).

Those that HL7 defines carry HL7's canonical URL; the broker's own carry the URL at which this base serves them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from broker.clock import to_instant
from broker.model.release import Release

_R5 = "http://hl7.org/fhir/OperationDefinition/Subscription-"
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
_NUMBER = {Release.R4: "string", Release.R4B: "string", Release.R5: "integer64"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `type` is a FHIR type, or a type for each release."""

    name: str
    use: str
    min: int
    max: str
    type: str | Mapping[Release, str]
    documentation: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `standard` tells in which releases HL7 defines it."""

    code: str
    title: str
    at_type: bool
    at_instance: bool
    affects_state: bool
    standard: frozenset[Release]
    parameters: Sequence[Parameter]


_ALL = frozenset(Release)
_BACKPORTS = frozenset({Release.R4, Release.R4B})
_SINCE = Parameter("eventsSinceNumber", "in", 0, "1", _NUMBER, "The first event number, inclusive.")
_UNTIL = Parameter("eventsUntilNumber", "in", 0, "1", _NUMBER, "The last event number, inclusive.")
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
)


def _canonical(operation: Operation, release: Release, base: str) -> str:
    if release not in operation.standard:
        return f"{base}/OperationDefinition/{operation.code}"
    return f"{_R5 if release is Release.R5 else _BACKPORT}{operation.code}"


def definitions(release: Release, base: str) -> Mapping[str, str]:
    """Operation code to canonical URL, for the CapabilityStatement; codes without `$` (R-386)."""
    return {operation.code: _canonical(operation, release, base) for operation in OPERATIONS}


def operation_definition(code: str, release: Release, *, version: str, base: str, at_ms: int) -> bytes | None:
    """The OperationDefinition of an operation, None for an unknown one."""
    operation = next((one for one in OPERATIONS if one.code == code), None)
    if operation is None:
        return None
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
            "affectsState": operation.affects_state,
            "code": operation.code,
            "resource": ["Subscription"],
            "system": False,
            "type": operation.at_type,
            "instance": operation.at_instance,
            "parameter": [
                {
                    "name": one.name,
                    "use": one.use,
                    "min": one.min,
                    "max": one.max,
                    "documentation": one.documentation,
                    "type": one.type if isinstance(one.type, str) else one.type[release],
                }
                for one in operation.parameters
            ],
            "description": f"{operation.title}, as served by this base (FHIR {version}).",
        }
    )
