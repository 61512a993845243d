"""The indexed matcher: one change in, the subscriptions that it is an event of out, at a cost that follows
the number of matches and not the number of subscriptions.

It finds what `NaiveMatcher` finds. Per topic, focus type and tenant, subscriptions are filed by what a focus
must have for them to match, and only candidates are evaluated. So a filter that can't be evaluated is a
problem only of the subscriptions that nothing else rules out, and costly criteria of a topic are evaluated
only if it has candidates. The index keeps the id and the filters of a subscription, nothing else. The matcher
worker owns one.
"""

import sys
from collections import deque
from collections.abc import Iterator
from functools import partial

import msgspec

from broker.matching.change_evaluation import ChangeViews
from broker.matching.compiled_filters import CompiledFilters, depends_on_value_sets
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE
from broker.matching.indexed_subscription import IndexedSubscription, MatchedSubscriptions
from broker.matching.matcher import Match
from broker.matching.problems import MAX_PROBLEMS, Problem
from broker.matching.states import (
    NOTHING_RELATED,
    Related,
    State,
    Target,
    filtered_version,
    state_of,
)
from broker.matching.topic_evaluation import TopicEvaluation
from broker.matching.topic_index import TopicIndex, TypeIndex
from broker.model.change import Change, Interaction, Tenant, Version
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Topic

_MAX_SHARED = 4096


class IndexedMatcher:
    """Implements `Matcher`. The cost of `put` and `remove` depends on the filters of the subscription alone.

    A topic about every type gets the index of a type when the first change of that type arrives.
    """

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._compiled = CompiledFilters(context)
        self._topics: dict[str, TopicIndex] = {}
        self._subscriptions: dict[Tenant, dict[SubscriptionId, IndexedSubscription]] = {}
        self._outdated: list[TopicIndex] = []
        self._remains: list[Iterator[None]] = []
        self._concerned: dict[tuple[str, Interaction], list[TopicIndex]] = {}
        self._shared: dict[Filter, Filter] = {}
        self._last_decoded: tuple[Version | None, State] | None = None
        self._problems: deque[Problem] = deque(maxlen=MAX_PROBLEMS)

    def put(self, subscription: Subscription, topic: Topic) -> None:
        tenant = Tenant(sys.intern(subscription.tenant))
        self.remove(tenant, subscription.id)
        topic_index = self._topic_index(topic)
        filters = tuple(self._shared_filter(filter_) for filter_ in subscription.filters)
        match = Match(tenant, subscription.id, topic_index.topic.canonical)
        indexed = IndexedSubscription(match, subscription.release, filters)
        self._subscriptions.setdefault(tenant, {})[subscription.id] = indexed
        topic_index.put(tenant, indexed)
        for filter_ in filters:
            if depends_on_value_sets(filter_):
                self._retain(topic_index, filter_, subscription.release)

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        of_tenant = self._subscriptions.get(tenant)
        indexed = of_tenant.pop(subscription_id, None) if of_tenant is not None else None
        if indexed is None or of_tenant is None:
            return
        if not of_tenant:
            del self._subscriptions[tenant]
        for filter_ in indexed.filters:
            if depends_on_value_sets(filter_):
                self._compiled.release(filter_)
        self._index_of(indexed).remove(tenant, indexed)
        self._drop_empty(indexed.match.topic_canonical)

    def set_topic(self, topic: Topic) -> None:
        if topic.canonical in self._topics:
            self._topic_index(topic)

    def refile(self) -> bool:
        """The index of the old content keeps what was filed, and only counts for the subscriptions that were
        not moved yet, so each counts in exactly one index at any time. It is taken apart at the end.
        """
        for outdated in self._outdated:
            while outdated.leaving:
                indexed = outdated.leaving.pop()
                if indexed.filed_in == outdated.number:
                    outdated.leave(indexed.match.tenant)
                    self._topics[indexed.match.topic_canonical].put(indexed.match.tenant, indexed)
                    self._drop_empty(indexed.match.topic_canonical)
                    return True
        while self._remains:
            for _ in self._remains[-1]:
                return True
            self._remains.pop()
        return False

    def prepare(self, change: Change) -> Iterator[None]:
        for topic_index in self._topics_of(change):
            yield from self._build_type(topic_index, change.current.key.type)

    def recompile(self) -> None:
        self._compiled.recompile()

    def needs(self, change: Change) -> frozenset[Target]:
        key = change.current.key
        chained = [
            (release, type_index)
            for topic_index in self._topics_of(change)
            for release, type_index in self._type_indexes(topic_index, key.type).items()
            if key.tenant in type_index.chains
        ]
        if not chained:
            return frozenset()
        try:
            views = self._views(change, NOTHING_RELATED)
        except msgspec.DecodeError:
            return frozenset()  # `match` raises it
        targets: set[Target] = set()
        for release, type_index in chained:
            view = views.view(release)
            targets.update(type_index.needs(key.tenant, view.release, view.state))
        return frozenset(targets)

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        topic_indexes = self._topics_of(change)
        if not topic_indexes:
            return []
        views = self._views(change, related)
        matches: list[Match] = []
        for topic_index in topic_indexes:
            is_costly = topic_index.has_costly_criteria
            if not is_costly and not self._fires(topic_index, change, views):
                continue
            matched, problems = self._find(topic_index, change, views)
            if is_costly and (matched or problems) and not self._fires(topic_index, change, views):
                continue
            self._problems += problems
            matches += [indexed.match for indexed in matched if indexed.filed_in == topic_index.number]
        return matches

    def drain_problems(self) -> list[Problem]:
        problems = list(self._problems)
        self._problems.clear()
        return problems

    def _topics_of(self, change: Change) -> list[TopicIndex]:
        """The topics that this kind of change can concern, and that have subscriptions of its tenant."""
        key = change.current.key
        if change.events:
            topic_indexes = [
                topic_index
                for topic_index in (*self._topics.values(), *self._outdated)
                if topic_index.triggers.fires_on_event(change.events, key.type)
            ]
        else:
            kind = key.type, change.interaction
            cached = self._concerned.get(kind)
            if cached is None:
                cached = self._concerned[kind] = [
                    topic_index
                    for topic_index in (*self._topics.values(), *self._outdated)
                    if topic_index.triggers.concerns(*kind)
                ]
            topic_indexes = cached
        return [topic_index for topic_index in topic_indexes if key.tenant in topic_index.tenants]

    def _find(
        self, topic_index: TopicIndex, change: Change, views: ChangeViews
    ) -> tuple[MatchedSubscriptions, list[Problem]]:
        """The subscriptions whose filters the focus passes, as their release shows it."""
        key = change.current.key
        matched, problems = MatchedSubscriptions(), list[Problem]()
        for release, type_index in self._type_indexes(topic_index, key.type).items():
            root = type_index.roots.get(key.tenant)
            if root is not None:
                evaluation = TopicEvaluation(views.view(release), type_index.planner, self._compiled)
                root.find(evaluation, matched)
                problems += evaluation.problems
        return matched, problems

    def _fires(self, topic_index: TopicIndex, change: Change, views: ChangeViews) -> bool:
        if change.events:
            return True  # `_topics_of` has evaluated the event triggers
        resource_type = change.current.key.type
        fires = topic_index.keyed_triggers.fires(views, resource_type, change.interaction)
        if fires is not None:
            return fires
        uses_previous = bool(topic_index.types_needing_previous & {resource_type, ANY_TYPE})
        seen_in = partial(views.states, with_previous=uses_previous)
        verdict = topic_index.triggers.judge(seen_in(views.release), seen_in)
        self._problems += [
            Problem(failure.reason, topic_index.topic.canonical, failure.location)
            for failure in verdict.failures
        ]
        return verdict.fired

    def _views(self, change: Change, related: Related) -> ChangeViews:
        """The change as its readers see it. `needs` and `match` of one change decode it once."""
        version = filtered_version(change)
        if self._last_decoded is not None and self._last_decoded[0] is version is not None:
            state = self._last_decoded[1]
        else:
            state = state_of(version)
            self._last_decoded = version, state
        return ChangeViews(change, change.release if version is None else version.release, state, related)

    def _topic_index(self, topic: Topic) -> TopicIndex:
        """The index of the topic; a new one if its content has changed, to which `refile` moves the
        subscriptions.
        """
        topic_index = self._topics.get(topic.canonical)
        if topic_index is not None:
            if topic_index.topic is topic:
                return topic_index
            if topic_index.topic == topic:
                topic_index.set_topic(topic)
                return topic_index
            for tenant in topic_index.tenants:  # with those of other topics, which `refile` passes over
                topic_index.leaving += self._subscriptions[tenant].values()
            self._outdated.append(topic_index)
        topic_index = self._topics[topic.canonical] = TopicIndex(topic, self._context)
        topic_index.types = {resource_type: {} for resource_type in topic.focus_types - {ANY_TYPE}}
        self._drop_empty(topic.canonical, but=topic_index)
        self._concerned.clear()
        return topic_index

    def _index_of(self, indexed: IndexedSubscription) -> TopicIndex:
        topic_index = self._topics[indexed.match.topic_canonical]
        if indexed.filed_in == topic_index.number:
            return topic_index
        return next(outdated for outdated in self._outdated if outdated.number == indexed.filed_in)

    def _drop_empty(self, canonical: str, but: TopicIndex | None = None) -> None:
        """Forgets the indexes of the topic that have no subscriptions; not the one to which others move."""
        if self._outdated and not all(outdated.tenants for outdated in self._outdated):
            self._remains += [outdated.take_apart() for outdated in self._outdated if not outdated.tenants]
            self._outdated = [outdated for outdated in self._outdated if outdated.tenants]
            self._concerned.clear()
        topic_index = self._topics[canonical]
        if topic_index is but or topic_index.tenants:
            return
        if not any(outdated.topic.canonical == canonical for outdated in self._outdated):
            del self._topics[canonical]
            self._concerned.clear()

    def _type_indexes(self, topic_index: TopicIndex, resource_type: str) -> dict[Release, TypeIndex]:
        for _ in self._build_type(topic_index, resource_type):
            pass
        return topic_index.types[resource_type]

    def _build_type(self, topic_index: TopicIndex, resource_type: str) -> Iterator[None]:
        """Files the subscriptions for foci of a type that no change had before, one in a step."""
        if resource_type in topic_index.types:
            return
        by_release: dict[Release, TypeIndex] = {}
        for indexed in self._subscriptions_of(topic_index):
            topic_index.type_index(by_release, resource_type, indexed.release).put(
                indexed.match.tenant, indexed
            )
            yield
        topic_index.types[resource_type] = by_release

    def _subscriptions_of(self, topic_index: TopicIndex) -> Iterator[IndexedSubscription]:
        for tenant in topic_index.tenants:
            for indexed in self._subscriptions[tenant].values():
                if indexed.filed_in == topic_index.number:
                    yield indexed

    def _retain(self, topic_index: TopicIndex, filter_: Filter, release: Release) -> None:
        """Compiles the filter now: the value sets that are loaded now decide whether it can be evaluated."""
        self._compiled.retain(filter_)
        for resource_type in topic_index.topic.focus_types - {ANY_TYPE}:
            by_release = topic_index.types[resource_type]
            planner = topic_index.type_index(by_release, resource_type, release).planner
            if planner.applicable((filter_,)):
                self._compiled.get(planner, filter_, release, resource_type)

    def _shared_filter(self, filter_: Filter) -> Filter:
        """The same object for equal filters, which saves memory."""
        shared = self._shared.get(filter_)
        if shared is None:
            if len(self._shared) >= _MAX_SHARED:
                self._shared.clear()
            shared = Filter(
                sys.intern(filter_.parameter),
                filter_.value,
                filter_.comparator,
                filter_.modifier and sys.intern(filter_.modifier),
                filter_.resource_type and sys.intern(filter_.resource_type),
            )
            self._shared[shared] = shared
        return shared
