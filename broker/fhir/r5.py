"""R5 (5.0.0): the framework is native."""

from collections.abc import Sequence

import orjson

from broker.fhir import bundles, capabilities, native, topics, validation
from broker.fhir.capabilities import Capabilities
from broker.fhir.documents import parse
from broker.fhir.ownership import owned, to_native
from broker.model.change import Tenant
from broker.model.notification import Notification, NotificationType
from broker.model.release import Release
from broker.model.subscription import Subscription
from broker.model.topic import Topic


class R5:
    """`broker.fhir.release.ReleaseAdapter` of R5."""

    release = Release.R5
    version = "5.0.0"
    resource_types = validation.RESOURCE_TYPES[Release.R5]
    topic_type = "SubscriptionTopic"

    def validate(self, resource_type: str, body: bytes) -> None:
        validation.validate(Release.R5, resource_type, body)

    def parse_subscription(self, body: bytes, *, tenant: Tenant, id: str, now_ms: int) -> Subscription:
        return native.parse_subscription(body, version=self.version, tenant=tenant, id=id, now_ms=now_ms)

    def render_subscription(self, subscription: Subscription) -> bytes:
        if subscription.release is Release.R5:
            return owned(native.completed(subscription.document), subscription)
        carried = to_native(parse(subscription.document))
        return owned(orjson.dumps(native.render_subscription(subscription) | carried), subscription)

    def element(self, name: str) -> str:
        return native.element(name)

    def filter_places(self, subscription: Subscription) -> list[str]:
        return native.filter_places(subscription)

    def render_topic(self, topic: Topic) -> bytes:
        return topics.render_r5(topic)

    def render_notification(self, notification: Notification, *, base: str) -> bytes:
        """Never a response, and no request on the status entry (R-207)."""
        status = bundles.entry(
            f"urn:uuid:{bundles.status_id(notification)}", self.render_status(notification, base=base)
        )
        foci = [
            bundles.entry(
                f"{base}/{one.key.reference}", one.body, request={"method": one.method, "url": one.url}
            )
            for one in bundles.carried(notification)
        ]
        return bundles.notification_bundle(notification, "subscription-notification", status, foci)

    def render_status(self, notification: Notification, *, base: str) -> bytes:
        # sst-1: a query-event without any event has no valid form in R5
        is_empty_answer = notification.type is NotificationType.QUERY_EVENT and not notification.foci
        kind = NotificationType.QUERY_STATUS if is_empty_answer else notification.type
        return bundles.subscription_status(notification, base, kind)

    def capability_statement(self, topics_known: Sequence[Topic], offered: Capabilities) -> bytes:
        del topics_known  # R5 clients search SubscriptionTopic
        words = capabilities.ReleaseWords(
            self.version, self.resource_types, self.topic_type, is_backport=False, instantiates=None
        )
        return capabilities.capability_statement(words, offered)
