"""`$business-event`: a producer reports what happened to a resource in codes of its own (R-050..R-052)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import orjson

from broker.api.exchange import FhirRequest, FhirResponse
from broker.errors import Issue, RequestError, Unprocessable
from broker.fhir.element_reader import ElementReader
from broker.fhir.identity import check_type
from broker.model import json_text
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import Coding
from broker.services.business_events import BusinessEventService

_REFERENCE = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})")
_MAX_CODINGS = 50
_FRAMEWORK_TYPES = {"Subscription", "SubscriptionTopic", "SubscriptionStatus"}


@dataclass(frozen=True, slots=True)
class _Report:
    """The parameters: codings, and the focus by reference (type, id) or as a resource."""

    codings: tuple[Coding, ...]
    focus: tuple[str, str] | None
    resource: Resource | None


class BusinessEventHandlers:
    """The row for `$business-event`."""

    def __init__(self, events: BusinessEventService) -> None:
        self._events = events

    def focus_type(self, request: FhirRequest) -> str:
        """The resource type of the focus, for the access check; '' where the parameters are invalid."""
        try:
            report = _read(request)
        except RequestError:
            return ""
        return report.focus[0] if report.focus else report.resource.type if report.resource else ""

    async def report(self, request: FhirRequest) -> FhirResponse:
        """200 with the version that the event is about; 4xx with the parameters to correct."""
        report, key = _read(request), request.idempotency_key
        focus = report.focus
        if report.resource is not None:
            focus = await self._events.store_focus(
                request.principal, request.release, report.resource, key, request.address
            )
        if focus is None:
            raise Unprocessable(Issue("required", "The focus is missing. Send focus or resource.", "focus"))
        version = await self._events.report(
            request.principal, request.release, report.codings, focus, key, request.address
        )
        reference = request.url(f"{version.reference}/_history/{version.version}")
        value = {"reference": reference, "type": version.type}
        parameters = [{"name": "focus", "valueReference": value}]
        return FhirResponse(body=orjson.dumps({"resourceType": "Parameters", "parameter": parameters}))


def _read(request: FhirRequest) -> _Report:
    """The parameters, with all problems reported at once; raises `Malformed` or `Unprocessable`."""
    check_type(request.resource, "Parameters")
    root = ElementReader(request.resource.fields, "Parameters")
    parameters = list(root.objects("parameter"))
    codings: list[Coding] = []
    foci: list[tuple[str, str]] = []
    resources: list[int] = []
    for n, parameter in enumerate(parameters):
        reported = len(root.issues)
        match parameter.fields.get("name"):
            case "event":
                codings += _codings(parameter)
            case "focus":
                foci += _foci(request, parameter)
            case "resource":
                _check_focus_resource(request, parameter)
                resources.append(n)
            case name:
                text = f"The parameter {name!r} is not supported. Use event, focus or resource."
                parameter.refuse("not-supported", text, "name")
        for at, issue in enumerate(root.issues[reported:], reported):
            root.issues[at] = replace(issue, text=f"{parameter.fields.get('name')}: {issue.text}")
    names = [parameter.fields.get("name") for parameter in parameters]
    if "event" not in names:
        root.refuse("required", "event is missing. Send the coding of what happened.", "parameter")
    if len(codings) > _MAX_CODINGS:
        root.refuse("too-costly", f"event: Send at most {_MAX_CODINGS} codings.", "parameter")
    if names.count("focus") + names.count("resource") != 1:
        text = "The focus is missing or repeated. Send either one focus or one resource."
        root.refuse("required", text, "parameter")
    root.finish()
    return _Report(
        tuple(dict.fromkeys(codings)),
        foci[0] if foci else None,
        _resource_at(request.resource, resources[0]) if resources else None,
    )


def _codings(parameter: ElementReader) -> Iterator[Coding]:
    """A text alone gives none: topics compare codes."""
    if parameter.has("valueCoding"):
        codings = [parameter.object("valueCoding")]
    else:
        concept = parameter.object("valueCodeableConcept", required=True)
        codings = list(concept.objects("coding"))
        if parameter.has("valueCodeableConcept") and not codings:
            concept.refuse("required", "A text alone fires no topic. Send a coding.", "coding")
    for coding in codings:
        yield Coding(coding.string("system"), coding.string("code", required=True) or "")


def _foci(request: FhirRequest, parameter: ElementReader) -> Iterator[tuple[str, str]]:
    element = parameter.object("valueReference", required=True)
    reference = element.string("reference", required=parameter.has("valueReference"))
    if reference is None:
        return
    for release in Release:
        reference = reference.removeprefix(f"{request.base_url}/{release}/")
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        text = f"{reference!r} is not a reference to a stored resource. Send Type/id."
        element.refuse("value", text, "reference")
    elif not _can_be_focus(request, match[1]):
        element.refuse("not-supported", _no_focus(request, match[1]), "reference")
    else:
        yield match[1], match[2]


def _check_focus_resource(request: FhirRequest, parameter: ElementReader) -> None:
    element = parameter.object("resource", required=True)
    resource_type = element.fields.get("resourceType")
    if parameter.has("resource") and not _can_be_focus(request, resource_type):
        parameter.refuse("not-supported", _no_focus(request, resource_type), "resource")


def _can_be_focus(request: FhirRequest, resource_type: object) -> bool:
    return resource_type in request.adapter.resource_types and resource_type not in _FRAMEWORK_TYPES


def _no_focus(request: FhirRequest, resource_type: object) -> str:
    return (
        f"{resource_type!r} is not a resource type of FHIR {request.adapter.version} that subscribers can be "
        "notified about. Send another focus."
    )


def _resource_at(parameters: Resource, n: int) -> Resource:
    """The resource of a parameter in the spelling it came in."""
    parameter = json_text.items(parameters.members["parameter"])[n]
    return Resource(json_text.members(parameter)["resource"])
