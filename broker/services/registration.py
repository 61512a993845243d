"""The rules by which a Subscription is accepted (R-170..R-176).

Every problem is reported at once, each with the element of the release in which the client wrote it. The same
rules serve registration and `$dry-run`.
"""

from collections.abc import Mapping
from dataclasses import replace

from broker.channels.base import Channel
from broker.errors import Issue, Unprocessable
from broker.fhir.conversion import can_convert
from broker.fhir.release import adapter
from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.registration import check_filters, filter_warnings
from broker.model.release import Release
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.model.topic import Topic, TopicStatus

_CHANNEL_TYPE_SYSTEMS = {
    None,
    "http://terminology.hl7.org/CodeSystem/subscription-channel-type",
    "http://fhir-broker.org/channel-types",
}


class RegistrationRules:
    """Checks Subscriptions against the topics, channels and search parameters that this broker serves."""

    def __init__(
        self, catalog: Catalog, context: SearchContext, channels: Mapping[str, Channel], base_url: str
    ) -> None:
        self._catalog = catalog
        self._context = context
        self._channels = channels
        self._base_url = base_url

    def channel_of(self, subscription: Subscription) -> Channel:
        """The channel of an accepted subscription."""
        return self._channels[subscription.channel.type.code]

    def accept(self, draft: Subscription) -> Subscription:
        """The subscription bound to its topic version, with its first status; raises `Unprocessable`.

        A subscription whose channel the broker does not push to needs no handshake and is active at once.
        """
        topic, issues = self._check_topic(draft)
        issues += self._check_channel(draft)
        if topic is not None:
            elements = adapter(draft.release).filter_elements(draft)
            issues += [
                Issue(problem.refusal, problem.text, elements[problem.index])
                for problem in check_filters(draft, topic, self._context)
            ]
            issues += self._check_content(draft, topic)
        if issues or topic is None:
            raise Unprocessable(*issues)
        status = draft.status
        if status is SubscriptionStatus.REQUESTED and not self.channel_of(draft).is_pushed:
            status = SubscriptionStatus.ACTIVE
        return replace(draft, topic_canonical=topic.canonical, status=status)

    def warnings(self, subscription: Subscription) -> tuple[Issue, ...]:
        """What the author of an accepted subscription should know about its filters."""
        topic = self._catalog.bound(subscription.topic_canonical)
        if topic is None:
            return ()
        return tuple(
            Issue("business-rule", text, severity="warning") for text in filter_warnings(subscription, topic)
        )

    def _check_topic(self, draft: Subscription) -> tuple[Topic | None, list[Issue]]:
        element = adapter(draft.release).element("topic")
        topic = self._catalog.resolve(draft.topic)
        if topic is None:
            topics_url = f"{self._base_url}/{draft.release}/{adapter(draft.release).topic_type}"
            text = f"The topic {draft.topic} is not known. Name one of the topics listed at {topics_url}."
            return None, [Issue("not-supported", text, element)]
        if topic.status is not TopicStatus.ACTIVE:
            text = f"The topic {topic.canonical} is {topic.status}. Name a topic that is active."
            return topic, [Issue("not-supported", text, element)]
        return topic, []

    def _check_channel(self, draft: Subscription) -> list[Issue]:
        element = adapter(draft.release).element
        channel_type = draft.channel.type
        channel = self._channels.get(channel_type.code)
        if channel is not None and channel_type.system not in _CHANNEL_TYPE_SYSTEMS:
            systems = " or ".join(sorted(filter(None, _CHANNEL_TYPE_SYSTEMS)))
            text = f"The system {channel_type.system!r} has no channel {channel_type.code!r}. Use {systems}."
            return [Issue("not-supported", text, element("channelType"))]
        if channel is None:
            offered = ", ".join(self._channels)
            text = f"The channel {channel_type.code!r} is not supported. Use one of: {offered}."
            return [Issue("not-supported", text, element("channelType"))]
        return [
            replace(issue, expression=element(issue.expression) if issue.expression else None)
            for issue in channel.check(draft.channel)
        ]

    def _check_content(self, draft: Subscription, topic: Topic) -> list[Issue]:
        """`full-resource` is accepted only where every focus can be written in the subscriber's release."""
        if draft.channel.content is not PayloadContent.FULL_RESOURCE:
            return []
        impossible = [
            f"{resource_type} from {source} to {draft.release}"
            for resource_type in sorted(topic.focus_types)
            for source in Release
            if not can_convert(resource_type, source, draft.release)
        ]
        if not impossible:
            return []
        text = f"full-resource needs a conversion that does not exist: {'; '.join(impossible)}. Use id-only."
        return [Issue("not-supported", text, adapter(draft.release).element("content"))]
