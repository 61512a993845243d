"""R4B (4.3.0): Subscriptions by the backport profile; SubscriptionTopic and SubscriptionStatus are resources already."""

from collections.abc import Sequence

import orjson

from broker.fhir import backport, bundles, capabilities, topics, validation
from broker.fhir.capabilities import Capabilities
from broker.fhir.documents import parse
from broker.fhir.ownership import from_native, owned
from broker.model.change import Tenant
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.subscription import Subscription
from broker.model.topic import Topic

_GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/CapabilityStatement/"


class R4B:
    """`broker.fhir.release.ReleaseAdapter` of R4B."""

    release = Release.R4B
    version = "4.3.0"
    resource_types = validation.RESOURCE_TYPES[Release.R4B]
    topic_type = "SubscriptionTopic"

    def validate(self, resource_type: str, body: bytes) -> None:
        validation.validate(Release.R4B, resource_type, body)

    def parse_subscription(self, body: bytes, *, tenant: Tenant, id: str, now_ms: int) -> Subscription:
        return backport.parse_subscription(
            body, release=self.release, version=self.version, tenant=tenant, id=id, now_ms=now_ms
        )

    def render_subscription(self, subscription: Subscription) -> bytes:
        document = subscription.document
        if subscription.release is Release.R5:
            rendered, carried = backport.render_subscription(subscription), from_native(parse(document))
            meta = rendered["meta"] | carried.pop("meta", {})
            document = orjson.dumps(rendered | carried | {"meta": meta})
        return owned(document, subscription, with_error=True)

    def element(self, name: str) -> str:
        return backport.element(name)

    def filter_places(self, subscription: Subscription) -> list[str]:
        return backport.filter_places(subscription)

    def render_topic(self, topic: Topic) -> bytes:
        return topics.render_r4b(topic)

    def render_notification(self, notification: Notification, *, base: str) -> bytes:
        status = bundles.history_status(notification, base, self.render_status(notification, base=base))
        profile = f"{backport.BASE}backport-subscription-notification"
        return bundles.notification_bundle(
            notification, "history", status, bundles.history_foci(notification, base), profile
        )

    def render_status(self, notification: Notification, *, base: str) -> bytes:
        return bundles.subscription_status(notification, base, notification.type, related=True)

    def capability_statement(self, topics_known: Sequence[Topic], offered: Capabilities) -> bytes:
        del topics_known  # R4B clients search SubscriptionTopic
        words = capabilities.ReleaseWords(
            self.version,
            self.resource_types,
            self.topic_type,
            is_backport=True,
            instantiates=f"{_GUIDE}backport-subscription-server",
            profile=backport.PROFILE,
        )
        return capabilities.capability_statement(words, offered)
