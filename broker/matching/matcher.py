"""One change in, the subscriptions it is an event of out.

`NaiveMatcher` looks at every subscription of a topic that fired; it says what is right for quicker ones. Nothing crosses
tenants: only subscriptions of the change's own tenant are looked at.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from broker.errors import BrokerError
from broker.matching.fhirpath import EvaluationFailed
from broker.matching.filters import Test, compile_filter
from broker.matching.problems import Problem
from broker.matching.registration import filter_applies
from broker.matching.triggers import TopicTriggers
from broker.model.change import Change, Interaction, Tenant, Version
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Topic

_MAX_PROBLEMS = 1000
_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_Key = tuple[Tenant, SubscriptionId]
_Outcome = bool | str
"""Whether a filter passed, or why it couldn't be told."""


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

    def match(self, change: Change) -> list[Match]:
        """The order is not defined. Raises only for a body that is no JSON object."""
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


class NaiveMatcher:
    """Evaluates a topic once a change, and identical filters once; looks at each subscription of a fired topic."""

    def __init__(self, table: ParameterTable, base_urls: frozenset[str] = frozenset()) -> None:
        self._table = table
        self._base_urls = base_urls
        self._groups: dict[str, _Group] = {}
        self._topics: dict[_Key, str] = {}
        self._uses: Counter[Filter] = Counter()
        self._tests: dict[Filter, dict[tuple[Release, str], Test | str]] = {}
        self._problems: deque[Problem] = deque(maxlen=_MAX_PROBLEMS)

    def put(self, subscription: Subscription, topic: Topic) -> None:
        self.remove(subscription.tenant, subscription.id)
        group = self._groups.get(topic.canonical)
        if group is None:
            group = _Group(topic, TopicTriggers(topic, self._table, self._base_urls))
            self._groups[topic.canonical] = group
        elif group.topic is not topic:
            group.topic, group.triggers = topic, TopicTriggers(topic, self._table, self._base_urls)
        group.by_tenant.setdefault(subscription.tenant, {})[subscription.id] = subscription.filters
        self._topics[subscription.tenant, subscription.id] = topic.canonical
        self._uses.update(subscription.filters)
        for wanted in subscription.filters:
            for resource_type in topic.focus_types:
                if filter_applies(wanted, topic, resource_type):
                    self._test(wanted, subscription.release, resource_type)

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        canonical = self._topics.pop((tenant, subscription_id), None)
        if canonical is None:
            return
        group = self._groups[canonical]
        members = group.by_tenant[tenant]
        filters = members.pop(subscription_id)
        if not members:
            del group.by_tenant[tenant]
        if not group.by_tenant:
            del self._groups[canonical]
        self._uses.subtract(filters)
        for wanted in set(filters):
            if self._uses[wanted] <= 0:
                del self._uses[wanted]
                self._tests.pop(wanted, None)

    def match(self, change: Change) -> list[Match]:
        key, interaction = change.current.key, change.interaction
        groups = [
            group
            for group in self._groups.values()
            if key.tenant in group.by_tenant and group.triggers.concerns(key.type, interaction)
        ]
        if not groups:
            return []
        previous, current = _state(change.previous), _state(change.current)
        before = change.previous.release if change.previous is not None else change.release
        # on delete the state before it is what filters are about
        is_gone = interaction is Interaction.DELETE
        state, release = (previous, before) if is_gone else (current, change.release)
        outcomes: dict[Filter, _Outcome] = {}

        def outcome(wanted: Filter) -> _Outcome:
            found = outcomes.get(wanted)
            if found is None:
                found = outcomes[wanted] = self._evaluate(wanted, release, key.type, state)
            return found

        matches: list[Match] = []
        for group in groups:
            canonical = group.topic.canonical
            fired, failures = group.triggers.judge(
                interaction, change.release, key.type, previous, current, previous_release=before
            )
            self._problems += [Problem(f"topic {canonical}", failure) for failure in failures]
            if fired:
                passing = self._passing(group, key.tenant, key.type, outcome)
                matches += [Match(key.tenant, one, canonical) for one in passing]
        return matches

    def _passing(
        self, group: _Group, tenant: Tenant, resource_type: str, outcome: Callable[[Filter], _Outcome]
    ) -> Iterator[SubscriptionId]:
        """All filters that apply must pass; filters for other types don't block (R-144)."""
        here: dict[Filter, _Outcome] = {}
        for subscription_id, filters in group.by_tenant[tenant].items():
            for wanted in filters:
                found = here.get(wanted)
                if found is None:
                    found = not filter_applies(wanted, group.topic, resource_type) or outcome(wanted)
                    here[wanted] = found
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

    def _evaluate(
        self, wanted: Filter, release: Release, resource_type: str, state: dict[str, Any] | None
    ) -> _Outcome:
        test = self._test(wanted, release, resource_type)
        if isinstance(test, str):
            return test
        if state is None:
            return "the state to filter by is no longer stored"
        try:
            return test(state)
        except EvaluationFailed as error:
            return str(error)

    def _test(self, wanted: Filter, release: Release, resource_type: str) -> Test | str:
        """The compiled filter, shared by all that use it; or why there is none, and then nothing passes (R-410)."""
        tests = self._tests.setdefault(wanted, {})
        test = tests.get((release, resource_type))
        if test is None:
            test = tests[release, resource_type] = self._compile(wanted, release, resource_type)
        return test

    def _compile(self, wanted: Filter, release: Release, resource_type: str) -> Test | str:
        parameter = self._table.find(release, resource_type, wanted.parameter)
        if parameter is None:
            return f"{resource_type} has no search parameter {wanted.parameter} in {release}"
        try:
            return compile_filter(wanted, parameter, self._base_urls, release)
        except BrokerError as error:
            return str(error)


def _state(version: Version | None) -> dict[str, Any] | None:
    """The resource, its decimals exact; None before it existed, after it was deleted, or where it is no longer stored."""
    if version is None or version.body is None:
        return None
    return _decoder.decode(version.body)
