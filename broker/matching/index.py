"""One change in, the subscriptions it is an event of out, at a cost that follows the matches and not the subscriptions.

`IndexedMatcher` finds what `NaiveMatcher` finds. Subscriptions are filed by what a focus must say for them to match, per topic,
focus type and tenant; only candidates are evaluated. So a filter that can't be evaluated is a problem of those subscriptions
only that nothing else rules out, and a topic with costly criteria is judged only when it has candidates. Of a subscription
its id and filters are kept, nothing else.
"""

import sys
from collections import Counter, deque
from collections.abc import Iterator

import msgspec

from broker.matching.chains import ChainTest, is_chained
from broker.matching.checks import MAX_PROBLEMS, Checks, Look, Sight, asks_value_sets
from broker.matching.definitions import ANY_TYPE
from broker.matching.firing import Firing
from broker.matching.matcher import Match
from broker.matching.planner import Planner
from broker.matching.postings import Entry, Found, Node
from broker.matching.problems import Problem
from broker.matching.states import NOTHING_RELATED, Related, RelatedStates, State, Target, state_of
from broker.matching.triggers import TopicTriggers
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.change import Change, Interaction, Tenant, Version
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Topic

_MAX_SHARED = 4096


class _View:
    """The subscriptions of one topic as foci of one type meet them."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.roots: dict[Tenant, Node] = {}
        self.chains: dict[Tenant, Counter[Filter]] = {}
        """Chained filters, their values taken out: what is to be fetched doesn't depend on them."""
        self._askers: dict[tuple[Filter, Release], ChainTest | None] = {}

    def put(self, tenant: Tenant, entry: Entry) -> None:
        left = self.planner.applicable(entry.filters)
        predicates = self.planner.predicates(left)
        self.planner.count(predicates, 1)
        root = self.roots.get(tenant)
        if root is None:
            root = self.roots[tenant] = Node(self.planner)
        root.add(entry, left, predicates)
        for wanted in left:
            if is_chained(wanted):
                self.chains.setdefault(tenant, Counter())[_without_value(wanted)] += 1

    def remove(self, tenant: Tenant, entry: Entry) -> None:
        left = self.planner.applicable(entry.filters)
        predicates = self.planner.predicates(left)
        self.planner.count(predicates, -1)
        root = self.roots[tenant]
        root.remove(entry, left, predicates)
        if not root.size:
            del self.roots[tenant]
        for wanted in left:
            if is_chained(wanted):
                self.chains[tenant][_without_value(wanted)] -= 1
                self.chains[tenant] = +self.chains[tenant]
        if tenant in self.chains and not self.chains[tenant]:
            del self.chains[tenant]

    def needs(self, tenant: Tenant, release: Release, state: State) -> Iterator[Target]:
        for wanted in self.chains.get(tenant, ()) if state is not None else ():
            key = wanted, release
            if key not in self._askers:
                self._askers[key] = self.planner.asker(wanted, release)
            asker = self._askers[key]
            if asker is not None and state is not None:
                yield from asker.needs(state)


class _Group:
    """The subscriptions of one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.tenants: Counter[Tenant] = Counter()
        self.views: dict[str, _View] = {}
        self.asks_previous: frozenset[str] = frozenset()
        self.is_costly = False
        self.triggers: TopicTriggers
        self.firing: Firing

    def take(self, topic: Topic, triggers: TopicTriggers, firing: Firing) -> None:
        self.topic, self.triggers, self.firing = topic, triggers, firing
        self.is_costly = any(one.fhirpath is not None for one in topic.resource_triggers)
        self.asks_previous = frozenset(
            one.resource
            for one in topic.resource_triggers
            if (one.query is not None and one.query.previous is not None)
            or (one.fhirpath is not None and ("previous" in one.fhirpath or "\\" in one.fhirpath))
        )


class IndexedMatcher:
    """Implements `Matcher`. Putting and removing cost what the subscription's own filters cost, however many there are.

    In a topic about every type, subscriptions are filed for a type when the first change of that type comes.
    """

    def __init__(
        self,
        table: ParameterTable,
        base_urls: frozenset[str] = frozenset(),
        value_sets: ValueSets = NO_VALUE_SETS,
    ) -> None:
        self._table = table
        self._base_urls = base_urls
        self._value_sets = value_sets
        self._checks = Checks(table, base_urls, value_sets)
        self._groups: dict[str, _Group] = {}
        self._entries: dict[Tenant, dict[SubscriptionId, Entry]] = {}
        self._concerned: dict[tuple[str, Interaction], list[_Group]] = {}
        self._shared: dict[Filter, Filter] = {}
        self._last: tuple[Version, State] | None = None
        self._problems: deque[Problem] = deque(maxlen=MAX_PROBLEMS)

    def put(self, subscription: Subscription, topic: Topic) -> None:
        tenant = Tenant(sys.intern(subscription.tenant))
        self.remove(tenant, subscription.id)
        group = self._groups.get(topic.canonical)
        if group is None:
            group = self._groups[topic.canonical] = _Group(topic)
            group.take(topic, *self._triggers(topic))
            self._concerned.clear()
            self._file_again(group)
        elif group.topic is not topic:
            is_other = group.topic != topic
            group.take(topic, *self._triggers(topic))
            if is_other:
                self._concerned.clear()
                self._file_again(group)
        filters = tuple(self._one(wanted) for wanted in subscription.filters)
        entry = Entry(Match(tenant, subscription.id, group.topic.canonical), filters)
        self._entries.setdefault(tenant, {})[subscription.id] = entry
        group.tenants[tenant] += 1
        for view in group.views.values():
            view.put(tenant, entry)
        for wanted in filters:
            if asks_value_sets(wanted):
                self._keep(group, wanted, subscription.release)

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        of_tenant = self._entries.get(tenant)
        entry = of_tenant.pop(subscription_id, None) if of_tenant is not None else None
        if entry is None or of_tenant is None:
            return
        if not of_tenant:
            del self._entries[tenant]
        group = self._groups[entry.match.topic_canonical]
        for view in group.views.values():
            view.remove(tenant, entry)
        for wanted in entry.filters:
            if asks_value_sets(wanted):
                self._checks.let_go(wanted)
        group.tenants[tenant] -= 1
        if not group.tenants[tenant]:
            del group.tenants[tenant]
        if not group.tenants:
            del self._groups[entry.match.topic_canonical]
            self._concerned.clear()

    def needs(self, change: Change) -> frozenset[Target]:
        key = change.current.key
        views = [
            view
            for group in self._groups_of(change)
            if key.tenant in (view := self._view(group, key.type)).chains
        ]
        if not views:
            return frozenset()
        try:
            version, state = self._looked_at(change)
        except msgspec.DecodeError:
            return frozenset()  # `match` tells
        return frozenset(
            target for view in views for target in view.needs(key.tenant, version.release, state)
        )

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        groups = self._groups_of(change)
        if not groups:
            return []
        key = change.current.key
        version, state = self._looked_at(change)
        sight = Sight((version.release, key.type), state, RelatedStates(related))
        matches: list[Match] = []
        for group in groups:
            if not group.is_costly and not self._fires(group, change, sight):
                continue
            view = self._view(group, key.type)
            look, found = Look(sight, view.planner, self._checks), Found()
            view.roots[key.tenant].find(look, found)
            if group.is_costly and (found or look.problems) and not self._fires(group, change, sight):
                continue
            self._problems += look.problems
            matches += [entry.match for entry in found]
        return matches

    def drain_errors(self) -> list[Problem]:
        drained = list(self._problems)
        self._problems.clear()
        return drained

    def _triggers(self, topic: Topic) -> tuple[TopicTriggers, Firing]:
        return (
            TopicTriggers(topic, self._table, self._base_urls, self._value_sets),
            Firing(topic, self._table, self._base_urls),
        )

    def _groups_of(self, change: Change) -> list[_Group]:
        """Those that the kind of change can concern, if they have subscriptions of its tenant."""
        key = change.current.key
        if change.events:
            groups = [
                one for one in self._groups.values() if one.triggers.judge_event(change.events, key.type)
            ]
        else:
            kind = key.type, change.interaction
            known = self._concerned.get(kind)
            if known is None:
                known = self._concerned[kind] = [
                    one for one in self._groups.values() if one.triggers.concerns(*kind)
                ]
            groups = known
        return [one for one in groups if key.tenant in one.tenants]

    def _fires(self, group: _Group, change: Change, sight: Sight) -> bool:
        if change.events:
            return True  # what concerns the group was judged already
        before, interaction, kind, state = change.previous, change.interaction, sight.where[1], sight.state
        told = group.firing.fires(sight, interaction)
        if told is not None:
            return told
        if interaction is Interaction.DELETE:
            previous, current = state, None
        else:
            is_asked = group.asks_previous & {kind, ANY_TYPE}
            previous, current = state_of(before) if is_asked else None, state
        fired, failures = group.triggers.judge(
            interaction,
            change.release,
            kind,
            previous,
            current,
            previous_release=before.release if before is not None else change.release,
        )
        self._problems += [Problem(f"topic {group.topic.canonical}", failure) for failure in failures]
        return fired

    def _looked_at(self, change: Change) -> tuple[Version, State]:
        """What filters are about: the current state, after a deletion the one before (R-069). Decoded once."""
        version = change.current
        if change.interaction is Interaction.DELETE and not change.events:
            if change.previous is None:
                return version, None
            version = change.previous
        if self._last is None or self._last[0] is not version:
            self._last = version, state_of(version)
        return self._last

    def _view(self, group: _Group, resource_type: str) -> _View:
        view = group.views.get(resource_type)
        if view is None:
            view = group.views[resource_type] = self._new_view(group, resource_type)
        return view

    def _new_view(self, group: _Group, resource_type: str) -> _View:
        view = _View(Planner(group.topic, resource_type, self._table, self._base_urls))
        canonical = group.topic.canonical
        for tenant in group.tenants:
            for entry in self._entries[tenant].values():
                if entry.match.topic_canonical == canonical:
                    view.put(tenant, entry)
        return view

    def _file_again(self, group: _Group) -> None:
        group.views.clear()
        for resource_type in group.topic.focus_types - {ANY_TYPE}:
            group.views[resource_type] = self._new_view(group, resource_type)

    def _keep(self, group: _Group, wanted: Filter, release: Release) -> None:
        """Compiled at once, for what is known of value sets now counts."""
        self._checks.keep(wanted)
        for resource_type in group.topic.focus_types - {ANY_TYPE}:
            planner = self._view(group, resource_type).planner
            if planner.applicable((wanted,)):
                self._checks.compiled(planner, wanted, (release, resource_type))

    def _one(self, wanted: Filter) -> Filter:
        """The same object for filters that come often."""
        known = self._shared.get(wanted)
        if known is None:
            if len(self._shared) >= _MAX_SHARED:
                self._shared.clear()
            known = Filter(
                sys.intern(wanted.parameter),
                wanted.value,
                wanted.comparator,
                wanted.modifier and sys.intern(wanted.modifier),
                wanted.resource_type and sys.intern(wanted.resource_type),
            )
            self._shared[known] = known
        return known


def _without_value(wanted: Filter) -> Filter:
    return Filter(wanted.parameter, "", None, wanted.modifier, wanted.resource_type)
