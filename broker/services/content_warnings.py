"""Which resources a full-resource subscription can receive, by the release in which they were written.

Registration refuses a subscription that could receive none, and warns of one that depends on the producer.
"""

from collections import defaultdict

from broker.fhir.conversion import can_convert
from broker.fhir.payload_elements import element_limits
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.matching.definitions import ANY_TYPE
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription
from broker.model.topic import Topic


def can_send(resource_type: str, release: Release) -> bool:
    """Whether any resource of the type can be sent in that release."""
    return resource_type == ANY_TYPE or any(can_convert(resource_type, source, release) for source in Release)


def content_warnings(subscription: Subscription, topic: Topic) -> list[str]:
    """For the author of an accepted subscription: what its notifications can't include."""
    if subscription.channel.content is not PayloadContent.FULL_RESOURCE:
        return []
    target = subscription.release
    types_by_sources: defaultdict[tuple[Release, ...], list[str]] = defaultdict(list)
    for resource_type in sorted(topic.focus_types):
        sources = tuple(source for source in Release if _is_left_out(resource_type, source, target))
        name = "a resource of most types" if resource_type == ANY_TYPE else resource_type
        types_by_sources[sources].append(name)
    conversions = [
        f"{', '.join(types)}: what was written at {' or '.join(map(str.upper, sources))} can't be converted "
        f"to {target.upper()}. Its notification refers to it without its content, and the status says why."
        for sources, types in types_by_sources.items()
        if sources
    ]
    return [*conversions, *_withheld_elements(subscription, topic)]


def _withheld_elements(subscription: Subscription, topic: Topic) -> list[str]:
    """Elements that the subscriber names and the topic does not allow."""
    limits = element_limits((), topic.elements)
    names = [
        name
        for name in subscription.elements
        for resource_type, _, element in (name.partition("."),)
        if element not in limits.get(resource_type, {element})
    ]
    return [f"The topic does not send {', '.join(names)}."] if names else []


def _is_left_out(resource_type: str, source: Release, target: Release) -> bool:
    """Whether a producer can write the type in a release from which it does not convert."""
    if resource_type == ANY_TYPE:
        return source is not target
    return resource_type in RESOURCE_TYPES[source] and not can_convert(resource_type, source, target)
