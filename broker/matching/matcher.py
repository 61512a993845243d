"""One change in, the subscriptions it is an event of out.

`NaiveMatcher` looks at every subscription of a topic that fired; it says what is right for quicker ones. Nothing crosses
tenants: only subscriptions of the change's own tenant are looked at.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from broker.errors import BrokerError
from broker.matching.chains import ChainTest, compile_chain, is_chained, read_chain
from broker.matching.definitions import find_parameter
from broker.matching.filters import Test, compile_filter
from broker.matching.problems import EvaluationFailed, Problem
from broker.matching.registration import filter_applies
from broker.matching.states import NOTHING_RELATED, Related, RelatedStates, State, Target, state_of
from broker.matching.triggers import TopicTriggers
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.change import Change, Interaction, Tenant
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, SearchParameter
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Topic

_MAX_PROBLEMS = 1000
_Key = tuple[Tenant, SubscriptionId]
_Outcome = bool | str
"""Whether a filter passed, or why it couldn't be told."""
_Compiled = Test | ChainTest | str
"""A compiled filter, or why there is none: then nothing passes (R-410)."""
_Where = tuple[Release, str]
"""Release and type of a focus."""


@dataclass(frozen=True, slots=True)
class Match:
    """A change is an event of this subscription."""

    tenant: Tenant
    subscription_id: SubscriptionId
    topic_canonical: str


class Matcher(Protocol):
    """What the matcher's loop needs."""

    def put(self, subscription: Subscription, topic: Topic) -> None:
        """Adds the subscription, or replaces what was put under its tenant and id."""
        ...

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        """Unknown ones are passed over."""
        ...

    def needs(self, change: Change) -> frozenset[Target]:
        """The resources that chained filters ask about; empty, and at no cost, where no subscription has any. Never raises."""
        ...

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        """`related` holds the current versions of what `needs` named, as far as they are stored in the change's tenant.

        The order is not defined. Raises only for a body that is no JSON object.
        """
        ...

    def drain_errors(self) -> list[Problem]:
        """The problems since the last call, the newest if there were very many."""
        ...


@dataclass(slots=True)
class _Group:
    """The subscriptions of one topic."""

    topic: Topic
    triggers: TopicTriggers
    by_tenant: dict[Tenant, dict[SubscriptionId, tuple[Filter, ...]]] = field(default_factory=dict)
    chained: Counter[tuple[Tenant, Filter]] = field(default_factory=Counter)
    parameters: dict[tuple[_Where, str], SearchParameter | None] = field(default_factory=dict)
    """What a filter's name means in this topic."""

    def concerns(self, change: Change) -> bool:
        key = change.current.key
        if key.tenant not in self.by_tenant:
            return False
        if change.events:
            return self.triggers.judge_event(change.events, key.type)
        return self.triggers.concerns(key.type, change.interaction)


@dataclass(slots=True)
class _Focus:
    """What one change shows to filters, and what they said about it."""

    where: _Where
    state: State
    related: RelatedStates
    outcomes: dict[tuple[Filter, str], _Outcome] = field(default_factory=dict)


class NaiveMatcher:
    """Evaluates a topic once a change, and identical filters once; looks at each subscription of a fired topic."""

    def __init__(
        self,
        table: ParameterTable,
        base_urls: frozenset[str] = frozenset(),
        value_sets: ValueSets = NO_VALUE_SETS,
    ) -> None:
        self._table = table
        self._base_urls = base_urls
        self._value_sets = value_sets
        self._groups: dict[str, _Group] = {}
        self._topics: dict[_Key, str] = {}
        self._uses: Counter[Filter] = Counter()
        self._tests: dict[Filter, dict[tuple[_Where, str], _Compiled]] = {}
        self._problems: deque[Problem] = deque(maxlen=_MAX_PROBLEMS)

    def put(self, subscription: Subscription, topic: Topic) -> None:
        self.remove(subscription.tenant, subscription.id)
        group = self._groups.get(topic.canonical)
        if group is None:
            group = self._groups[topic.canonical] = _Group(topic, self._triggers(topic))
        elif group.topic is not topic:
            group.topic, group.triggers = topic, self._triggers(topic)
            group.parameters.clear()
        tenant, filters = subscription.tenant, subscription.filters
        group.by_tenant.setdefault(tenant, {})[subscription.id] = filters
        group.chained.update((tenant, one) for one in filters if is_chained(one))
        self._topics[tenant, subscription.id] = topic.canonical
        self._uses.update(filters)
        for wanted in filters:
            for resource_type in topic.focus_types:
                if filter_applies(wanted, topic, resource_type):
                    self._test(group, wanted, (subscription.release, resource_type))

    def _triggers(self, topic: Topic) -> TopicTriggers:
        return TopicTriggers(topic, self._table, self._base_urls, self._value_sets)

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        canonical = self._topics.pop((tenant, subscription_id), None)
        if canonical is None:
            return
        group = self._groups[canonical]
        members = group.by_tenant[tenant]
        filters = members.pop(subscription_id)
        for wanted in filters:
            if is_chained(wanted):
                group.chained[tenant, wanted] -= 1
        group.chained = +group.chained
        if not members:
            del group.by_tenant[tenant]
        if not group.by_tenant:
            del self._groups[canonical]
        self._uses.subtract(filters)
        for wanted in set(filters):
            if self._uses[wanted] <= 0:
                del self._uses[wanted]
                self._tests.pop(wanted, None)

    def needs(self, change: Change) -> frozenset[Target]:
        key = change.current.key
        asking = [
            (group, wanted)
            for group in self._groups.values()
            if group.chained and group.concerns(change)
            for tenant, wanted in group.chained
            if tenant == key.tenant and filter_applies(wanted, group.topic, key.type)
        ]
        if not asking:
            return frozenset()
        try:
            focus = _focus(change, NOTHING_RELATED)
        except msgspec.DecodeError:
            return frozenset()  # `match` tells
        found = frozenset[Target]()
        for group, wanted in asking:
            test = self._test(group, wanted, focus.where)
            if isinstance(test, ChainTest) and focus.state is not None:
                found |= test.needs(focus.state)
        return found

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        groups = [group for group in self._groups.values() if group.concerns(change)]
        if not groups:
            return []
        key, focus = change.current.key, _focus(change, related)
        matches: list[Match] = []
        for group, fires in self._fired(groups, change, focus):
            if fires:
                passing = self._passing(group, key.tenant, focus)
                matches += [Match(key.tenant, one, group.topic.canonical) for one in passing]
        return matches

    def _fired(self, groups: list[_Group], change: Change, focus: _Focus) -> Iterator[tuple[_Group, bool]]:
        if change.events:
            yield from ((group, True) for group in groups)  # what concerns the group was judged already
            return
        is_gone = change.interaction is Interaction.DELETE
        previous = focus.state if is_gone else state_of(change.previous)
        current = None if is_gone else focus.state
        before = change.previous.release if change.previous is not None else change.release
        for group in groups:
            fired, failures = group.triggers.judge(
                change.interaction,
                change.release,
                change.current.key.type,
                previous,
                current,
                previous_release=before,
            )
            self._problems += [Problem(f"topic {group.topic.canonical}", failure) for failure in failures]
            yield group, fired

    def _passing(self, group: _Group, tenant: Tenant, focus: _Focus) -> Iterator[SubscriptionId]:
        """All filters that apply must pass; filters for other types don't block (R-144)."""
        here: dict[Filter, _Outcome] = {}
        resource_type = focus.where[1]
        for subscription_id, filters in group.by_tenant[tenant].items():
            for wanted in filters:
                found = here.get(wanted)
                if found is None:
                    applies = filter_applies(wanted, group.topic, resource_type)
                    found = here[wanted] = not applies or self._outcome(group, wanted, focus)
                if isinstance(found, str):
                    self._problems.append(Problem(f"filter {wanted.parameter}", found, subscription_id))
                if found is not True:
                    break
            else:
                yield subscription_id

    def drain_errors(self) -> list[Problem]:
        drained = list(self._problems)
        self._problems.clear()
        return drained

    def _outcome(self, group: _Group, wanted: Filter, focus: _Focus) -> _Outcome:
        parameter = self._parameter(group, wanted, focus.where)
        key = wanted, parameter.code if parameter is not None else ""
        if key not in focus.outcomes:
            focus.outcomes[key] = self._evaluate(self._test(group, wanted, focus.where), focus)
        return focus.outcomes[key]

    @staticmethod
    def _evaluate(test: _Compiled, focus: _Focus) -> _Outcome:
        if isinstance(test, str):
            return test
        if focus.state is None:
            return "the state to filter by is no longer stored"
        try:
            if isinstance(test, ChainTest):
                return test.passes(focus.state, focus.related)
            return test(focus.state)
        except EvaluationFailed as error:
            return str(error)

    def _parameter(self, group: _Group, wanted: Filter, where: _Where) -> SearchParameter | None:
        """What the filter is about: of a chain, the reference it follows."""
        chain = read_chain(wanted) if is_chained(wanted) else None
        name = wanted.parameter if chain is None else chain.link
        if (where, name) not in group.parameters:
            group.parameters[where, name] = find_parameter(self._table, *where, name, group.topic)
        return group.parameters[where, name]

    def _test(self, group: _Group, wanted: Filter, where: _Where) -> _Compiled:
        """Shared by all that use the filter and mean the same parameter by it."""
        parameter = self._parameter(group, wanted, where)
        if parameter is None:
            return f"{where[1]} has no search parameter {wanted.parameter} in {where[0]}"
        tests = self._tests.setdefault(wanted, {})
        key = where, parameter.code
        if key not in tests:
            tests[key] = self._compile(wanted, parameter, where[0])
        return tests[key]

    def _compile(self, wanted: Filter, parameter: SearchParameter, release: Release) -> _Compiled:
        try:
            if not is_chained(wanted):
                return compile_filter(wanted, parameter, self._base_urls, release, self._value_sets)
            chain = read_chain(wanted)
            if chain is None:
                return f"{wanted.parameter} can't be read as a chain"
            return compile_chain(chain, parameter, self._table, self._base_urls, release, self._value_sets)
        except BrokerError as error:
            return str(error)


def _focus(change: Change, related: Related) -> _Focus:
    """The state that filters are about: the current one, after a deletion the one before (R-069)."""
    version = change.current
    if change.interaction is Interaction.DELETE and not change.events:
        version = change.previous or version
        state = state_of(change.previous)
    else:
        state = state_of(version)
    return _Focus((version.release, change.current.key.type), state, RelatedStates(related))
