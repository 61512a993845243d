"""SubscriptionTopics: read from the R5 or R4B form into the neutral shape, and written as R5, R4B, or R4's Basic (R-010..R-080)."""

from collections.abc import Iterator
from typing import Any

import orjson

from broker.errors import Unprocessable
from broker.fhir.bundles import RELATED_QUERY
from broker.fhir.documents import parse
from broker.fhir.elements import Elements
from broker.fhir.native import type_name
from broker.fhir.validation import validate
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import Comparator, Modifier
from broker.model.topic import (
    Coding,
    EventTrigger,
    FilterDefinition,
    NotificationShape,
    QueryCriteria,
    RelatedQuery,
    ResourceTrigger,
    Topic,
    TopicStatus,
)

_COMPARATORS = frozenset(Comparator)
_R4B_MODIFIERS = _COMPARATORS | {"=", "above", "below", "in", "not-in", "of-type"}
_R5_ONLY = ("name", "versionAlgorithmString", "versionAlgorithmCoding", "copyrightLabel")
_BASIC = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic."
_TYPE_CODES = "http://hl7.org/fhir/fhir-types"
BASIC_CODE = {"coding": [{"system": _TYPE_CODES, "code": "SubscriptionTopic"}]}
# the datatype each element has, for the `value[x]` of R4's extensions; strings where nothing else is said
_VALUES = {
    "url": "Uri",
    "resource": "Uri",
    "filterDefinition": "Uri",
    "date": "DateTime",
    "approvalDate": "Date",
    "lastReviewDate": "Date",
    "description": "Markdown",
    "purpose": "Markdown",
    "copyright": "Markdown",
    "derivedFrom": "Canonical",
    "status": "Code",
    "supportedInteraction": "Code",
    "comparator": "Code",
    "modifier": "Code",
    "resultForCreate": "Code",
    "resultForDelete": "Code",
    "experimental": "Boolean",
    "requireBoth": "Boolean",
    "identifier": "Identifier",
    "contact": "ContactDetail",
    "useContext": "UsageContext",
    "jurisdiction": "CodeableConcept",
    "event": "CodeableConcept",
    "effectivePeriod": "Period",
}


def _result(elements: Elements, name: str) -> bool | None:
    match elements.text(name):
        case None:
            return None
        case "test-passes":
            return True
        case "test-fails":
            return False
        case _:
            elements.refuse("value", "takes test-passes or test-fails", name)
            return None


def _resource(elements: Elements) -> str:
    return type_name(elements.text("resource", required=True) or "")


def _resource_trigger(elements: Elements) -> ResourceTrigger:
    interactions = set()
    for code in elements.texts("supportedInteraction"):
        try:
            interactions.add(Interaction(code))
        except ValueError:
            elements.refuse("value", f"{code!r} is none of create, update, delete", "supportedInteraction")
    query = None
    if elements.has("queryCriteria"):
        criteria = elements.object("queryCriteria")
        query = QueryCriteria(
            criteria.text("previous"),
            criteria.text("current"),
            _result(criteria, "resultForCreate"),
            _result(criteria, "resultForDelete"),
            require_both=criteria.values.get("requireBoth") is True,
        )
    return ResourceTrigger(
        _resource(elements),
        frozenset(interactions or Interaction),
        query,
        elements.text("fhirPathCriteria"),
        elements.text("description"),
    )


def _event_trigger(elements: Elements) -> EventTrigger:
    codings = tuple(
        Coding(one.text("system"), one.text("code", required=True) or "", one.text("display"))
        for one in elements.object("event", required=True).objects("coding")
    )
    return EventTrigger(_resource(elements), codings, elements.text("description"))


def _filter_definition(elements: Elements) -> FilterDefinition:
    modifiers = set(elements.texts("modifier"))
    # R4B lists comparators among the modifiers, and `=` for none
    comparators = set(elements.texts("comparator")) | (modifiers & _COMPARATORS)
    unknown = comparators - _COMPARATORS
    if unknown:
        elements.refuse("value", f"{min(unknown)!r} is no comparator", "comparator")
    nameless = modifiers - _COMPARATORS - {"="} - set(Modifier)
    if nameless:
        elements.refuse("value", f"{min(nameless)!r} is no modifier", "modifier")
    kind = elements.text("resource")
    return FilterDefinition(
        elements.text("filterParameter", required=True) or "",
        type_name(kind) if kind else None,
        frozenset(Comparator(one) for one in comparators & _COMPARATORS),
        frozenset(modifiers - _COMPARATORS - {"="}),
        elements.text("filterDefinition"),
        elements.text("description"),
    )


def _related_queries(shape: Elements) -> Iterator[RelatedQuery]:
    """The backport-related-query extensions of a shape (R-074)."""
    for extension in shape.objects("extension"):
        if extension.values.get("url") != RELATED_QUERY:
            continue
        parts = {one.values.get("url"): one for one in extension.objects("extension")}
        query = parts["query"].text("valueString", required=True) if "query" in parts else None
        if query is None:
            extension.refuse("required", "a related query has a query", "extension")
            continue
        kind = parts["queryType"].object("valueCoding") if "queryType" in parts else None
        coded = None
        if kind is not None:
            coded = Coding(kind.text("system"), kind.text("code", required=True) or "", kind.text("display"))
        yield RelatedQuery(type_name(shape.text("resource") or ""), query, coded)


def parse_topic(body: bytes) -> Topic:
    """A topic of R5 or R4B JSON. Raises `Malformed` or `Unprocessable`."""
    values = parse(body)
    root = Elements(values, "SubscriptionTopic")
    if values.get("resourceType") != "SubscriptionTopic":
        root.refuse("structure", "this is no SubscriptionTopic", "resourceType")
        root.finish()
    release = Release.R5
    try:
        validate(Release.R5, "SubscriptionTopic", body)
    except Unprocessable as error:
        try:
            validate(Release.R4B, "SubscriptionTopic", body)
        except Unprocessable:
            raise error from None  # what neither release reads is told as R5
        release = Release.R4B
    if any((_COMPARATORS | {"="}) & set(one.texts("modifier")) for one in root.objects("canFilterBy")):
        release = Release.R4B  # its form, which the models of R5 read too
    status = root.text("status", required=True) or ""
    if status and status not in set(TopicStatus):
        root.refuse("value", f"{status!r} is none of {', '.join(TopicStatus)}", "status")
    topic = Topic(
        id=root.text("id", required=True) or "",
        url=root.text("url", required=True) or "",
        version=root.text("version"),
        status=TopicStatus(status) if status in set(TopicStatus) else TopicStatus.UNKNOWN,
        title=root.text("title"),
        resource_triggers=tuple(_resource_trigger(one) for one in root.objects("resourceTrigger")),
        event_triggers=tuple(_event_trigger(one) for one in root.objects("eventTrigger")),
        filters=tuple(_filter_definition(one) for one in root.objects("canFilterBy")),
        shapes=tuple(
            NotificationShape(
                _resource(one),
                tuple(one.texts("include")),
                tuple(one.texts("revInclude")),
                tuple(_related_queries(one)),
            )
            for one in root.objects("notificationShape")
        ),
        derived_from=tuple(root.texts("derivedFrom")),
        document=body,
        release=release,
    )
    root.finish()
    return topic


def render_r5(topic: Topic) -> bytes:
    if topic.release is Release.R5:
        return topic.document
    document = orjson.loads(topic.document)
    for one in document.get("canFilterBy", ()):
        modifiers = one.pop("modifier", [])
        for name, some in (
            ("comparator", [code for code in modifiers if code in _COMPARATORS]),
            ("modifier", [code for code in modifiers if code not in _COMPARATORS and code != "="]),
        ):
            if some:
                one[name] = some
    return orjson.dumps(document)


def render_r4b(topic: Topic) -> bytes:
    if topic.release is Release.R4B:
        return topic.document
    document = orjson.loads(topic.document)
    for name in _R5_ONLY:
        document.pop(name, None)
    for one in document.get("canFilterBy", ()):
        codes = one.pop("comparator", []) + one.get("modifier", [])
        one.pop("modifier", None)
        allowed = [code for code in codes if code in _R4B_MODIFIERS]
        if allowed:
            one["modifier"] = allowed
    return orjson.dumps(document)


def render_basic(topic: Topic) -> bytes:
    """R4 has no SubscriptionTopic: a Basic with an extension for each element, the status a modifier extension (R-080)."""
    document = parse(render_r5(topic))
    skipped = {"resourceType", "id", "meta", "text", "status", "language", "contained"}
    extensions = [
        extension
        for name, value in document.items()
        if name not in skipped and not name.startswith("_")
        for extension in _extensions(name, value, _BASIC)
    ]
    status = {"url": f"{_BASIC}status", "valueCode": document["status"]}
    basic: dict[str, Any] = {"resourceType": "Basic", "id": document["id"]}
    if "meta" in document:
        basic["meta"] = document["meta"]
    return orjson.dumps(basic | {"extension": extensions, "modifierExtension": [status], "code": BASIC_CODE})


def _extensions(name: str, value: Any, base: str = "") -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [_extension(name, one, base) for one in values]


def _extension(name: str, value: Any, base: str) -> dict[str, Any]:
    if isinstance(value, dict) and name not in _VALUES:
        return {
            "url": f"{base}{name}",
            "extension": [part for key, some in value.items() for part in _extensions(key, some)],
        }
    return {"url": f"{base}{name}", f"value{_VALUES.get(name, 'String')}": value}
