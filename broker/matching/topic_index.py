"""The indexed subscriptions of one topic, one `TypeIndex` per focus type and release of the subscribers."""

from collections import Counter
from collections.abc import Iterator
from itertools import count

from broker.matching.chains import ChainResolver, is_chained
from broker.matching.context import SearchContext
from broker.matching.indexed_subscription import IndexedSubscription
from broker.matching.keyed_triggers import KeyedTriggers
from broker.matching.lookups import count_systems
from broker.matching.planner import LookupPlanner
from broker.matching.postings import PostingNode
from broker.matching.states import State, Target
from broker.matching.triggers import TopicTriggers
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.topic import Topic


class TypeIndex:
    """The subscriptions of one release to one topic, for foci of one type.

    `chains` counts the chained filters of each tenant without their values, on which the targets don't
    depend.
    """

    def __init__(self, planner: LookupPlanner) -> None:
        self.planner = planner
        self.roots: dict[Tenant, PostingNode] = {}
        self.chains: dict[Tenant, Counter[Filter]] = {}
        self._resolvers: dict[tuple[Filter, Release], ChainResolver | None] = {}

    def put(self, tenant: Tenant, subscription: IndexedSubscription) -> None:
        if not self.planner.sends(subscription.filters):
            return
        filters = self.planner.applicable(subscription.filters)
        predicates = self.planner.predicates(filters)
        count_systems(predicates, 1)
        root = self.roots.get(tenant)
        if root is None:
            root = self.roots[tenant] = PostingNode(self.planner)
        root.add(subscription, filters, predicates)
        for filter_ in filters:
            if is_chained(filter_):
                self.chains.setdefault(tenant, Counter())[_without_value(filter_)] += 1

    def remove(self, tenant: Tenant, subscription: IndexedSubscription) -> None:
        if not self.planner.sends(subscription.filters):
            return
        filters = self.planner.applicable(subscription.filters)
        predicates = self.planner.predicates(filters)
        count_systems(predicates, -1)
        root = self.roots[tenant]
        root.remove(subscription, filters, predicates)
        if not root.size:
            del self.roots[tenant]
        for filter_ in filters:
            if is_chained(filter_):
                self.chains[tenant][_without_value(filter_)] -= 1
                self.chains[tenant] = +self.chains[tenant]
        if tenant in self.chains and not self.chains[tenant]:
            del self.chains[tenant]

    def needs(self, tenant: Tenant, release: Release, state: State) -> Iterator[Target]:
        """The targets that the chained filters of the tenant refer to."""
        if state is None:
            return
        for filter_ in self.chains.get(tenant, ()):
            key = filter_, release
            if key not in self._resolvers:
                self._resolvers[key] = self.planner.resolver(filter_, release)
            resolver = self._resolvers[key]
            if resolver is not None:
                yield from resolver.targets(state)


class TopicIndex:
    """The subscriptions of one topic. `tenants` counts them; `types` has an index per focus type and release
    of the subscribers. After the content of the topic changed, another index takes the subscriptions in;
    `leaving` are those that may still be here. No two indexes of a process have the same `number`.
    """

    _numbers = count(1)

    def __init__(self, topic: Topic, context: SearchContext) -> None:
        self.number = next(self._numbers)
        self.tenants: Counter[Tenant] = Counter()
        self.leaving: list[IndexedSubscription] = []
        self.types: dict[str, dict[Release, TypeIndex]] = {}
        self._context = context
        self.set_topic(topic)

    def set_topic(self, topic: Topic) -> None:
        """Compiles the triggers. The filters of the topic must be the same as before."""
        self.topic = topic
        self.triggers = TopicTriggers(topic, self._context)
        self.keyed_triggers = KeyedTriggers(topic, self.triggers, self._context)
        self.has_costly_criteria = any(trigger.fhirpath is not None for trigger in topic.resource_triggers)
        self.types_needing_previous = frozenset(
            trigger.resource
            for trigger in topic.resource_triggers
            if (trigger.query is not None and trigger.query.previous is not None)
            or (trigger.fhirpath is not None and ("previous" in trigger.fhirpath or "\\" in trigger.fhirpath))
        )

    def put(self, tenant: Tenant, subscription: IndexedSubscription) -> None:
        subscription.filed_in = self.number
        self.tenants[tenant] += 1
        for resource_type, by_release in self.types.items():
            self.type_index(by_release, resource_type, subscription.release).put(tenant, subscription)

    def remove(self, tenant: Tenant, subscription: IndexedSubscription) -> None:
        subscription.filed_in = 0
        for by_release in self.types.values():
            by_release[subscription.release].remove(tenant, subscription)
        self.leave(tenant)

    def leave(self, tenant: Tenant) -> None:
        """A subscription of the tenant is in another index now. It stays filed here and no longer counts."""
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]

    def take_apart(self) -> Iterator[None]:
        """Removes everything, a piece in a step: to free a large index at once stops the process."""
        for by_release in self.types.values():
            for type_index in by_release.values():
                for root in type_index.roots.values():
                    yield from root.take_apart()

    def type_index(
        self, by_release: dict[Release, TypeIndex], resource_type: str, release: Release
    ) -> TypeIndex:
        """The index of a focus type for subscribers of a release, empty if it is new."""
        type_index = by_release.get(release)
        if type_index is None:
            type_index = TypeIndex(LookupPlanner(self.topic, resource_type, self._context))
            by_release[release] = type_index
        return type_index


def _without_value(filter_: Filter) -> Filter:
    return Filter(filter_.parameter, "", None, filter_.modifier, filter_.resource_type)
