"""SubscriptionTopic, at the R4 base as Basic: read and search (R-387)."""

from collections.abc import Iterable, Mapping

from broker.api import resources
from broker.api.responses import Call, Reply
from broker.api.search import Field
from broker.api.searchsets import respond, with_form
from broker.errors import Issue, NotFound
from broker.fhir.documents import parse
from broker.model.release import Release
from broker.model.search import ParameterType
from broker.model.topic import Topic


async def read(call: Call) -> Reply:
    refuse_where_unknown(call)
    return _read(call)


def _read(call: Call) -> Reply:
    topic = call.services.catalog.get(call.params["id"])
    if topic is None:
        name = f"{call.adapter.topic_type}/{call.params['id']}"
        raise NotFound(
            Issue("not-found", f"there is no {name}; {call.url(call.adapter.topic_type)} lists the topics")
        )
    return Reply(body=call.adapter.render_topic(topic))


async def find(call: Call) -> Reply:
    refuse_where_unknown(call)
    return _find(call)


async def find_by_form(call: Call) -> Reply:
    return await find(with_form(call))


async def read_basic(call: Call) -> Reply:
    """A topic where it is one, else whatever Basic a producer stored."""
    if call.adapter.topic_type == "Basic" and call.services.catalog.get(call.params["id"]):
        return _read(call)
    return await resources.read(call._replace(params={**call.params, "type": "Basic"}))


async def find_basic(call: Call) -> Reply:
    if call.adapter.topic_type != "Basic":
        return await resources.refuse_search(call._replace(params={"type": "Basic"}))
    return _find(call)


async def find_basic_by_form(call: Call) -> Reply:
    return await find_basic(with_form(call))


def refuse_where_unknown(call: Call) -> None:
    if call.adapter.topic_type != "SubscriptionTopic":
        text = f"FHIR {call.adapter.version} has no SubscriptionTopic; {call.url('Basic?code=SubscriptionTopic')} lists the topics"
        raise NotFound(Issue("not-supported", text))


def _find(call: Call) -> Reply:
    topics = call.services.catalog.all()
    return respond(call, call.adapter.topic_type, FIELDS[call.release], topics, call.adapter.render_topic)


def _identifiers(topic: Topic) -> Iterable[str]:
    for one in parse(topic.document).get("identifier", ()):
        yield f"{one.get('system', '')}|{one.get('value', '')}"


def _spellings(names: Iterable[str | None]) -> Iterable[str]:
    """A type may be asked for by its name or by its StructureDefinition's URL (R-020)."""
    for name in names:
        if name is not None:
            yield from (name, f"http://hl7.org/fhir/StructureDefinition/{name}")


def _trigger_resources(topic: Topic) -> Iterable[str]:
    return _spellings(trigger.resource for trigger in topic.resource_triggers)


def _all_resources(topic: Topic) -> Iterable[str]:
    yield from _spellings(topic.focus_types)
    yield from _spellings(one.resource for one in topic.filters)
    yield from _spellings(shape.resource for shape in topic.shapes)


def _events(topic: Topic) -> Iterable[str]:
    for trigger in topic.event_triggers:
        yield from (f"{coding.system or ''}|{coding.code}" for coding in trigger.codings)


def _effective(topic: Topic) -> Iterable[str | None]:
    period = parse(topic.document).get("effectivePeriod")
    yield f"{period.get('start', '')}/{period.get('end', '')}" if period else None


def _last_updated(topic: Topic) -> Iterable[str | None]:
    yield parse(topic.document).get("meta", {}).get("lastUpdated")


_Fields = Mapping[str, Field[Topic]]
_TOKEN, _STRING, _URI, _DATE = (
    ParameterType.TOKEN,
    ParameterType.STRING,
    ParameterType.URI,
    ParameterType.DATE,
)
_COMMON: _Fields = {
    "_id": Field(_TOKEN, lambda topic: [topic.id]),
    "_lastUpdated": Field(_DATE, _last_updated),
    "date": Field(_DATE, lambda topic: [parse(topic.document).get("date")]),
    "derived-or-self": Field(_URI, lambda topic: [topic.url, *topic.derived_from]),
    "identifier": Field(_TOKEN, _identifiers),
    "resource": Field(_URI, _trigger_resources),
    "status": Field(_TOKEN, lambda topic: [topic.status]),
    "title": Field(_STRING, lambda topic: [topic.title]),
    "trigger-description": Field(
        _STRING, lambda topic: [trigger.description for trigger in topic.resource_triggers]
    ),
    "url": Field(_URI, lambda topic: [topic.url]),
    "version": Field(_TOKEN, lambda topic: [topic.version]),
}
FIELDS: Mapping[Release, _Fields] = {
    Release.R4: {
        "_id": _COMMON["_id"],
        "_lastUpdated": _COMMON["_lastUpdated"],
        "code": Field(_TOKEN, lambda _: ["http://hl7.org/fhir/fhir-types|SubscriptionTopic"]),
    },
    Release.R4B: _COMMON,
    Release.R5: {
        **_COMMON,
        "resource": Field(_URI, _all_resources),
        "effective": Field(_DATE, _effective),
        "event": Field(_TOKEN, _events),
    },
}
