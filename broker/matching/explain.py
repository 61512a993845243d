"""Why a change is, or is not, an event of one subscription: trigger by trigger, term by term, filter by
filter.

The verdicts come from the oracle: `TopicTriggers` evaluates the triggers and `NaiveMatcher` the filters, and
`explain` only words what they return. So the verdict is that of `NaiveMatcher` on every input
(`tests/unit/matching/test_explain.py`), and `IndexedMatcher`, which serves, finds the same matches
(`tests/unit/matching/test_index.py`). The values found are read separately; they illustrate a verdict and
decide nothing.
"""

from collections.abc import Iterator

from broker.errors import BrokerError
from broker.matching.chains import chain_ends, chain_resolver, is_chained, read_chain
from broker.matching.change_states import ChangeStates, RelatedStates
from broker.matching.context import SearchContext
from broker.matching.criteria import StateTestEvaluation, StateTestVerdict, TermEvaluation, TestedState
from broker.matching.definitions import find_parameter
from broker.matching.explanations import (
    CriteriaPart,
    CriteriaReport,
    ExplainOutcome,
    Explanation,
    TermReport,
    TriggerReport,
)
from broker.matching.findings import found_through_chain, found_values, text_of
from broker.matching.naive import NaiveMatcher
from broker.matching.registration import sends
from broker.matching.release_views import state_in
from broker.matching.states import (
    NOTHING_RELATED,
    Related,
    Target,
    filtered_version,
    state_of,
)
from broker.matching.triggers import TopicTriggers, TriggerEvaluation, TriggerVerdict
from broker.matching.verdicts import FilterEvaluation, FilterVerdict
from broker.model.change import Change, Interaction
from broker.model.release import Release
from broker.model.search import Filter
from broker.model.subscription import Subscription
from broker.model.topic import EventTrigger, ResourceTrigger, Topic, TopicPart
from broker.model.wording import shorten_term

_FILTER_OUTCOMES = {
    FilterVerdict.PASSED: ExplainOutcome.PASSED,
    FilterVerdict.FAILED: ExplainOutcome.FAILED,
    FilterVerdict.NOT_APPLICABLE: ExplainOutcome.NOT_EVALUATED,
    FilterVerdict.NOT_EVALUABLE: ExplainOutcome.ERROR,
}
_STATE_TEST_OUTCOMES = {
    StateTestVerdict.PASSED: ExplainOutcome.PASSED,
    StateTestVerdict.RESULT_PASSES: ExplainOutcome.PASSED,
    StateTestVerdict.NOT_EVALUABLE: ExplainOutcome.ERROR,
}
_TRIGGER_OUTCOMES = {
    TriggerVerdict.FIRED: ExplainOutcome.PASSED,
    TriggerVerdict.NOT_EVALUABLE: ExplainOutcome.ERROR,
    TriggerVerdict.NOT_FOR_EVENTS: ExplainOutcome.NOT_EVALUATED,
    TriggerVerdict.NOT_FOR_STATES: ExplainOutcome.NOT_EVALUATED,
}


def explain(
    subscription: Subscription,
    topic: Topic,
    change: Change,
    context: SearchContext,
    related: Related = NOTHING_RELATED,
) -> Explanation:
    """`related` holds the current versions of the resources that `needed_targets` named.

    Raises msgspec.DecodeError for a body that is not a JSON object, and nothing else.
    """
    triggers = explain_topic(topic, change, context)
    filters = tuple(_filter_reports(subscription, topic, change, context, related))
    matches, reason = _verdict(subscription, topic, change, triggers, filters)
    return Explanation(matches, reason, topic.canonical, triggers, filters)


def explain_topic(topic: Topic, change: Change, context: SearchContext) -> tuple[TriggerReport, ...]:
    """Whether each trigger of a topic fires on a change, whoever subscribes. Raises as `explain`."""
    return tuple(_trigger_reports(topic, change, context))


def topic_verdict(triggers: tuple[TriggerReport, ...]) -> tuple[bool, str]:
    """Whether the topic fires, and the reason of the trigger that decided it."""
    fired = next((trigger for trigger in triggers if trigger.outcome is ExplainOutcome.PASSED), None)
    return fired is not None, _why_not_fired(triggers) if fired is None else f"{fired.location} fires"


def needed_targets(
    subscription: Subscription, topic: Topic, change: Change, context: SearchContext
) -> frozenset[Target]:
    """The resources that the chained filters refer to, whether or not the topic fires. Never raises."""
    matcher = NaiveMatcher(context)
    return frozenset(
        target
        for filter_ in subscription.filters
        if is_chained(filter_)
        for target in matcher.filter_targets(filter_, topic, change, subscription.release)
    )


def _verdict(
    subscription: Subscription,
    topic: Topic,
    change: Change,
    triggers: tuple[TriggerReport, ...],
    filters: tuple[TermReport, ...],
) -> tuple[bool, str]:
    subject = f"This {change.interaction} of {change.current.key.type}"
    if subscription.tenant != change.current.key.tenant:
        return False, f"{subject} is no event: it belongs to another tenant than the subscription."
    fired = next((trigger for trigger in triggers if trigger.outcome is ExplainOutcome.PASSED), None)
    if fired is None:
        reason = _why_not_fired(triggers)
        return False, f"{subject} is no event: the topic {topic.canonical} does not fire: {reason}."
    if not sends(subscription.filters, topic, change.current.key.type):
        return False, f"{subject} is no event: no filter applies to it, and the topic excludes such types."
    for report in filters:
        if report.outcome in {ExplainOutcome.FAILED, ExplainOutcome.ERROR}:
            return False, f"{subject} is no event: the filter {_sentence(report)}."
    count = sum(report.outcome is ExplainOutcome.PASSED for report in filters)
    passes = "it passes the filter" if count == 1 else f"it passes all {count} filters"
    if not count:
        passes = "no filter applies"
    return True, f"{subject} is an event: {fired.location} of {topic.canonical} fires and {passes}."


def _why_not_fired(triggers: tuple[TriggerReport, ...]) -> str:
    """The reason of the first trigger that was evaluated; without one, of the first trigger."""
    evaluated = (
        trigger for trigger in triggers if trigger.criteria or trigger.outcome is ExplainOutcome.ERROR
    )
    trigger = next(evaluated, None) or next(iter(triggers), None)
    return "it has no trigger" if trigger is None else f"{trigger.location} {trigger.reason}"


def _trigger_reports(topic: Topic, change: Change, context: SearchContext) -> Iterator[TriggerReport]:
    states = ChangeStates.of(change)
    for evaluation in TopicTriggers(topic, context).evaluate(states, change.events):
        index = evaluation.location.position
        if evaluation.location.part is TopicPart.EVENT_TRIGGER:
            yield _event_trigger_report(evaluation, topic.event_triggers[index])
        else:
            yield _resource_trigger_report(evaluation, topic.resource_triggers[index], states)


def _resource_trigger_report(
    evaluation: TriggerEvaluation, trigger: ResourceTrigger, states: ChangeStates
) -> TriggerReport:
    criteria = [_state_test_report(test, evaluation.states or states) for test in evaluation.state_tests]
    if evaluation.fhirpath is not None:
        criteria.append(_fhirpath_report(evaluation.fhirpath, trigger.fhirpath or ""))
    failed = (report for report in criteria if report.outcome is not ExplainOutcome.PASSED)
    reason = {
        TriggerVerdict.FIRED: "fires" if criteria else "fires on every such change",
        TriggerVerdict.OTHER_TYPE: f"is about {trigger.resource}",
        TriggerVerdict.OTHER_INTERACTION: f"is about {' and '.join(sorted(trigger.interactions))} only",
        TriggerVerdict.NOT_FOR_EVENTS: "is about changes of state; this reports a business event",
        TriggerVerdict.NOT_EVALUABLE: "; ".join(failure.reason for failure in evaluation.failures),
    }.get(evaluation.verdict) or "; ".join(f"{report.part}: {report.reason}" for report in failed)
    return TriggerReport(
        evaluation.location,
        trigger.resource,
        _TRIGGER_OUTCOMES.get(evaluation.verdict, ExplainOutcome.FAILED),
        reason,
        trigger.query is not None and trigger.query.require_both,
        tuple(criteria),
    )


def _event_trigger_report(evaluation: TriggerEvaluation, trigger: EventTrigger) -> TriggerReport:
    codes = ", ".join(f"{coding.system or ''}|{coding.code}" for coding in trigger.codings) or "no code"
    reason = f"is about the event {codes} of {trigger.resource}"
    if evaluation.verdict is TriggerVerdict.FIRED:
        reason = f"fires on the event {codes}"
    outcome = _TRIGGER_OUTCOMES.get(evaluation.verdict, ExplainOutcome.FAILED)
    return TriggerReport(evaluation.location, trigger.resource, outcome, reason)


def _state_test_report(test: StateTestEvaluation, states: ChangeStates) -> CriteriaReport:
    state, release = states.current, states.current_release
    part, interaction = CriteriaPart.CURRENT, Interaction.DELETE
    if test.tested is TestedState.PREVIOUS:
        state, release = states.previous, states.previous_release
        part, interaction = CriteriaPart.PREVIOUS, Interaction.CREATE
    terms = tuple(
        _term_report(term, () if (p := term.term.parameter) is None else found_values(p, release, state))
        for term in test.terms
    )
    absent = f"there is no {test.tested} state"
    first = next((term for term in terms if term.outcome is not ExplainOutcome.PASSED), None)
    reason = {
        StateTestVerdict.PASSED: "passes",
        StateTestVerdict.STATE_NOT_STORED: f"the {test.tested} state is no longer stored",
        StateTestVerdict.RESULT_PASSES: f"{absent}; the topic's result for {interaction} is test-passes",
        StateTestVerdict.RESULT_FAILS: f"{absent}; the topic's result for {interaction} is test-fails",
        StateTestVerdict.RESULT_UNDEFINED: f"{absent}, and the topic defines no result for {interaction}",
    }.get(test.verdict) or (test.reason if first is None else _sentence(first))
    outcome = _STATE_TEST_OUTCOMES.get(test.verdict, ExplainOutcome.FAILED)
    return CriteriaReport(part, test.query, outcome, reason, terms)


def _term_report(term: TermEvaluation, found: tuple[str, ...]) -> TermReport:
    """A term of a topic's query."""
    parameter, filter_ = term.term.parameter, term.term.filter
    return TermReport(
        term.term.text,
        filter_.parameter,
        filter_.value,
        "" if parameter is None else parameter.expression,
        found,
        _FILTER_OUTCOMES[term.evaluation.verdict],
        _filter_reason(term.evaluation, found),
    )


def _sentence(report: TermReport) -> str:
    """The term and its reason. The member `wanted` of the report has the whole of a long list."""
    return f"{shorten_term(report.text, report.found)} {report.reason}"


def _fhirpath_report(evaluation: FilterEvaluation, expression: str) -> CriteriaReport:
    reason = {
        FilterVerdict.PASSED: "is true",
        FilterVerdict.NOT_EVALUABLE: f"can't be evaluated: {evaluation.reason}",
    }.get(evaluation.verdict, "is not true")
    outcome = _FILTER_OUTCOMES[evaluation.verdict]
    return CriteriaReport(CriteriaPart.FHIRPATH, expression, outcome, reason)


def _filter_reports(
    subscription: Subscription, topic: Topic, change: Change, context: SearchContext, related: Related
) -> Iterator[TermReport]:
    matcher = NaiveMatcher(context)
    for filter_ in subscription.filters:
        evaluation = matcher.evaluate_filter(filter_, topic, change, subscription.release, related)
        expression, found = _looked_at(filter_, topic, change, subscription.release, context, related)
        reason = _filter_reason(evaluation, found)
        if evaluation.verdict is FilterVerdict.NOT_APPLICABLE:
            reason = f"does not apply to {change.current.key.type}"
        yield TermReport(
            text_of(filter_),
            filter_.parameter,
            filter_.value,
            expression,
            found,
            _FILTER_OUTCOMES[evaluation.verdict],
            reason,
            filter_.resource_type or "",
        )


def _looked_at(
    filter_: Filter,
    topic: Topic,
    change: Change,
    reader: Release,
    context: SearchContext,
    related: Related,
) -> tuple[str, tuple[str, ...]]:
    """The expression that a filter of a subscription of release `reader` reads and the values found; for a
    chain, in the resources that it leads to.
    """
    version = filtered_version(change)
    own = change.release if version is None else version.release
    release, state = state_in(state_of(version), change.current.key.type, own, reader)
    chain = read_chain(filter_) if is_chained(filter_) else None
    name = filter_.parameter if chain is None else chain.link
    parameter = find_parameter(context.parameters, release, change.current.key.type, name, topic)
    if parameter is None:
        return "", ()
    if chain is None:
        return parameter.expression, found_values(parameter, release, state)
    try:
        ends = chain_ends(chain, parameter, context.parameters)
        resolver = chain_resolver(parameter, ends, release, context)
    except BrokerError:
        return parameter.expression, ()
    return parameter.expression, found_through_chain(resolver, ends, state, RelatedStates(related, reader))


def _filter_reason(evaluation: FilterEvaluation, found: tuple[str, ...]) -> str:
    if evaluation.verdict is FilterVerdict.NOT_EVALUABLE:
        return f"can't be evaluated: {evaluation.reason}"
    verb = "passes" if evaluation.verdict is FilterVerdict.PASSED else "does not pass"
    return f"{verb}: found {', '.join(found) or 'nothing'}"
