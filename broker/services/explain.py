"""Explains why a change, stored or hypothetical, is or is not an event of a Subscription, and how far its
delivery is.

It reads and never writes. A hypothetical change is built as the intake would build it: validated, with id and
meta. The `$explain` operation, the `explain` command and a console call it.
"""

import re
from dataclasses import dataclass

from broker.clock import Clock, to_instant
from broker.errors import Issue, Malformed, NotFound, Unprocessable
from broker.fhir.identity import check_id, check_type
from broker.fhir.payload_elements import ElementLimits, element_limits
from broker.fhir.release import adapter
from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.explain import explain, needed_targets
from broker.matching.explanations import Explanation
from broker.model.access import Access, authorize
from broker.model.change import Change, Interaction, Version, VersionKey
from broker.model.eligibility import Eligibility, eligibility
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import Topic
from broker.services.delivery_progress import DeliveryProgress, DeliveryProgressReader
from broker.services.subscriptions import SubscriptionService
from broker.store.resources import Resources
from broker.store.subscriptions import Record

_REFERENCE = re.compile(r"([A-Z][A-Za-z]*)/([A-Za-z0-9.-]{1,64})(?:/_history/(\d{1,15}))?")
_ID_OF_NEW_RESOURCE = "new"
_READ = Access(scope="system/{type}.r")


@dataclass(frozen=True, slots=True)
class HypotheticalChange:
    """A change that nobody sent.

    `resource` is the state after a create or update, or the state that a delete removes. `previous` is the
    state before (None: what is stored under its id). `interaction` None: create or update, by whether there
    is a previous state.
    """

    resource: Resource
    previous: Resource | None = None
    interaction: Interaction | None = None


@dataclass(frozen=True, slots=True)
class ExplainReport:
    """The answer. `explanation` and `limits`, the elements that notifications carry, are None where the topic
    is no longer served, `progress` for a hypothetical change.
    """

    is_event: bool
    reason: str
    record: Record
    change: Change
    explanation: Explanation | None
    progress: DeliveryProgress | None
    limits: ElementLimits | None


class ExplainService:
    """Explains changes to the subscribers of the principal's tenant."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        resources: Resources,
        progress: DeliveryProgressReader,
        catalog: Catalog,
        context: SearchContext,
        clock: Clock,
    ) -> None:
        self._subscriptions = subscriptions
        self._resources = resources
        self._progress = progress
        self._catalog = catalog
        self._context = context
        self._clock = clock

    async def explain_stored(
        self, principal: Principal, subscription_id: str, reference: str
    ) -> ExplainReport:
        """Explains the change that made a stored version, `Type/id` or `Type/id/_history/n`.

        Raises `NotFound`, `Malformed`, and `Forbidden` for a type that the principal may not read.
        """
        record = await self._subscriptions.get(principal, subscription_id)
        change = await self._stored_change(principal, reference)
        progress = await self._progress.read(record, change.current)
        return await self.report(record, change, progress)

    async def explain_hypothetical(
        self, principal: Principal, release: Release, subscription_id: str, hypothetical: HypotheticalChange
    ) -> ExplainReport:
        """Explains the change that sending a resource now would be. Raises `NotFound`, `Malformed`,
        `Unprocessable`.
        """
        record = await self._subscriptions.get(principal, subscription_id)
        change = await self.hypothetical_change(principal, release, hypothetical)
        return await self.report(record, change, None)

    async def report(
        self, record: Record, change: Change, progress: DeliveryProgress | None
    ) -> ExplainReport:
        """Explains a change that the reader of the report may see, with how far its delivery is."""
        topic = self._catalog.bound(record.subscription.topic_canonical)
        explanation = None if topic is None else await self._explanation(record, topic, change)
        is_event, reason = _verdict(record, change, explanation)
        sentences = [reason, progress.describe(record) if progress is not None else ""]
        reason = " ".join(filter(None, sentences))
        limits = None if topic is None else element_limits(record.subscription.elements, topic.elements)
        return ExplainReport(is_event, reason, record, change, explanation, progress, limits)

    async def _explanation(self, record: Record, topic: Topic, change: Change) -> Explanation:
        subscription = record.subscription
        targets = needed_targets(subscription, topic, change, self._context)
        related = await self._resources.current_many(subscription.tenant, targets)
        return explain(subscription, topic, change, self._context, related)

    async def _stored_change(self, principal: Principal, reference: str) -> Change:
        for base in self._context.base_urls:
            reference = reference.removeprefix(f"{base}/")
        parts = _REFERENCE.fullmatch(reference)
        if parts is None:
            text = f"{reference[:80]!r} is not a reference. Send Type/id or Type/id/_history/n."
            raise Malformed(Issue("value", text, "reference"))
        resource_type, resource_id, number = parts.groups()
        authorize(principal, _READ, resource_type)
        if number is None:
            version = await self._resources.current(principal.tenant, resource_type, resource_id)
        else:
            key = VersionKey(principal.tenant, resource_type, resource_id, int(number))
            version = await self._resources.version(key)
        if version is None:
            text = f"{reference} is not stored here, or no longer. Send the resource itself instead."
            raise NotFound(Issue("not-found", text, "reference"))
        previous = None
        if version.interaction is not Interaction.CREATE:
            previous = await self._resources.version(version.key._replace(version=version.key.version - 1))
        return self._change(principal, version, previous)

    async def hypothetical_change(
        self, principal: Principal, release: Release, hypothetical: HypotheticalChange
    ) -> Change:
        """The change that sending a resource now would be. Raises `Malformed`, `Unprocessable`, and
        `Forbidden` for a type that the principal may not read.
        """
        resource_type = hypothetical.resource.type
        resource_id = hypothetical.resource.id or _ID_OF_NEW_RESOURCE
        _check_resource(release, resource_type, resource_id, hypothetical)
        authorize(principal, _READ, resource_type)  # what is stored under the id may be the previous state
        stored = await self._resources.current(principal.tenant, resource_type, resource_id)
        key = VersionKey(principal.tenant, resource_type, resource_id, stored.key.version if stored else 0)
        previous = stored if stored is not None and stored.resource is not None else None
        has_previous = hypothetical.previous is not None or previous is not None
        interaction = hypothetical.interaction or (Interaction.UPDATE if has_previous else Interaction.CREATE)
        resource: Resource | None = hypothetical.resource
        if interaction is Interaction.CREATE:
            previous = None
        else:
            before = hypothetical.resource if interaction is Interaction.DELETE else hypothetical.previous
            if before is not None:
                key = key._replace(version=max(key.version, 1))
                previous = self._version(release, key, Interaction.CREATE, before)
        if interaction is Interaction.DELETE:
            resource = None
        current = self._version(release, key._replace(version=key.version + 1), interaction, resource)
        return self._change(principal, current, previous)

    def _version(
        self, release: Release, key: VersionKey, interaction: Interaction, resource: Resource | None
    ) -> Version:
        now_ms = self._clock.now_ms()
        if resource is not None:
            unversioned = resource.without_version(type=key.type, id=key.id)
            resource = unversioned.with_version(key.version, now_ms)
        return Version(key, release, interaction, now_ms, resource)

    def _change(self, principal: Principal, current: Version, previous: Version | None) -> Change:
        partition = self._resources.partition_of(principal.tenant, current.key.id)
        return Change("0-0", partition, current, previous)


def _check_resource(
    release: Release, resource_type: str, resource_id: str, hypothetical: HypotheticalChange
) -> None:
    """Raises `Malformed` or `Unprocessable` for what the intake would refuse, or what contradicts itself."""
    rules = adapter(release)
    if resource_type not in rules.resource_types:
        text = f"{resource_type!r} is not a resource type of FHIR {rules.version}. Send one that is."
        raise Unprocessable(Issue("not-supported", text, "resource"))
    check_id(resource_id)
    rules.validate(resource_type, hypothetical.resource)
    if hypothetical.previous is None:
        return
    check_type(hypothetical.previous, resource_type)
    rules.validate(resource_type, hypothetical.previous)
    if hypothetical.interaction is Interaction.DELETE:
        text = "A delete has no previous besides resource, which is the state it deletes. Leave out previous."
        raise Malformed(Issue("invalid", text, "previous"))
    if hypothetical.interaction is Interaction.CREATE:
        text = "A create has no previous state. Leave out previous, or send interaction update."
        raise Malformed(Issue("invalid", text, "previous"))


def _verdict(record: Record, change: Change, explanation: Explanation | None) -> tuple[bool, str]:
    """Whether the subscriber is or would be notified: what the matcher says, and what the Subscription's
    state says.
    """
    subscription = record.subscription
    if explanation is None:
        topic = subscription.topic_canonical
        return False, f"The topic {topic} is no longer served: no change is an event of it."
    if not explanation.matches:
        return False, explanation.reason
    match eligibility(record.activation, change.current.at_ms):
        case Eligibility.NOT_COUNTING:
            state = f"But the subscription is {subscription.status}: it counts no events."
            return False, f"{explanation.reason} {state}"
        case Eligibility.BEFORE_ACTIVATION:
            since = to_instant(record.activated_ms)
            return False, f"{explanation.reason} But the subscription counts events since {since} only."
        case Eligibility.ELIGIBLE:
            return True, explanation.reason
