"""Runs an unregistered Subscription, or a topic that is not stored, against the newest changes: what a
subscriber would have received. It writes nothing.
"""

import asyncio
from dataclasses import dataclass

from broker.errors import Issue, Malformed
from broker.fhir.payload_elements import ElementLimits, element_limits
from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.naive import NaiveMatcher
from broker.matching.problems import Problem
from broker.matching.restrictions import Restrictions
from broker.matching.states import filtered_version
from broker.model.change import Change
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.scopes import alternatives
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from broker.model.topic import Topic
from broker.services.subscriptions import SubscriptionService
from broker.store.change_log import ChangeLog
from broker.store.resources import Resources

DEFAULT_COUNT = 1_000
MAX_COUNT = 10_000
MAX_MATCHES = 100
MAX_PROBLEMS = 5
_CHANGES_PER_TURN = 32
"""Other requests run after each so many changes."""


_ID = SubscriptionId("dry-run")


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """The outcome: counts of all `examined` changes, with the newest `MAX_MATCHES` matches and first
    problems.

    `oldest_ms` is the time of the oldest examined change, 0 without one. `is_complete` says that no older
    change exists. `content` and `limits` say how much of the resources a notification would carry.
    """

    examined: int
    matched: int
    oldest_ms: int
    is_complete: bool
    matches: tuple[Change, ...]
    failed: int
    problems: tuple[Problem, ...]
    content: PayloadContent
    limits: ElementLimits


class DryRunService:
    """Matches with the reference matcher, which the index of the matchers is tested against."""

    def __init__(
        self,
        subscriptions: SubscriptionService,
        change_log: ChangeLog,
        resources: Resources,
        catalog: Catalog,
        context: SearchContext,
        restrictions: Restrictions,
    ) -> None:
        self._subscriptions = subscriptions
        self._change_log = change_log
        self._resources = resources
        self._catalog = catalog
        self._context = context
        self._restrictions = restrictions

    async def run(
        self, principal: Principal, release: Release, resource: Resource, count: int = DEFAULT_COUNT
    ) -> DryRunReport:
        """Examines the newest `count` changes of the tenant.

        Chained filters see the resources they refer to as they are now, not as they were at the time of the
        change. A change that the principal may not see does not match. Raises `Malformed` or `Unprocessable`
        for a Subscription that registration would refuse.
        """
        draft = self._subscriptions.draft(principal, release, resource, _ID)
        topic = self._catalog.bound(draft.topic_canonical)
        if topic is None:
            text = f"The topic {draft.topic} is no longer served. Name a topic that is."
            raise Malformed(Issue("not-supported", text, "subscription"))
        return await self._examine(principal, draft, topic, count)

    async def run_topic(self, principal: Principal, topic: Topic, count: int = DEFAULT_COUNT) -> DryRunReport:
        """Examines the newest `count` changes for a subscriber without filters; the topic has no error.

        A change that the principal may not see does not match.
        """
        return await self._examine(principal, _without_filters(principal, topic), topic, count)

    async def _examine(
        self, principal: Principal, draft: Subscription, topic: Topic, count: int
    ) -> DryRunReport:
        matcher = NaiveMatcher(self._context)
        matcher.put(draft, topic)
        examined, matched, failed, oldest_ms = 0, 0, 0, 0
        matches: list[Change] = []
        problems: list[Problem] = []
        async for change in self._change_log.newest(principal.tenant, count):
            examined, oldest_ms = examined + 1, change.current.at_ms
            if examined % _CHANGES_PER_TURN == 0:
                await asyncio.sleep(0)
            wanted = matcher.needs(change)
            related = await self._resources.current_many(principal.tenant, wanted) if wanted else {}
            if matcher.match(change, related) and self._may_see(principal, change):
                matched += 1
                if matched <= MAX_MATCHES:
                    matches.append(change)
            errors = matcher.drain_problems()
            failed += len(errors)
            problems += errors[: MAX_PROBLEMS - len(problems)]
        return DryRunReport(
            examined,
            matched,
            oldest_ms,
            examined < count,
            tuple(matches),
            failed,
            tuple(problems),
            draft.channel.content,
            element_limits(draft.elements, topic.elements),
        )

    def _may_see(self, principal: Principal, change: Change) -> bool:
        version = filtered_version(change)
        allowed = alternatives(principal.scopes, change.current.key.type, "r")
        return version is not None and self._restrictions.allow(allowed, version)


def _without_filters(principal: Principal, topic: Topic) -> Subscription:
    return Subscription(
        tenant=principal.tenant,
        id=_ID,
        release=topic.release,
        status=SubscriptionStatus.ACTIVE,
        topic=topic.canonical,
        topic_canonical=topic.canonical,
        filters=(),
        channel=Channel(ChannelType("rest-hook"), None, (), "application/fhir+json", PayloadContent.ID_ONLY),
        document=b"{}",
    )
