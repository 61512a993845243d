"""Reads SubscriptionTopics in the form of R5 or R4B into the neutral model (R-010..R-074).

The topics folder, the topic log and the HTTP API call `parse_topic`.
"""

from collections.abc import Iterator

from broker.errors import Unprocessable
from broker.fhir.element_reader import ElementReader
from broker.fhir.payload_elements import read_topic_elements
from broker.fhir.r5_subscriptions import type_name
from broker.fhir.related_queries import RELATED_QUERY
from broker.fhir.validation import validate
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.resource import Resource
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
EXCLUDE_UNFILTERED_TYPES = "http://fhir-broker.org/fhir/StructureDefinition/exclude-unfiltered-types"
"""True: a subscription with filters gets no events about types to which none of its filters applies."""
_EQUALITY = "="
"""R4B's word for a filter without a comparator (R-062)."""


def _result(reader: ElementReader, name: str) -> bool | None:
    match reader.string(name):
        case None:
            return None
        case "test-passes":
            return True
        case "test-fails":
            return False
        case _:
            reader.refuse("value", "must be test-passes or test-fails", name)
            return None


def _resource(reader: ElementReader) -> str:
    return type_name(reader.string("resource", required=True) or "")


def _resource_trigger(reader: ElementReader) -> ResourceTrigger:
    interactions = set()
    for code in reader.strings("supportedInteraction"):
        try:
            interactions.add(Interaction(code))
        except ValueError:
            reader.refuse(
                "value",
                f"{code!r} is not an interaction; use create, update or delete",
                "supportedInteraction",
            )
    query = None
    if reader.has("queryCriteria"):
        criteria = reader.object("queryCriteria")
        query = QueryCriteria(
            criteria.string("previous"),
            criteria.string("current"),
            _result(criteria, "resultForCreate"),
            _result(criteria, "resultForDelete"),
            require_both=criteria.fields.get("requireBoth") is True,
        )
    return ResourceTrigger(
        _resource(reader),
        frozenset(interactions or Interaction),
        query,
        reader.string("fhirPathCriteria"),
        reader.string("description"),
    )


def _event_trigger(reader: ElementReader) -> EventTrigger:
    codings = tuple(_coding(coding) for coding in reader.object("event", required=True).objects("coding"))
    return EventTrigger(_resource(reader), codings, reader.string("description"))


def _filter_definition(reader: ElementReader) -> FilterDefinition:
    modifiers = set(reader.strings("modifier"))
    # R4B lists comparators among the modifiers, and `=` for none
    comparators = set(reader.strings("comparator")) | (modifiers & _COMPARATORS)
    modifiers -= _COMPARATORS | {_EQUALITY}
    if unknown := comparators - _COMPARATORS:
        reader.refuse("value", f"{min(unknown)!r} is not a comparator", "comparator")
    if unknown := modifiers - set(Modifier):
        reader.refuse("value", f"{min(unknown)!r} is not a modifier", "modifier")
    resource_type = reader.string("resource")
    return FilterDefinition(
        reader.string("filterParameter", required=True) or "",
        type_name(resource_type) if resource_type else None,
        frozenset(Comparator(code) for code in comparators & _COMPARATORS),
        frozenset(modifiers),
        reader.string("filterDefinition"),
        reader.string("description"),
    )


def _related_queries(shape: ElementReader) -> Iterator[RelatedQuery]:
    """The queries of the backport-related-query extensions of a shape (R-074)."""
    for extension in shape.objects("extension"):
        if extension.fields.get("url") != RELATED_QUERY:
            continue
        parts = {part.fields.get("url"): part for part in extension.objects("extension")}
        query = parts["query"].string("valueString", required=True) if "query" in parts else None
        if query is None:
            extension.refuse("required", "a related query needs a query", "extension")
            continue
        query_type = _coding(parts["queryType"].object("valueCoding")) if "queryType" in parts else None
        yield RelatedQuery(type_name(shape.string("resource") or ""), query, query_type)


def _excludes_unfiltered_types(root: ElementReader) -> bool:
    """The broker's own extension; US Core's patient-data-feed expects what it says."""
    for extension in root.objects("extension"):
        if extension.fields.get("url") == EXCLUDE_UNFILTERED_TYPES:
            value = extension.fields.get("valueBoolean")
            if not isinstance(value, bool):
                extension.refuse("value", "must have a valueBoolean", "valueBoolean")
            return value is True
    return False


def _coding(reader: ElementReader) -> Coding:
    return Coding(
        reader.string("system"), reader.string("code", required=True) or "", reader.string("display")
    )


def _release_of(root: ElementReader, resource: Resource) -> Release:
    """The release whose form the topic has.

    Raises `Unprocessable` with the errors of R5 if it is valid in neither.
    """
    try:
        validate(Release.R5, "SubscriptionTopic", resource)
    except Unprocessable as error:
        try:
            validate(Release.R4B, "SubscriptionTopic", resource)
        except Unprocessable:
            raise error from None
        return Release.R4B
    # a form of R4B that the models of R5 accept too
    if any(
        (_COMPARATORS | {_EQUALITY}) & set(each.strings("modifier")) for each in root.objects("canFilterBy")
    ):
        return Release.R4B
    return Release.R5


def parse_topic(resource: Resource) -> Topic:
    """A topic in the form of R5 or R4B. Raises `Malformed`, or `Unprocessable` with all problems."""
    root = ElementReader(resource.fields, "SubscriptionTopic")
    if resource.fields.get("resourceType") != "SubscriptionTopic":
        root.refuse("structure", "this is not a SubscriptionTopic", "resourceType")
        root.finish()
    release = _release_of(root, resource)
    status = root.string("status", required=True) or ""
    if status and status not in set(TopicStatus):
        root.refuse("value", f"{status!r} is not a status; use one of {', '.join(TopicStatus)}", "status")
    topic = Topic(
        id=root.string("id", required=True) or "",
        url=root.string("url", required=True) or "",
        version=root.string("version"),
        status=TopicStatus(status) if status in set(TopicStatus) else TopicStatus.UNKNOWN,
        title=root.string("title"),
        resource_triggers=tuple(_resource_trigger(trigger) for trigger in root.objects("resourceTrigger")),
        event_triggers=tuple(_event_trigger(trigger) for trigger in root.objects("eventTrigger")),
        filters=tuple(_filter_definition(each) for each in root.objects("canFilterBy")),
        shapes=tuple(
            NotificationShape(
                _resource(shape),
                tuple(shape.strings("include")),
                tuple(shape.strings("revInclude")),
                tuple(_related_queries(shape)),
                read_topic_elements(shape),
            )
            for shape in root.objects("notificationShape")
        ),
        derived_from=tuple(root.strings("derivedFrom")),
        document=resource.text,
        release=release,
        sends_unfiltered_types=not _excludes_unfiltered_types(root),
    )
    root.finish()
    return topic
