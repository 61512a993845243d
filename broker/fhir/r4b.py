"""R4B (4.3.0): Subscriptions by the backport guide, SubscriptionTopic and SubscriptionStatus as in R5."""

from collections.abc import Sequence

from broker.fhir import backport_rendering, backport_subscriptions, topic_rendering
from broker.fhir.backport_urls import BASE, PROFILE
from broker.fhir.capabilities import (
    Capabilities,
    CapabilityVocabulary,
    capability_statement,
    topic_extensions,
)
from broker.fhir.cross_release_subscriptions import elements_for_r4
from broker.fhir.notification_bundles import history_bundle
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.server_elements import with_server_elements
from broker.fhir.subscription_status import subscription_status
from broker.fhir.validation import validate
from broker.model import json_text
from broker.model.change import Tenant
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription
from broker.model.topic import Topic

_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/CapabilityStatement/"


class R4B:
    """`broker.fhir.release.ReleaseAdapter` of R4B."""

    release = Release.R4B
    version = "4.3.0"
    resource_types = RESOURCE_TYPES[Release.R4B]
    topic_type = "SubscriptionTopic"

    notification_profile = f"{BASE}backport-subscription-notification"

    def validate(self, resource_type: str, resource: Resource) -> None:
        validate(self.release, resource_type, resource)

    def parse_subscription(self, resource: Resource, *, tenant: Tenant, id: str) -> Subscription:
        return backport_subscriptions.parse_subscription(
            resource, release=self.release, version=self.version, tenant=tenant, id=id
        )

    def render_subscription(self, subscription: Subscription) -> Resource:
        document = Resource(subscription.document)
        if subscription.release is Release.R5:
            rendered = backport_rendering.render_subscription(subscription)
            kept = elements_for_r4(document)
            meta = rendered["meta"] | kept.pop("meta", {})
            document = Resource(json_text.encode(rendered | kept | {"meta": meta}))
        return with_server_elements(document, subscription, with_error=True)

    def element(self, name: str) -> str:
        return backport_subscriptions.element(name)

    def filter_elements(self, subscription: Subscription) -> list[str]:
        return backport_subscriptions.filter_elements(subscription)

    def render_topic(self, topic: Topic) -> Resource:
        return topic_rendering.render_r4b(topic)

    def render_notification(self, notification: Notification, *, base: str) -> Resource:
        status = self.render_status(notification, base=base)
        return history_bundle(notification, base, status, self.notification_profile)

    def render_status(self, notification: Notification, *, base: str) -> Resource:
        return subscription_status(notification, base, notification.type, with_related_queries=True)

    def capability_statement(self, topics: Sequence[Topic], capabilities: Capabilities) -> Resource:
        vocabulary = CapabilityVocabulary(
            self.version,
            self.resource_types,
            self.topic_type,
            is_backport=True,
            instantiates=f"{_GUIDE}backport-subscription-server",
            subscription_extensions=topic_extensions(topics),
            profile=PROFILE,
        )
        return capability_statement(vocabulary, capabilities)
