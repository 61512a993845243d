"""`$business-event`: a producer says what happened to a resource in words of its own world, such as an ADT code (R-050..R-052).

The 2xx means that the event is durable. A repetition under the same Idempotency-Key is one event; the key is remembered with
the focus, so it must name the same one.
"""

import re
from dataclasses import dataclass, replace

import orjson

from broker.api.resources import idempotency_key
from broker.api.responses import Call, Reply
from broker.errors import Issue, Malformed, RequestError, Unprocessable
from broker.fhir import documents
from broker.fhir.elements import Elements
from broker.ingest.intake import Request
from broker.model.release import Release
from broker.model.topic import Coding

_REFERENCE = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})")
_MAX_CODINGS = 50
_SUBSCRIPTIONS = {"Subscription", "SubscriptionTopic", "SubscriptionStatus"}


@dataclass(frozen=True, slots=True)
class _Report:
    """What was sent: codings, and the focus by reference or as a resource."""

    codings: tuple[Coding, ...]
    focus: tuple[str, str] | None
    resource: bytes | None


async def report(call: Call) -> Reply:
    """200 with the version the event is about; 4xx names the parameter to mend."""
    asked = _read(call)
    key = idempotency_key(call)
    if asked.resource is not None:
        kind, one = await _store(call, asked.resource, key)
    elif asked.focus is not None:
        kind, one = asked.focus
    else:
        raise Malformed(Issue("required", "give the focus, or the resource itself", "focus"))
    admission = await call.services.intake.admit(
        Request(
            tenant=call.tenant,
            release=call.release,
            op="event",
            type=kind,
            id=one,
            idempotency_key=f"event:{key}" if key else "",
            events=asked.codings,
        )
    )
    version = admission.accepted.key.version if admission.accepted else 0
    about = {"reference": call.url(f"{kind}/{one}/_history/{version}"), "type": kind}
    answer = {"resourceType": "Parameters", "parameter": [{"name": "focus", "valueReference": about}]}
    return Reply(body=orjson.dumps(answer))


async def _store(call: Call, resource: bytes, key: str) -> tuple[str, str]:
    """Takes the resource in like any other; type and id. A second send under the key finds what the first stored."""
    kind, one = documents.resource_type(resource), documents.resource_id(resource)
    try:
        _check_type(call, kind)
        admission = await call.services.intake.admit(
            Request(
                tenant=call.tenant,
                release=call.release,
                op="put" if one else "create",
                type=kind,
                id=one,
                body=resource,
                idempotency_key=f"event-focus:{key}" if key else "",
            )
        )
    except RequestError as error:
        raise type(error)(
            *(
                Issue(issue.code, f"resource: {issue.text}", issue.expression or "resource", issue.severity)
                for issue in error.issues
            )
        ) from None
    return kind, admission.accepted.key.id if admission.accepted else admission.existing_id


def _read(call: Call) -> _Report:
    """The parameters, all problems told at once."""
    documents.check_type(call.body, "Parameters")
    root = Elements(documents.parse(call.body), "Parameters")
    given = list(root.objects("parameter"))
    codings: list[Coding] = []
    foci: list[tuple[str, str]] = []
    resources: list[int] = []
    for n, one in enumerate(given):
        told = len(root.issues)
        match one.values.get("name"):
            case "event":
                codings += _codings(one)
            case "focus":
                foci += _focus(call, one)
            case "resource":
                one.object("resource", required=True)
                resources.append(n)
            case name:
                one.refuse(
                    "not-supported", f"unknown parameter {name!r}; known are event, focus, resource", "name"
                )
        prefix = f"{one.values.get('name')}: "
        for at, issue in enumerate(root.issues[told:], told):
            root.issues[at] = replace(issue, text=prefix + issue.text)
    names = [one.values.get("name") for one in given]
    if "event" not in names:
        root.refuse("required", "event is missing: say what happened", "parameter")
    if len(codings) > _MAX_CODINGS:
        root.refuse("too-costly", f"event: at most {_MAX_CODINGS} codings are taken", "parameter")
    if names.count("focus") + names.count("resource") != 1:
        root.refuse("required", "give either one focus or one resource: what it happened to", "parameter")
    root.finish()
    return _Report(
        tuple(dict.fromkeys(codings)),
        foci[0] if foci else None,
        _inline(call.body, resources[0]) if resources else None,
    )


def _codings(one: Elements) -> list[Coding]:
    """Those of a concept, or the one; a text alone can't be compared with what a topic asks for."""
    if one.has("valueCoding"):
        found = [one.object("valueCoding")]
    else:
        concept = one.object("valueCodeableConcept", required=True)
        found = list(concept.objects("coding"))
        if one.has("valueCodeableConcept") and not found:
            concept.refuse("required", "a coding is needed, a text alone fires nothing", "coding")
    return [Coding(each.text("system"), each.text("code", required=True) or "") for each in found]


def _focus(call: Call, one: Elements) -> list[tuple[str, str]]:
    element = one.object("valueReference", required=True)
    text = element.text("reference", required=one.has("valueReference"))
    if text is None:
        return []
    for release in Release:
        text = text.removeprefix(f"{call.services.base_url}/{release}/")
    found = _REFERENCE.fullmatch(text)
    if found is None:
        element.refuse("value", f"{text!r} is not Type/id of a resource that is stored here", "reference")
        return []
    try:
        _check_type(call, found[1])
    except Unprocessable as error:
        element.refuse(error.issues[0].code, error.issues[0].text, "reference")
    return [(found[1], found[2])]


def _check_type(call: Call, kind: str) -> None:
    if kind not in call.adapter.resource_types or kind in _SUBSCRIPTIONS:
        text = f"{kind!r} is no resource type that FHIR {call.adapter.version} could be notified about"
        raise Unprocessable(Issue("not-supported", text))


def _inline(body: bytes, n: int) -> bytes:
    """The resource of a parameter, byte by byte as it came."""
    parameter = documents.items(documents.members(body)["parameter"])[n]
    return documents.members(parameter)["resource"]
