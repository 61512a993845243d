"""Tries a payload of a device: the resources that it would become, their issues, the topics that would fire,
and the subscriptions that would be notified.

Nothing is stored and nobody is notified. A console calls it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from broker.clock import Clock
from broker.errors import Issue
from broker.ingest.conformance import ConformanceValidator
from broker.ingest.readings.trial import ReadingTrial, TrialEffect, TriedResource
from broker.ingest.readings.values import RawReading
from broker.mapping.reading import ReadingProblem
from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE
from broker.matching.explain import explain_topic, topic_verdict
from broker.matching.explanations import TriggerReport
from broker.model.access import Access, authorize
from broker.model.audit import Requester
from broker.model.change import Change
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.topic import Topic
from broker.services.explain import ExplainService, HypotheticalChange
from broker.services.subscriptions import SubscriptionService
from broker.tasks import Slices

MAX_SUBSCRIPTIONS = 2_000
"""The number of subscriptions that one trial looks at: with more, it says that it looked at the first."""
MAX_SHOWN = 100
"""Subscriptions that one trial explains for one resource; the others are counted."""
_READ = Access(scope="system/{type}.r")


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """A payload, as `RawReading` has it. `mapping` is the name of one, '' for the one that matches."""

    content: bytes
    format: str
    mapping: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicTrial:
    """A topic that is about such changes, whether it fires, and why."""

    topic: Topic
    fires: bool
    reason: str
    triggers: Sequence[TriggerReport]


@dataclass(frozen=True, slots=True)
class SubscriberTrial:
    """A subscription to one of the topics, whether it would be notified, and why."""

    subscription: str
    topic: str
    is_notified: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ResourceTrial:
    """One resource of the payload. `notified` and `not_notified` count all subscriptions that were looked at;
    `subscribers` are the first `MAX_SHOWN`, those that would be notified before the others.

    Where nothing would be written, no topic fires.
    """

    tried: TriedResource
    issues: Sequence[Issue]
    topics: Sequence[TopicTrial]
    subscribers: Sequence[SubscriberTrial]
    notified: int
    not_notified: int


@dataclass(frozen=True, slots=True)
class TrialReport:
    """`created` are resources that would be created for the reading. With `is_refused`, nothing of the
    payload would be kept; else its `problems` would put it into quarantine. `has_more`: there are more
    subscriptions than were looked at.
    """

    resources: Sequence[ResourceTrial]
    created: Sequence[Resource]
    problems: Sequence[ReadingProblem]
    is_refused: bool
    has_more: bool


class ReadingTrialService:
    """Tries payloads in the name of the principal."""

    def __init__(
        self,
        trial: ReadingTrial,
        validator: ConformanceValidator,
        explain: ExplainService,
        subscriptions: SubscriptionService,
        catalog: Catalog,
        context: SearchContext,
        clock: Clock,
    ) -> None:
        self._trial = trial
        self._validator = validator
        self._explain = explain
        self._subscriptions = subscriptions
        self._catalog = catalog
        self._context = context
        self._clock = clock

    async def run(self, principal: Principal, request: TrialRequest) -> TrialReport:
        """Raises `Forbidden` for who may not read Observations: what is stored decides what is shown."""
        authorize(principal, _READ, "Observation")
        raw = RawReading(
            principal.tenant,
            request.content,
            request.format,
            datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC),
            requester=Requester(principal.client_id),
            parameters=request.parameters,
        )
        trial = await self._trial.run(raw, request.mapping)
        resources, has_more = [], False
        for tried in trial.observations:
            issues = self._validator.examine(Release.R4, "Observation", tried.resource)
            if tried.effect is TrialEffect.NOTHING:
                resources.append(ResourceTrial(tried, issues, (), (), 0, 0))
                continue
            hypothetical = HypotheticalChange(tried.resource)
            change = await self._explain.hypothetical_change(principal, Release.R4, hypothetical)
            topics = self._topics(change)
            subscribers, is_cut = await self._subscribers(principal, change, topics)
            has_more |= is_cut
            notified = sum(each.is_notified for each in subscribers)
            shown = sorted(subscribers, key=lambda each: not each.is_notified)[:MAX_SHOWN]
            resources.append(
                ResourceTrial(tried, issues, topics, shown, notified, len(subscribers) - notified)
            )
        return TrialReport(resources, trial.created, trial.problems, trial.is_refused, has_more)

    def _topics(self, change: Change) -> list[TopicTrial]:
        """The topics that are about the type of the change: those that fire first."""
        topics = []
        for topic in self._catalog.all():
            if topic.focus_types & {change.current.key.type, ANY_TYPE}:
                triggers = explain_topic(topic, change, self._context)
                topics.append(TopicTrial(topic, *topic_verdict(triggers), triggers))
        return sorted(topics, key=lambda each: (not each.fires, each.topic.canonical))

    async def _subscribers(
        self, principal: Principal, change: Change, topics: Sequence[TopicTrial]
    ) -> tuple[list[SubscriberTrial], bool]:
        """Those of the topics, and whether there are more subscriptions than were looked at."""
        concerned = {each.topic.canonical for each in topics}
        subscribers: list[SubscriberTrial] = []
        examined, slices = 0, Slices()
        async for record in self._subscriptions.all(principal):
            if examined == MAX_SUBSCRIPTIONS:
                return subscribers, True
            examined += 1
            await slices.pause()
            canonical = record.subscription.topic_canonical
            if canonical in concerned:
                report = await self._explain.report(record, change, None)
                subscribers.append(
                    SubscriberTrial(record.subscription.id, canonical, report.is_event, report.reason)
                )
        return subscribers, False
