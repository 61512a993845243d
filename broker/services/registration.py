"""The rules by which a Subscription is accepted (R-170..R-176).

Every problem is reported at once, each with the element of the release in which the client wrote it. The same
rules serve registration and `$dry-run`.
"""

from collections.abc import Mapping
from dataclasses import replace

from broker.channels.base import Channel
from broker.errors import Forbidden, Issue, TooLarge, Unprocessable
from broker.fhir.channel_types import system_of, systems_with
from broker.fhir.payload_elements import element_limits
from broker.fhir.release import adapter
from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE
from broker.matching.exposure import exposed_types, tested_types
from broker.matching.registration import check_filters, filter_warnings
from broker.model.principal import Principal
from broker.model.resource import Resource
from broker.model.scopes import ANY_TYPE as EVERY_TYPE
from broker.model.scopes import Scope, alternatives, covers
from broker.model.subscription import PayloadContent, Subscription, SubscriptionStatus
from broker.model.topic import Topic, TopicStatus
from broker.services.content_warnings import can_send, content_warnings
from broker.services.ends import EndRule

_EVERYTHING = Scope("system", EVERY_TYPE, "r")


MAX_BYTES = 65_536
MAX_FILTERS = 250
MAX_HEADERS = 50
"""Of one Subscription: reading and checking a larger one would hold up the requests of others for seconds."""


class RegistrationRules:
    """Checks Subscriptions against the topics, channels and search parameters that this broker serves."""

    def __init__(
        self,
        catalog: Catalog,
        context: SearchContext,
        channels: Mapping[str, Channel],
        base_url: str,
        end_rule: EndRule,
    ) -> None:
        self._catalog = catalog
        self._context = context
        self._channels = channels
        self._base_url = base_url
        self._end_rule = end_rule

    def channel_of(self, subscription: Subscription) -> Channel:
        """The channel of an accepted subscription."""
        return self._channels[subscription.channel.type.code]

    def accept(self, draft: Subscription, principal: Principal) -> Subscription:
        """The subscription bound to its topic version, with its first status. Raises `Unprocessable`, and
        `Forbidden` where it exposes what the principal may not read.

        A subscription whose channel the broker does not push to needs no handshake and is active at once.
        """
        _check_number(draft)
        self._check_role(draft, principal)
        topic, issues = self._check_topic(draft)
        issues += self._check_channel(draft)
        if topic is not None:
            issues += self._check_filters(draft, topic)
            issues += _check_content(draft, topic)
            issues += self._check_elements(draft, topic)
        if issues or topic is None:
            raise Unprocessable(*issues)
        self._check_reads(draft, topic, principal)
        accepted = self._end_rule.apply(draft.changed(topic_canonical=topic.canonical))
        if accepted.status is SubscriptionStatus.REQUESTED and not self.channel_of(accepted).is_pushed:
            return accepted.changed(status=SubscriptionStatus.ACTIVE)
        return accepted

    def _check_role(self, draft: Subscription, principal: Principal) -> None:
        """Comes first: what an administrator has set up is not for others to find out."""
        channel = self._channels.get(draft.channel.type.code)
        if channel is not None and channel.is_for_administrators and not principal.is_admin:
            text = (
                f"The channel {draft.channel.type.code!r} is set up by an administrator. Ask the "
                "administrator of the broker to register the Subscription, or use another channel."
            )
            raise Forbidden(Issue("forbidden", text, adapter(draft.release).element("channelType")))

    def _check_elements(self, draft: Subscription, topic: Topic) -> list[Issue]:
        """A resource that is written with a part of its elements would lose the others."""
        channel = self._channels.get(draft.channel.type.code)
        if channel is None or not channel.writes_resources:
            return []
        if not element_limits(draft.elements, topic.elements):
            return []
        text = (
            f"The channel {draft.channel.type.code!r} writes whole resources, and the Subscription or its "
            "topic limits them to some elements. Leave the list of elements out, or name another topic."
        )
        return [Issue("not-supported", text, adapter(draft.release).element("content"))]

    def _check_reads(self, draft: Subscription, topic: Topic, principal: Principal) -> None:
        """A Subscription may not reveal what its creator could not read (S-089, R-450).

        A restricted scope is enough where each delivery applies the restriction: not for the types whose
        elements a chained filter tests.
        """
        if covers(principal.scopes, _EVERYTHING):
            return
        tested = {_needed(name) for name in tested_types(draft, topic, self._context)}
        scopes = sorted({_needed(name) for name in exposed_types(draft, topic, self._context)}, key=str)
        missing = " ".join(
            str(scope)
            for scope in scopes
            if not alternatives(principal.scopes, scope.resource_type, "r")
            or (scope in tested and not covers(principal.scopes, scope))
        )
        if missing:
            text = (
                f"The Subscription would reveal what the client {principal.client_id!r} may not read: it "
                f"lacks {missing}. Ask the administrator of the broker to grant it, or ask for less: what a "
                "topic includes is sent with full-resource only."
            )
            raise Forbidden(Issue("forbidden", text), scope=missing)

    def warnings(self, subscription: Subscription) -> tuple[Issue, ...]:
        """Why an accepted subscription sends nothing or more than its author may expect; for `$status`."""
        topic = self._catalog.bound(subscription.topic_canonical)
        texts = filter_warnings(subscription, topic) if topic is not None else []
        return (*self._end_rule.warnings(subscription), *(_warning(text) for text in texts))

    def registration_warnings(self, subscription: Subscription) -> tuple[Issue, ...]:
        """The warnings, and what later notifications may have to leave out; for the response."""
        topic = self._catalog.bound(subscription.topic_canonical)
        texts = content_warnings(subscription, topic) if topic is not None else []
        element = adapter(subscription.release).element("content")
        return (*self.warnings(subscription), *(_warning(text, element) for text in texts))

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

    def _check_filters(self, draft: Subscription, topic: Topic) -> list[Issue]:
        problems = check_filters(draft, topic, self._context)
        if not problems:
            return []
        elements = adapter(draft.release).filter_elements(draft)
        return [Issue(problem.refusal, problem.text, elements[problem.index]) for problem in problems]

    def _check_channel(self, draft: Subscription) -> list[Issue]:
        element = adapter(draft.release).element
        channel_type = draft.channel.type
        channel = self._channels.get(channel_type.code)
        if channel is None:
            offered = ", ".join(self._channels)
            text = f"The channel {channel_type.code!r} is not supported. Use one of: {offered}."
            return [Issue("not-supported", text, element("channelType"))]
        systems = systems_with(channel_type.code)
        if system_of(channel_type) not in systems:
            text = (
                f"The system {channel_type.system!r} has no channel {channel_type.code!r}. "
                f"Use {' or '.join(systems)}."
            )
            return [Issue("not-supported", text, element("channelType"))]
        return [
            replace(issue, expression=element(issue.expression) if issue.expression else None)
            for issue in channel.check(draft)
        ]


def check_size(resource: Resource) -> None:
    """Raises `TooLarge` for a document that is larger than a Subscription needs to be."""
    size = len(resource.text)
    if size > MAX_BYTES:
        text = f"The Subscription has {size} bytes; {MAX_BYTES} are the most. Register several, or less."
        raise TooLarge(Issue("too-long", text, "Subscription"), limit="subscription")


def _check_number(draft: Subscription) -> None:
    """Refuses what other requests would wait for."""
    for items, name, limit in (
        (draft.filters, "filters", MAX_FILTERS),
        (draft.channel.headers, "headers", MAX_HEADERS),
    ):
        if len(items) > limit:
            text = (
                f"The Subscription has {len(items)} {name}; {limit} are the most. Register several, or fewer."
            )
            raise Unprocessable(Issue("too-costly", text))


def _needed(type_name: str) -> Scope:
    return Scope("system", EVERY_TYPE if type_name == ANY_TYPE else type_name, "r")


def _check_content(draft: Subscription, topic: Topic) -> list[Issue]:
    """Refuses `full-resource` where no focus could ever be sent in the subscriber's release.

    Where it depends on the release of the producer, the subscription is accepted with a warning, and a
    notification that can't include a resource says why (R-244).
    """
    if draft.channel.content is not PayloadContent.FULL_RESOURCE or not topic.focus_types:
        return []
    if any(can_send(resource_type, draft.release) for resource_type in topic.focus_types):
        return []
    types = ", ".join(sorted(topic.focus_types))
    text = f"full-resource is impossible: {draft.release.upper()} has no type {types}. Use id-only."
    return [Issue("not-supported", text, adapter(draft.release).element("content"))]


def _warning(text: str, element: str | None = None) -> Issue:
    return Issue("business-rule", text, element, severity="warning")
