"""R4 (4.0.1): Subscriptions by the backport profile, the status as Parameters, topics as Basic."""

from collections.abc import Sequence
from typing import Any

import orjson

from broker.clock import to_instant
from broker.fhir import backport, bundles, capabilities, topics, validation
from broker.fhir.capabilities import Capabilities
from broker.fhir.r4b import R4B
from broker.model.notification import Focus, Notification
from broker.model.release import Release
from broker.model.subscription import PayloadContent
from broker.model.topic import Topic

_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/CapabilityStatement/"


class R4(R4B):
    """`broker.fhir.release.ReleaseAdapter` of R4."""

    release = Release.R4
    version = "4.0.1"
    resource_types = validation.RESOURCE_TYPES[Release.R4]
    topic_type = "Basic"

    def validate(self, resource_type: str, body: bytes) -> None:
        validation.validate(Release.R4, resource_type, body)

    def render_topic(self, topic: Topic) -> bytes:
        return topics.render_basic(topic)

    def render_notification(self, notification: Notification, *, base: str) -> bytes:
        status = bundles.history_status(notification, base, self.render_status(notification, base=base))
        profile = f"{backport.BASE}backport-subscription-notification-r4"
        return bundles.notification_bundle(
            notification, "history", status, bundles.history_foci(notification, base), profile
        )

    def render_status(self, notification: Notification, *, base: str) -> bytes:
        """Parameters by backport-subscription-status-r4 (R-230..R-238)."""
        about = {"reference": f"{base}/Subscription/{notification.subscription}"}
        parameters: list[dict[str, Any]] = [{"name": "subscription", "valueReference": about}]
        if bundles.shows_topic(notification):
            parameters.append({"name": "topic", "valueCanonical": notification.topic})
        parameters += [
            {"name": "status", "valueCode": notification.status},
            {"name": "type", "valueCode": notification.type},
            {"name": "events-since-subscription-start", "valueString": str(notification.events_since_start)},
        ]
        for focus in notification.foci:
            parameters.append({"name": "notification-event", "part": _parts(focus, notification, base)})
        parameters += [
            {"name": "error", "valueCodeableConcept": bundles.error_concept(error)}
            for error in notification.errors
        ]
        profile = f"{backport.BASE}backport-subscription-status-r4"
        return orjson.dumps(
            {
                "resourceType": "Parameters",
                "id": bundles.status_id(notification),
                "meta": {"profile": [profile]},
                "parameter": parameters,
            }
        )

    def capability_statement(self, topics_known: Sequence[Topic], offered: Capabilities) -> bytes:
        extension = f"{backport.BASE}capabilitystatement-subscriptiontopic-canonical"
        words = capabilities.ReleaseWords(
            self.version,
            self.resource_types,
            self.topic_type,
            is_backport=True,
            instantiates=f"{_GUIDE}backport-subscription-server-r4",
            subscription_extensions=[
                {"url": extension, "valueCanonical": topic.canonical} for topic in topics_known
            ],
            profile=backport.PROFILE,
        )
        return capabilities.capability_statement(words, offered)


def _parts(focus: Focus, notification: Notification, base: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"name": "event-number", "valueString": str(focus.event.number)},
        {"name": "timestamp", "valueInstant": to_instant(focus.event.at_ms)},
    ]
    if notification.content is not PayloadContent.EMPTY:
        parts.append({"name": "focus", "valueReference": bundles.focus_reference(focus.event, base)})
        parts += [
            {"name": "additional-context", "valueReference": one}
            for one in bundles.context_references(focus.event, base)
        ]
    for query in notification.related_to(focus.event):
        typed = [{"name": "query-type", "valueCoding": bundles.coding(query.type)}] if query.type else []
        parts.append(
            {"name": "related-query", "part": [*typed, {"name": "query", "valueString": query.query}]}
        )
    return parts
