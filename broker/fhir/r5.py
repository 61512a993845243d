"""R5 (5.0.0): the subscriptions framework is part of the release."""

from collections.abc import Sequence

from broker.fhir import r5_subscriptions, topic_rendering
from broker.fhir.bundles import entry
from broker.fhir.capabilities import Capabilities, CapabilityVocabulary, capability_statement
from broker.fhir.cross_release_subscriptions import elements_for_r5
from broker.fhir.notification_bundles import notification_bundle, notified_resources
from broker.fhir.resource_types import RESOURCE_TYPES
from broker.fhir.server_elements import with_server_elements
from broker.fhir.subscription_status import status_id, subscription_status
from broker.fhir.validation import validate
from broker.model import json_text
from broker.model.change import Tenant
from broker.model.notification import Notification, NotificationType
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import Subscription
from broker.model.topic import Topic


class R5:
    """`broker.fhir.release.ReleaseAdapter` of R5."""

    release = Release.R5
    version = "5.0.0"
    resource_types = RESOURCE_TYPES[Release.R5]
    topic_type = "SubscriptionTopic"

    def validate(self, resource_type: str, resource: Resource) -> None:
        validate(Release.R5, resource_type, resource)

    def parse_subscription(self, resource: Resource, *, tenant: Tenant, id: str) -> Subscription:
        return r5_subscriptions.parse_subscription(resource, version=self.version, tenant=tenant, id=id)

    def render_subscription(self, subscription: Subscription) -> Resource:
        document = Resource(subscription.document)
        if subscription.release is Release.R5:
            return with_server_elements(r5_subscriptions.with_defaults(document), subscription)
        elements = r5_subscriptions.render_subscription(subscription) | elements_for_r5(document)
        return with_server_elements(Resource(json_text.encode(elements)), subscription)

    def element(self, name: str) -> str:
        return r5_subscriptions.element(name)

    def filter_elements(self, subscription: Subscription) -> list[str]:
        return r5_subscriptions.filter_elements(subscription)

    def render_topic(self, topic: Topic) -> Resource:
        return topic_rendering.render_r5(topic)

    def render_notification(self, notification: Notification, *, base: str) -> Resource:
        """Without responses, and without a request on the status entry (R-207)."""
        status = self.render_status(notification, base=base)
        entries = [
            entry(
                each.full_url(base),
                each.resource,
                request={"method": each.method, "url": each.url},
            )
            for each in notified_resources(notification)
        ]
        return notification_bundle(
            notification,
            "subscription-notification",
            entry(f"urn:uuid:{status_id(notification)}", status),
            entries,
        )

    def render_status(self, notification: Notification, *, base: str) -> Resource:
        # sst-1: a query-event without any event has no valid form in R5
        is_empty_answer = notification.type is NotificationType.QUERY_EVENT and not notification.foci
        status_type = NotificationType.QUERY_STATUS if is_empty_answer else notification.type
        return subscription_status(notification, base, status_type)

    def capability_statement(self, topics: Sequence[Topic], capabilities: Capabilities) -> Resource:
        del topics  # clients of R5 search SubscriptionTopic
        vocabulary = CapabilityVocabulary(
            self.version, self.resource_types, self.topic_type, is_backport=False, instantiates=None
        )
        return capability_statement(vocabulary, capabilities)
