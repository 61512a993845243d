"""Checks what a topic names: its own url, and resource types that exist.

A topic that names a type by mistake (`Observations`) would be active and never fire.
"""

import difflib
import re
from collections.abc import Iterator

from broker.fhir.resource_types import RESOURCE_TYPES
from broker.matching.context import SearchContext
from broker.matching.criteria import BadTopic
from broker.matching.definitions import ANY_TYPE
from broker.matching.problems import TopicProblem
from broker.matching.vocabulary import unknown_codes
from broker.model.topic import CriteriaKind, Topic, TopicLocation, TopicPart

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s|]+")
_TYPES = frozenset[str]().union(*RESOURCE_TYPES.values()) | {ANY_TYPE}


def check_names(topic: Topic, context: SearchContext) -> Iterator[TopicProblem]:
    """Errors, which keep the topic from being loaded (R-010, R-020)."""
    if not _ABSOLUTE.fullmatch(topic.url):
        text = f"the url {topic.url} is not absolute; subscriptions name the topic by it: write https://…"
        yield TopicProblem(text)
    named = [
        (trigger.resource, TopicLocation(TopicPart.RESOURCE_TRIGGER, index))
        for index, trigger in enumerate(topic.resource_triggers)
    ]
    named += [
        (trigger.resource, TopicLocation(TopicPart.EVENT_TRIGGER, index))
        for index, trigger in enumerate(topic.event_triggers)
    ]
    named += [
        (definition.resource, TopicLocation(TopicPart.FILTER_DEFINITION, index))
        for index, definition in enumerate(topic.filters)
        if definition.resource is not None
    ]
    named += [
        (shape.resource, TopicLocation(TopicPart.NOTIFICATION_SHAPE, index))
        for index, shape in enumerate(topic.shapes)
    ]
    for name, location in named:
        if name not in _TYPES:
            yield TopicProblem(f"{name} is no resource type{_suggestion(name)}", location)
    yield from _check_codes(topic, context)


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, _TYPES, n=1)
    return f"; do you mean {close[0]}?" if close else ""


def _check_codes(topic: Topic, context: SearchContext) -> Iterator[TopicProblem]:
    """Codes in queries that no release has: no resource ever has them."""
    for index, trigger in enumerate(topic.resource_triggers):
        if trigger.query is None:
            continue
        location = TopicLocation(TopicPart.RESOURCE_TRIGGER, index, CriteriaKind.QUERY)
        for query in (trigger.query.previous, trigger.query.current):
            try:
                unknown = unknown_codes(query, trigger.resource, context) if query is not None else []
            except BadTopic:
                continue  # `check_triggers` gives the reason
            if unknown:
                yield TopicProblem(f"no release of FHIR has the code {', '.join(unknown)}", location)
