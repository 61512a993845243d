"""The naive matcher: it examines every subscription of a topic that fires.

It is the oracle: `IndexedMatcher` must find the same matches (`tests/unit/matching/test_index.py`), and
`explain` and `$dry-run` evaluate with it.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from broker.errors import BrokerError
from broker.matching.chains import ChainTest, compile_chain, is_chained, read_chain
from broker.matching.change_states import ChangeStates, RelatedStates
from broker.matching.context import SearchContext
from broker.matching.definitions import find_parameter
from broker.matching.filters import Test, compile_filter
from broker.matching.matcher import Match
from broker.matching.problems import MAX_PROBLEMS, EvaluationFailed, Problem
from broker.matching.registration import filter_applies, sends
from broker.matching.release_views import state_in
from broker.matching.states import (
    NOTHING_RELATED,
    Related,
    State,
    Target,
    filtered_version,
    state_of,
)
from broker.matching.triggers import TopicTriggers
from broker.matching.verdicts import (
    NOT_APPLICABLE,
    PASSED,
    STATE_NOT_STORED,
    FilterEvaluation,
    FilterVerdict,
    evaluation_of,
    not_evaluable,
)
from broker.model.change import Change, Tenant
from broker.model.release import Release
from broker.model.search import Filter, SearchParameter
from broker.model.subscription import Subscription, SubscriptionId
from broker.model.topic import Topic

_CompiledFilter = Test | ChainTest | FilterEvaluation
"""A FilterEvaluation if the filter can't be compiled: then it never passes (R-410)."""
_FocusType = tuple[Release, str]
"""Release and type of a focus."""
_Subscriber = tuple[Release, tuple[Filter, ...]]
"""Release and filters of a subscription."""


@dataclass(slots=True)
class _TopicSubscriptions:
    """The subscriptions of one topic. `parameters` caches what the names of filters mean in it."""

    topic: Topic
    triggers: TopicTriggers
    by_tenant: dict[Tenant, dict[SubscriptionId, _Subscriber]] = field(default_factory=dict)
    chained: Counter[tuple[Tenant, Release, Filter]] = field(default_factory=Counter)
    parameters: dict[tuple[_FocusType, str], SearchParameter | None] = field(default_factory=dict)

    def concerns(self, change: Change) -> bool:
        key = change.current.key
        if key.tenant not in self.by_tenant:
            return False
        if change.events:
            return self.triggers.fires_on_event(change.events, key.type)
        return self.triggers.concerns(key.type, change.interaction)


@dataclass(slots=True)
class _Focus:
    """The state that filters apply to (R-069) as subscribers of one release see it, and the evaluations of
    filters on it.
    """

    focus_type: _FocusType
    state: State
    related: RelatedStates
    evaluations: dict[tuple[Filter, str], FilterEvaluation] = field(default_factory=dict)

    @classmethod
    def of(cls, change: Change, related: Related, release: Release) -> "_Focus":
        version, resource_type = filtered_version(change), change.current.key.type
        own = change.release if version is None else version.release
        seen, state = state_in(state_of(version), resource_type, own, release)
        return cls((seen, resource_type), state, RelatedStates(related, release))


class NaiveMatcher:
    """Implements `Matcher`. Evaluates a topic once per change, and identical filters once."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._topics: dict[str, _TopicSubscriptions] = {}
        self._canonicals: dict[tuple[Tenant, SubscriptionId], str] = {}
        self._use_counts: Counter[Filter] = Counter()
        self._compiled: dict[Filter, dict[tuple[_FocusType, str], _CompiledFilter]] = {}
        self._problems: deque[Problem] = deque(maxlen=MAX_PROBLEMS)

    def put(self, subscription: Subscription, topic: Topic) -> None:
        self.remove(subscription.tenant, subscription.id)
        entry = self._topics.get(topic.canonical)
        if entry is None:
            triggers = TopicTriggers(topic, self._context)
            entry = self._topics[topic.canonical] = _TopicSubscriptions(topic, triggers)
        self.set_topic(topic)
        tenant, release, filters = subscription.tenant, subscription.release, subscription.filters
        entry.by_tenant.setdefault(tenant, {})[subscription.id] = release, filters
        entry.chained.update((tenant, release, filter_) for filter_ in filters if is_chained(filter_))
        self._canonicals[tenant, subscription.id] = topic.canonical
        self._use_counts.update(filters)
        for filter_ in filters:
            for resource_type in topic.focus_types:
                if filter_applies(filter_, topic, resource_type):
                    self._compiled_filter(entry, filter_, (release, resource_type))

    def remove(self, tenant: Tenant, subscription_id: SubscriptionId) -> None:
        canonical = self._canonicals.pop((tenant, subscription_id), None)
        if canonical is None:
            return
        entry = self._topics[canonical]
        subscriptions = entry.by_tenant[tenant]
        release, filters = subscriptions.pop(subscription_id)
        entry.chained.subtract((tenant, release, filter_) for filter_ in filters if is_chained(filter_))
        entry.chained = +entry.chained
        if not subscriptions:
            del entry.by_tenant[tenant]
        if not entry.by_tenant:
            del self._topics[canonical]
        self._use_counts.subtract(filters)
        for filter_ in set(filters):
            if self._use_counts[filter_] <= 0:
                del self._use_counts[filter_]
                self._compiled.pop(filter_, None)

    def set_topic(self, topic: Topic) -> None:
        entry = self._topics.get(topic.canonical)
        if entry is not None and entry.topic is not topic:
            entry.topic, entry.triggers = topic, TopicTriggers(topic, self._context)
            entry.parameters.clear()

    def refile(self) -> bool:
        return False  # every evaluation reads the content of the topic

    def prepare(self, change: Change) -> Iterator[None]:  # noqa: ARG002 the protocol has it
        return iter(())

    def recompile(self) -> None:
        for compiled in self._compiled.values():
            compiled.clear()

    def needs(self, change: Change) -> frozenset[Target]:
        key = change.current.key
        chained = [
            (entry, release, filter_)
            for entry in self._topics.values()
            if entry.chained and entry.concerns(change)
            for tenant, release, filter_ in entry.chained
            if tenant == key.tenant
        ]
        try:
            foci = {
                release: _Focus.of(change, NOTHING_RELATED, release)
                for release in {release for _, release, _ in chained}
            }
        except msgspec.DecodeError:
            return frozenset()  # `match` raises it
        return frozenset(
            target
            for entry, release, filter_ in chained
            for target in self._targets(entry, filter_, foci[release])
        )

    def match(self, change: Change, related: Related = NOTHING_RELATED) -> list[Match]:
        entries = [entry for entry in self._topics.values() if entry.concerns(change)]
        if not entries:
            return []
        tenant = change.current.key.tenant
        foci = {release: _Focus.of(change, related, release) for release in Release}
        matches: list[Match] = []
        for entry in self._firing(entries, change):
            matches += [
                Match(tenant, subscription_id, entry.topic.canonical)
                for subscription_id in self._passing(entry, tenant, foci)
            ]
        return matches

    def evaluate_filter(
        self,
        filter_: Filter,
        topic: Topic,
        change: Change,
        release: Release,
        related: Related = NOTHING_RELATED,
    ) -> FilterEvaluation:
        """The evaluation of one filter, as `match` does it for a subscription of that release of a topic that
        fires.
        """
        entry = _TopicSubscriptions(topic, TopicTriggers(topic, self._context))
        return self._evaluate(entry, filter_, _Focus.of(change, related, release))

    def filter_targets(
        self, filter_: Filter, topic: Topic, change: Change, release: Release
    ) -> frozenset[Target]:
        """The resources that one filter of a subscription of that release refers to, as `needs` finds them.

        Never raises.
        """
        entry = _TopicSubscriptions(topic, TopicTriggers(topic, self._context))
        try:
            return self._targets(entry, filter_, _Focus.of(change, NOTHING_RELATED, release))
        except msgspec.DecodeError:
            return frozenset()

    def drain_problems(self) -> list[Problem]:
        problems = list(self._problems)
        self._problems.clear()
        return problems

    def _firing(self, entries: list[_TopicSubscriptions], change: Change) -> Iterator[_TopicSubscriptions]:
        if change.events:
            yield from entries  # `concerns` has evaluated the event triggers
            return
        states = ChangeStates.of(change)
        for entry in entries:
            verdict = entry.triggers.judge(states)
            self._problems += [
                Problem(failure.reason, entry.topic.canonical, failure.location)
                for failure in verdict.failures
            ]
            if verdict.fired:
                yield entry

    def _passing(
        self, entry: _TopicSubscriptions, tenant: Tenant, foci: dict[Release, _Focus]
    ) -> Iterator[SubscriptionId]:
        """The subscriptions of which all filters that apply pass; filters for other types don't block
        (R-144).
        """
        evaluations: dict[tuple[Release, Filter], FilterEvaluation] = {}
        for subscription_id, (release, filters) in entry.by_tenant[tenant].items():
            if not sends(filters, entry.topic, foci[release].focus_type[1]):
                continue
            for filter_ in filters:
                key = release, filter_
                evaluation = evaluations.get(key)
                if evaluation is None:
                    evaluation = evaluations[key] = self._evaluate(entry, filter_, foci[release])
                if evaluation is PASSED or evaluation is NOT_APPLICABLE:
                    continue
                if evaluation.verdict is FilterVerdict.NOT_EVALUABLE:
                    self._problems.append(
                        Problem(
                            evaluation.reason,
                            entry.topic.canonical,
                            subscription_id=subscription_id,
                            filter_index=filters.index(filter_),
                            parameter=filter_.parameter,
                        )
                    )
                break
            else:
                yield subscription_id

    def _evaluate(self, entry: _TopicSubscriptions, filter_: Filter, focus: _Focus) -> FilterEvaluation:
        if not filter_applies(filter_, entry.topic, focus.focus_type[1]):
            return NOT_APPLICABLE
        parameter = self._parameter(entry, filter_, focus.focus_type)
        key = filter_, parameter.code if parameter is not None else ""
        if key not in focus.evaluations:
            compiled = self._compiled_filter(entry, filter_, focus.focus_type)
            focus.evaluations[key] = _evaluation(compiled, focus)
        return focus.evaluations[key]

    def _targets(self, entry: _TopicSubscriptions, filter_: Filter, focus: _Focus) -> frozenset[Target]:
        if focus.state is None or not filter_applies(filter_, entry.topic, focus.focus_type[1]):
            return frozenset()
        compiled = self._compiled_filter(entry, filter_, focus.focus_type)
        return compiled.resolver.targets(focus.state) if isinstance(compiled, ChainTest) else frozenset()

    def _parameter(
        self, entry: _TopicSubscriptions, filter_: Filter, focus_type: _FocusType
    ) -> SearchParameter | None:
        """The parameter that the filter means; for a chain, the reference that it follows."""
        chain = read_chain(filter_) if is_chained(filter_) else None
        name = filter_.parameter if chain is None else chain.link
        if (focus_type, name) not in entry.parameters:
            entry.parameters[focus_type, name] = find_parameter(
                self._context.parameters, *focus_type, name, entry.topic
            )
        return entry.parameters[focus_type, name]

    def _compiled_filter(
        self, entry: _TopicSubscriptions, filter_: Filter, focus_type: _FocusType
    ) -> _CompiledFilter:
        """Shared by all topics in which the filter means the same parameter."""
        release, resource_type = focus_type
        parameter = self._parameter(entry, filter_, focus_type)
        if parameter is None:
            return not_evaluable(f"{resource_type} has no search parameter {filter_.parameter} in {release}")
        compiled = self._compiled.setdefault(filter_, {})
        key = focus_type, parameter.code
        if key not in compiled:
            compiled[key] = self._compile(filter_, parameter, release)
        return compiled[key]

    def _compile(self, filter_: Filter, parameter: SearchParameter, release: Release) -> _CompiledFilter:
        try:
            if not is_chained(filter_):
                return compile_filter(filter_, parameter, release, self._context)
            chain = read_chain(filter_)
            if chain is None:
                return not_evaluable(f"{filter_.parameter} can't be read as a chain")
            return compile_chain(chain, parameter, release, self._context)
        except BrokerError as error:
            return not_evaluable(str(error))


def _evaluation(compiled: _CompiledFilter, focus: _Focus) -> FilterEvaluation:
    if isinstance(compiled, FilterEvaluation):
        return compiled
    if focus.state is None:
        return STATE_NOT_STORED
    try:
        if isinstance(compiled, ChainTest):
            return evaluation_of(passed=compiled.passes(focus.state, focus.related))
        return evaluation_of(passed=compiled(focus.state))
    except EvaluationFailed as error:
        return not_evaluable(str(error))
