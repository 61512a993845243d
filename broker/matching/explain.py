"""Why a change is, or isn't, an event of one subscription: trigger by trigger, term by term, filter by filter.

Every outcome told here is asked of the code that matches: a trigger on its own, a filter on its own in a topic that fires.
So the verdict is `NaiveMatcher`'s on every input (`tests/unit/matching/test_explain.py`). What only illustrates an outcome,
the values found and the sentences, is worked out beside it and decides nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from broker.errors import BrokerError
from broker.matching.chains import ChainTest, compile_chain, is_chained, read_chain
from broker.matching.definitions import ANY_TYPE, find_parameter
from broker.matching.fhirpath import evaluate_criteria
from broker.matching.filters import compile_filter
from broker.matching.findings import found_through, found_values, text_of
from broker.matching.matcher import NaiveMatcher
from broker.matching.registration import filter_applies
from broker.matching.states import NOTHING_RELATED, Related, RelatedStates, State, Target, state_of
from broker.matching.triggers import TopicTriggers, query_terms
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.change import Change, Interaction, Version
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable
from broker.model.subscription import Subscription
from broker.model.topic import EventTrigger, ResourceTrigger, Topic


class Outcome(StrEnum):
    """What came of one test. `NOT_ASKED` keeps nothing from matching."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True)
class TermReport:
    """A filter, or a term of a topic's query: what it asks, where it looks, what it finds. `text` is the term as written."""

    text: str
    parameter: str
    wanted: str
    expression: str
    found: tuple[str, ...]
    outcome: Outcome
    reason: str
    resource_type: str = ""


@dataclass(frozen=True, slots=True)
class CriteriaReport:
    """One half of query criteria (`previous`, `current`), or `fhirPath`; `text` is '' for a half the topic only gives a result for."""

    name: str
    text: str
    outcome: Outcome
    reason: str
    terms: tuple[TermReport, ...] = ()


@dataclass(frozen=True, slots=True)
class TriggerReport:
    """`element` is its place in the topic; `require_both` tells how the halves of its query count."""

    element: str
    resource: str
    outcome: Outcome
    reason: str
    require_both: bool = False
    criteria: tuple[CriteriaReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """`matches` is what the matcher says; `reason` is a sentence, the first thing that decided."""

    matches: bool
    reason: str
    topic: str
    triggers: tuple[TriggerReport, ...]
    filters: tuple[TermReport, ...]


def explain(
    subscription: Subscription,
    topic: Topic,
    change: Change,
    table: ParameterTable,
    base_urls: frozenset[str] = frozenset(),
    value_sets: ValueSets = NO_VALUE_SETS,
    related: Related = NOTHING_RELATED,
) -> Explanation:
    """`related` holds the current versions of what `needs` named. Raises only for a body that is no JSON object."""
    case = _Case(subscription, topic, change, table, base_urls, value_sets, related)
    triggers, filters = case.triggers(), case.filters()
    reason, matches = _sentence(case, triggers, filters)
    return Explanation(matches, reason, topic.canonical, triggers, filters)


def needs(
    subscription: Subscription,
    topic: Topic,
    change: Change,
    table: ParameterTable,
    base_urls: frozenset[str] = frozenset(),
    value_sets: ValueSets = NO_VALUE_SETS,
) -> frozenset[Target]:
    """The resources that chained filters ask about, whether or not the topic fires."""
    return _Case(subscription, topic, change, table, base_urls, value_sets, NOTHING_RELATED).needs()


def _sentence(
    case: "_Case", triggers: tuple[TriggerReport, ...], filters: tuple[TermReport, ...]
) -> tuple[str, bool]:
    kind = f"{case.change.interaction} of {case.change.current.key.type}"
    if case.subscription.tenant != case.change.current.key.tenant:
        return f"This {kind} is no event: it belongs to another tenant than the subscription.", False
    fired = next((one for one in triggers if one.outcome is Outcome.PASSED), None)
    if fired is None:
        told = next((one for one in triggers if one.criteria or one.outcome is Outcome.ERROR), None)
        told = told or next(iter(triggers), None)
        why = f"{told.element} {told.reason}" if told is not None else "it has no trigger"
        return f"This {kind} is no event: the topic {case.topic.canonical} does not fire: {why}.", False
    for one in filters:
        if one.outcome in {Outcome.FAILED, Outcome.ERROR}:
            return f"This {kind} is no event: the filter {one.text} {one.reason}.", False
    asked = sum(one.outcome is Outcome.PASSED for one in filters)
    rest = (
        f"it passes {'the filter' if asked == 1 else f'all {asked} filters'}"
        if asked
        else "no filter is asked"
    )
    return f"This {kind} is an event: {fired.element} of {case.topic.canonical} fires and {rest}.", True


class _Case:
    """One subscription, one topic, one change."""

    def __init__(
        self,
        subscription: Subscription,
        topic: Topic,
        change: Change,
        table: ParameterTable,
        base_urls: frozenset[str],
        value_sets: ValueSets,
        related: Related,
    ) -> None:
        self.subscription, self.topic, self.change = subscription, topic, change
        self._table, self._base_urls, self._value_sets, self._related = table, base_urls, value_sets, related
        self._type = change.current.key.type
        is_gone = change.interaction is Interaction.DELETE
        self._previous = state_of(change.previous)
        self._current = None if is_gone else state_of(change.current)
        before = change.previous.release if change.previous is not None else change.release
        self._releases = (before, change.release)
        looked_at: Version = change.current
        if is_gone and not change.events:  # filters see the state that was deleted
            looked_at = change.previous or change.current
        self._focus, self._focus_release = state_of(looked_at), looked_at.release

    def needs(self) -> frozenset[Target]:
        return self._matcher(self.subscription.filters).needs(self.change)

    def triggers(self) -> tuple[TriggerReport, ...]:
        return (
            *(self._trigger(n, one) for n, one in enumerate(self.topic.resource_triggers)),
            *(self._event_trigger(n, one) for n, one in enumerate(self.topic.event_triggers)),
        )

    def filters(self) -> tuple[TermReport, ...]:
        return tuple(self._filter(one) for one in self.subscription.filters)

    def _alone(self, resource: tuple[ResourceTrigger, ...], event: tuple[EventTrigger, ...]) -> TopicTriggers:
        topic = replace(self.topic, resource_triggers=resource, event_triggers=event)
        return TopicTriggers(topic, self._table, self._base_urls, self._value_sets)

    def _judge(self, trigger: ResourceTrigger) -> tuple[Outcome, str]:
        """The matcher's verdict on one trigger, and what failed on the way."""
        interaction, release = self.change.interaction, self._releases[1]
        fired, failures = self._alone((trigger,), ()).judge(
            interaction,
            release,
            self._type,
            self._previous,
            self._current,
            previous_release=self._releases[0],
        )
        if fired:
            return Outcome.PASSED, ""
        told = "; ".join(one.removeprefix("resourceTrigger[0]").lstrip(": ") for one in failures)
        return (Outcome.ERROR if told else Outcome.FAILED), told

    def _trigger(self, n: int, trigger: ResourceTrigger) -> TriggerReport:
        element = f"resourceTrigger[{n}]"
        if self.change.events:
            reason = "is about changes of state; this reports a business event"
            return TriggerReport(element, trigger.resource, Outcome.NOT_ASKED, reason)
        if trigger.resource not in {self._type, ANY_TYPE}:
            reason = f"is about {trigger.resource}"
            return TriggerReport(element, trigger.resource, Outcome.FAILED, reason)
        if self.change.interaction not in trigger.interactions:
            reason = f"is about {' and '.join(sorted(trigger.interactions))} only"
            return TriggerReport(element, trigger.resource, Outcome.FAILED, reason)
        criteria = tuple(self._criteria(trigger))
        outcome, failure = self._judge(trigger)
        wanting = [one for one in criteria if one.outcome is not Outcome.PASSED]
        if outcome is Outcome.PASSED:
            reason = "fires" if criteria else "fires on every such change"
        else:
            reason = failure or "; ".join(f"{one.name}: {one.reason}" for one in wanting)
        both = trigger.query is not None and trigger.query.require_both
        return TriggerReport(element, trigger.resource, outcome, reason, both, criteria)

    def _event_trigger(self, n: int, trigger: EventTrigger) -> TriggerReport:
        fired = self._alone((), (trigger,)).judge_event(self.change.events, self._type)
        codes = ", ".join(f"{one.system or ''}|{one.code}" for one in trigger.codings) or "no code"
        reason = f"is about the event {codes}" + (
            "" if trigger.resource == ANY_TYPE else f" of {trigger.resource}"
        )
        outcome = Outcome.FAILED
        if fired:
            outcome, reason = Outcome.PASSED, f"fires on the event {codes}"
        elif not self.change.events:
            outcome = Outcome.NOT_ASKED
        return TriggerReport(f"eventTrigger[{n}]", trigger.resource, outcome, reason)

    def _criteria(self, trigger: ResourceTrigger) -> Iterator[CriteriaReport]:
        if trigger.query is not None:
            query, (before, after) = trigger.query, self._releases
            is_new = self.change.interaction is Interaction.CREATE
            is_gone = self.change.interaction is Interaction.DELETE
            halves = (
                ("previous", query.previous, self._previous, before, query.result_for_create, is_new),
                ("current", query.current, self._current, after, query.result_for_delete, is_gone),
            )
            for name, text, state, release, result, is_given in halves:
                if is_given and (text is not None or result is not None):
                    yield _given(name, text, result)
                elif text is not None:
                    yield self._half(name, text, state, release)
        if trigger.fhirpath is not None:
            yield self._path(trigger.fhirpath)

    def _half(self, name: str, text: str, state: State, release: Release) -> CriteriaReport:
        try:
            terms = tuple(
                self._term(written, wanted, state, release)
                for written, wanted in query_terms(text, self._type)
            )
        except BrokerError as error:
            return CriteriaReport(name, text, Outcome.ERROR, str(error))
        if state is None:
            reason = f"the {name} state is no longer stored"
            return CriteriaReport(name, text, Outcome.FAILED, reason, terms)
        first = next((one for one in terms if one.outcome is not Outcome.PASSED), None)
        if first is None:
            return CriteriaReport(name, text, Outcome.PASSED, "passes", terms)
        return CriteriaReport(name, text, first.outcome, f"{first.text} {first.reason}", terms)

    def _term(self, written: str, wanted: Filter, state: State, release: Release) -> TermReport:
        """A term of a topic's query on its own; the criteria as a whole are judged by the matcher's triggers."""
        parameter = self._table.find(release, self._type, wanted.parameter)
        if parameter is None:
            reason = f"names no search parameter of {self._type} in {release}"
            return TermReport(written, wanted.parameter, wanted.value, "", (), Outcome.ERROR, reason)
        found = tuple(found_values(parameter, release, state))
        try:
            test = compile_filter(wanted, parameter, self._base_urls, release, self._value_sets)
            outcome = Outcome.PASSED if state is not None and test(state) else Outcome.FAILED
            reason = _found(outcome, found)
        except BrokerError as error:
            outcome, reason = Outcome.ERROR, f"can't be evaluated: {error}"
        return TermReport(
            written, wanted.parameter, wanted.value, parameter.expression, found, outcome, reason
        )

    def _path(self, expression: str) -> CriteriaReport:
        release = self._releases[1]
        try:
            fires = evaluate_criteria(expression, self._previous, self._current, release)
        except BrokerError as error:
            return CriteriaReport("fhirPath", expression, Outcome.ERROR, f"can't be evaluated: {error}")
        if fires:
            return CriteriaReport("fhirPath", expression, Outcome.PASSED, "is true")
        return CriteriaReport("fhirPath", expression, Outcome.FAILED, "is not true")

    def _matcher(self, filters: tuple[Filter, ...]) -> NaiveMatcher:
        """One that has only the filters left to decide: its topic fires on this change, its tenant is the change's."""
        if self.change.events:
            topic = replace(self.topic, event_triggers=(EventTrigger(ANY_TYPE, self.change.events),))
        else:
            topic = replace(
                self.topic, resource_triggers=(ResourceTrigger(ANY_TYPE, frozenset(Interaction)),)
            )
        matcher = NaiveMatcher(self._table, self._base_urls, self._value_sets)
        tenant = self.change.current.key.tenant
        matcher.put(replace(self.subscription, tenant=tenant, filters=filters), topic)
        return matcher

    def _filter(self, wanted: Filter) -> TermReport:
        expression, found = self._looked_at(wanted)
        if not filter_applies(wanted, self.topic, self._type):
            outcome, reason = Outcome.NOT_ASKED, f"is not about {self._type}"
        else:
            matcher = self._matcher((wanted,))
            outcome = Outcome.PASSED if matcher.match(self.change, self._related) else Outcome.FAILED
            reason = _found(outcome, found)
            for problem in matcher.drain_errors():
                outcome, reason = Outcome.ERROR, f"can't be evaluated: {problem.reason}"
        text = text_of(wanted)
        resource_type = wanted.resource_type or ""
        return TermReport(
            text, wanted.parameter, wanted.value, expression, found, outcome, reason, resource_type
        )

    def _looked_at(self, wanted: Filter) -> tuple[str, tuple[str, ...]]:
        """The expression a filter looks by and what it finds; of a chain, in the resources it leads to."""
        release = self._focus_release
        chain = read_chain(wanted) if is_chained(wanted) else None
        name = wanted.parameter if chain is None else chain.link
        parameter = find_parameter(self._table, release, self._type, name, self.topic)
        if parameter is None:
            return "", ()
        if chain is None:
            return parameter.expression, tuple(found_values(parameter, release, self._focus))
        try:
            test: ChainTest = compile_chain(
                chain, parameter, self._table, self._base_urls, release, self._value_sets
            )
        except BrokerError:
            return parameter.expression, ()
        related = RelatedStates(self._related)
        return parameter.expression, tuple(
            found_through(chain, parameter, test, self._table, self._focus, related)
        )


def _given(name: str, text: str | None, result: bool | None) -> CriteriaReport:
    """A half whose state doesn't exist: what the topic says about that counts (R-032)."""
    element = "resultForCreate" if name == "previous" else "resultForDelete"
    if result is None:
        reason = f"there is no {name} state, and the topic gives no {element}"
        return CriteriaReport(name, text or "", Outcome.FAILED, reason)
    word, outcome = ("test-passes", Outcome.PASSED) if result else ("test-fails", Outcome.FAILED)
    return CriteriaReport(name, text or "", outcome, f"there is no {name} state: {element} is {word}")


def _found(outcome: Outcome, found: tuple[str, ...]) -> str:
    verb = "passes" if outcome is Outcome.PASSED else "does not pass"
    return f"{verb}: found {', '.join(found) or 'nothing'}"
