"""R4 (4.0.1): Subscriptions by the backport guide, the status as Parameters, topics as Basic."""

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir import topic_rendering
from broker.fhir.backport_urls import BASE, PROFILE
from broker.fhir.capabilities import (
    Capabilities,
    CapabilityVocabulary,
    capability_statement,
    topic_extensions,
)
from broker.fhir.r4b import R4B
from broker.fhir.related_queries import coding
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.subscription_status import (
    context_references,
    error_concept,
    reference_to,
    shows_topic,
    status_id,
    subscription_reference,
)
from broker.model.notification import Focus, Notification
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import PayloadContent
from broker.model.topic import Topic

_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/CapabilityStatement/"


class R4(R4B):
    """`broker.fhir.release.ReleaseAdapter` of R4."""

    release = Release.R4
    version = "4.0.1"
    resource_types = RESOURCE_TYPES[Release.R4]
    topic_type = "Basic"
    notification_profile = f"{BASE}backport-subscription-notification-r4"

    def render_topic(self, topic: Topic) -> Resource:
        return topic_rendering.render_basic(topic)

    def render_status(self, notification: Notification, *, base: str) -> Resource:
        """Parameters by backport-subscription-status-r4 (R-230..R-238)."""
        parameters: list[dict[str, Any]] = [
            {"name": "subscription", "valueReference": subscription_reference(notification, base)}
        ]
        if shows_topic(notification):
            parameters.append({"name": "topic", "valueCanonical": notification.topic})
        parameters += [
            {"name": "status", "valueCode": notification.status},
            {"name": "type", "valueCode": notification.type},
            {"name": "events-since-subscription-start", "valueString": str(notification.events_since_start)},
        ]
        ambiguous = notification.ambiguous_references
        for focus in notification.foci:
            parts = _parts(focus, notification, base, ambiguous)
            parameters.append({"name": "notification-event", "part": parts})
        parameters += [
            {"name": "error", "valueCodeableConcept": error_concept(report)}
            for report in notification.reports
        ]
        profile = f"{BASE}backport-subscription-status-r4"
        members = {
            "resourceType": "Parameters",
            "id": status_id(notification),
            "meta": {"profile": [profile]},
            "parameter": parameters,
        }
        return Resource(orjson.dumps(members))

    def capability_statement(self, topics: Sequence[Topic], capabilities: Capabilities) -> Resource:
        vocabulary = CapabilityVocabulary(
            self.version,
            self.resource_types,
            self.topic_type,
            is_backport=True,
            instantiates=f"{_GUIDE}backport-subscription-server-r4",
            subscription_extensions=topic_extensions(topics),
            profile=PROFILE,
        )
        return capability_statement(vocabulary, capabilities)


def _parts(
    focus: Focus, notification: Notification, base: str, ambiguous: Collection[str]
) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"name": "event-number", "valueString": str(focus.event.number)},
        {"name": "timestamp", "valueInstant": to_instant(focus.event.at_ms)},
    ]
    if notification.content is not PayloadContent.EMPTY:
        parts.append({"name": "focus", "valueReference": reference_to(focus.event.focus, base, ambiguous)})
        parts += [
            {"name": "additional-context", "valueReference": reference}
            for reference in context_references(focus.event, base, ambiguous)
        ]
    for query in notification.related_to(focus.event):
        query_type = [{"name": "query-type", "valueCoding": coding(query.type)}] if query.type else []
        query_parts = [*query_type, {"name": "query", "valueString": query.query}]
        parts.append({"name": "related-query", "part": query_parts})
    return parts
