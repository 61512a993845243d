"""The search parameters of SubscriptionTopic (at the R4 base: Basic) in each release (R-387)."""

from collections.abc import Iterable, Iterator, Mapping

from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.search import ParameterType
from broker.model.topic import Topic
from broker.services.search import Fields, SearchField

_TOKEN, _STRING = ParameterType.TOKEN, ParameterType.STRING
_URI, _DATE = ParameterType.URI, ParameterType.DATE


def _identifiers(topic: Topic) -> Iterator[str]:
    for identifier in Resource(topic.document).fields.get("identifier", ()):
        yield f"{identifier.get('system', '')}|{identifier.get('value', '')}"


def _spellings(names: Iterable[str | None]) -> Iterator[str]:
    """A type is found by its name and by the URL of its StructureDefinition (R-020)."""
    for name in names:
        if name is not None:
            yield from (name, f"http://hl7.org/fhir/StructureDefinition/{name}")


def _trigger_resources(topic: Topic) -> Iterator[str]:
    return _spellings(trigger.resource for trigger in topic.resource_triggers)


def _all_resources(topic: Topic) -> Iterator[str]:
    yield from _spellings(topic.focus_types)
    yield from _spellings(definition.resource for definition in topic.filters)
    yield from _spellings(shape.resource for shape in topic.shapes)


def _events(topic: Topic) -> Iterator[str]:
    for trigger in topic.event_triggers:
        yield from (f"{coding.system or ''}|{coding.code}" for coding in trigger.codings)


def _effective(topic: Topic) -> Iterator[str | None]:
    period = Resource(topic.document).fields.get("effectivePeriod")
    yield f"{period.get('start', '')}/{period.get('end', '')}" if period else None


def _last_updated(topic: Topic) -> Iterator[str | None]:
    yield Resource(topic.document).fields.get("meta", {}).get("lastUpdated")


_COMMON: Fields[Topic] = {
    "_id": SearchField(_TOKEN, lambda topic: [topic.id]),
    "_lastUpdated": SearchField(_DATE, _last_updated),
    "date": SearchField(_DATE, lambda topic: [Resource(topic.document).fields.get("date")]),
    "derived-or-self": SearchField(_URI, lambda topic: [topic.url, *topic.derived_from]),
    "identifier": SearchField(_TOKEN, _identifiers),
    "resource": SearchField(_URI, _trigger_resources),
    "status": SearchField(_TOKEN, lambda topic: [topic.status]),
    "title": SearchField(_STRING, lambda topic: [topic.title]),
    "trigger-description": SearchField(
        _STRING, lambda topic: [trigger.description for trigger in topic.resource_triggers]
    ),
    "url": SearchField(_URI, lambda topic: [topic.url]),
    "version": SearchField(_TOKEN, lambda topic: [topic.version]),
}
TOPIC_FIELDS: Mapping[Release, Fields[Topic]] = {
    Release.R4: {
        "_id": _COMMON["_id"],
        "_lastUpdated": _COMMON["_lastUpdated"],
        "code": SearchField(_TOKEN, lambda _: ["http://hl7.org/fhir/fhir-types|SubscriptionTopic"]),
    },
    Release.R4B: _COMMON,
    Release.R5: {
        **_COMMON,
        "resource": SearchField(_URI, _all_resources),
        "effective": SearchField(_DATE, _effective),
        "event": SearchField(_TOKEN, _events),
    },
}
