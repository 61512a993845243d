"""Whether a topic fires: interaction, resource type, then query or FHIRPath criteria (R-020..R-042); or an
event (R-050).

Criteria are compiled at their first use, for the releases of the resources that they meet. A query that does
not use the words of the release of a resource is judged on the resource as its own release shows it
(`vocabulary.judged_release`); FHIRPath is judged on the resource as it came in. Criteria that can't be
evaluated don't fire; the verdict carries the reason.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from broker.errors import BrokerError
from broker.matching.change_states import ChangeStates
from broker.matching.context import SearchContext
from broker.matching.criteria import BadTopic, StateTestEvaluation, compile_criteria, evaluate_criteria
from broker.matching.definitions import ANY_TYPE
from broker.matching.fhirpath import BadExpression, check_criteria, compile_expression, evaluate_fhirpath
from broker.matching.problems import EvaluationFailed, TopicProblem
from broker.matching.verdicts import FilterEvaluation, evaluation_of, not_evaluable
from broker.matching.vocabulary import judged_release
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.topic import Coding, CriteriaKind, ResourceTrigger, Topic, TopicLocation, TopicPart

_Releases = tuple[Release, Release]
"""The releases of the previous and of the current state."""
_Criteria = Callable[[ChangeStates], bool]
SeenIn = Callable[[Release], ChangeStates]
"""The states of a change as a release shows them."""


class TriggerFailure(NamedTuple):
    """Criteria of a trigger that can't be evaluated."""

    location: TopicLocation
    reason: str


class TopicVerdict(NamedTuple):
    """Whether a topic fires, and the criteria that failed before that was decided."""

    fired: bool
    failures: tuple[TriggerFailure, ...] = ()


class TriggerVerdict(StrEnum):
    """Why one trigger fires or does not. `NOT_FOR_…`: the trigger is about the other kind of change."""

    FIRED = "fired"
    OTHER_TYPE = "other-type"
    OTHER_INTERACTION = "other-interaction"
    OTHER_EVENT = "other-event"
    CRITERIA_FAILED = "criteria-failed"
    NOT_EVALUABLE = "not-evaluable"
    NOT_FOR_EVENTS = "not-for-events"
    NOT_FOR_STATES = "not-for-states"


class TriggerEvaluation(NamedTuple):
    """The evaluation of one trigger, with each of its criteria.

    `states` are those that the state tests saw.
    """

    location: TopicLocation
    verdict: TriggerVerdict
    states: ChangeStates | None = None
    failures: tuple[TriggerFailure, ...] = ()
    state_tests: tuple[StateTestEvaluation, ...] = ()
    fhirpath: FilterEvaluation | None = None


class TopicTriggers:
    """The triggers of one topic."""

    def __init__(self, topic: Topic, context: SearchContext) -> None:
        self._topic = topic
        self._triggers = topic.resource_triggers
        self._event_triggers = topic.event_triggers
        self._context = context
        self._compiled: dict[tuple[int, CriteriaKind, _Releases, str], _Criteria | None] = {}
        self._judged_in: dict[tuple[int, Release, str], Release] = {}

    def concerns(self, resource_type: str, interaction: Interaction) -> bool:
        """Whether a change of that kind can fire the topic at all; decided without the resource (R-023)."""
        return any(_concerns(trigger, resource_type, interaction) for trigger in self._triggers)

    def fires_on_event(self, codings: Iterable[Coding], resource_type: str) -> bool:
        """Whether a business event with these codings, about a focus of that type, fires (R-050..R-052).

        System and code must both be equal, whatever the display is. Triggers are alternatives, and so are the
        codings of one trigger.
        """
        codes = {(coding.system, coding.code) for coding in codings}
        return any(
            trigger.resource in {resource_type, ANY_TYPE} and _has_code(trigger.codings, codes)
            for trigger in self._event_triggers
        )

    def query_release(self, index: int, release: Release, resource_type: str) -> Release:
        """The release in which the query of a trigger is judged, for resources that came in by `release`."""
        key = index, release, resource_type
        if key not in self._judged_in:
            trigger = self._triggers[index]
            self._judged_in[key] = release
            if trigger.query is not None:
                self._judged_in[key] = judged_release(
                    trigger.query, resource_type, release, self._topic.release, self._context
                )
        return self._judged_in[key]

    def judge(self, states: ChangeStates, seen_in: SeenIn | None = None) -> TopicVerdict:
        """Triggers are alternatives, and so are the criteria of one trigger (R-021, R-028).

        Criteria that fail don't keep others from firing. `seen_in` may cache what `states.seen_in` returns.
        """
        failures: list[TriggerFailure] = []
        for index, trigger in enumerate(self._triggers):
            if _concerns(trigger, states.resource_type, states.interaction) and self._fires(
                index, states, seen_in or states.seen_in, failures
            ):
                return TopicVerdict(fired=True, failures=tuple(failures))
        return TopicVerdict(fired=False, failures=tuple(failures))

    def evaluate(
        self, states: ChangeStates, codings: tuple[Coding, ...] = ()
    ) -> tuple[TriggerEvaluation, ...]:
        """The evaluation of every trigger, resource triggers first.

        `codings` are those of a business event.
        """
        resource_triggers = (
            self._evaluate_trigger(index, states, is_event=bool(codings))
            for index in range(len(self._triggers))
        )
        codes = {(coding.system, coding.code) for coding in codings}
        event_triggers = (
            self._evaluate_event_trigger(index, states.resource_type, codes)
            for index in range(len(self._event_triggers))
        )
        return (*resource_triggers, *event_triggers)

    def _fires(
        self, index: int, states: ChangeStates, seen_in: SeenIn, failures: list[TriggerFailure]
    ) -> bool:
        trigger = self._triggers[index]
        if trigger.query is None and trigger.fhirpath is None:
            return True
        for kind in CriteriaKind:
            if (trigger.query if kind is CriteriaKind.QUERY else trigger.fhirpath) is None:
                continue
            seen = self._seen(index, kind, states, seen_in)
            passes = self._criteria(index, kind, seen, failures)
            try:
                if passes is not None and passes(seen):
                    return True
            except EvaluationFailed as error:
                failures.append(TriggerFailure(_trigger_location(index, kind), str(error)))
        return False

    def _seen(self, index: int, kind: CriteriaKind, states: ChangeStates, seen_in: SeenIn) -> ChangeStates:
        """The states on which criteria of that kind are judged: both in one release, if they convert."""
        release = states.release
        if kind is CriteriaKind.QUERY:
            release = self.query_release(index, release, states.resource_type)
        return seen_in(release)

    def _evaluate_trigger(self, index: int, states: ChangeStates, *, is_event: bool) -> TriggerEvaluation:
        trigger, location = self._triggers[index], _trigger_location(index)
        if is_event:
            return TriggerEvaluation(location, TriggerVerdict.NOT_FOR_EVENTS)
        if trigger.resource not in {states.resource_type, ANY_TYPE}:
            return TriggerEvaluation(location, TriggerVerdict.OTHER_TYPE)
        if states.interaction not in trigger.interactions:
            return TriggerEvaluation(location, TriggerVerdict.OTHER_INTERACTION)
        failures: list[TriggerFailure] = []
        verdict = TriggerVerdict.FIRED
        if not self._fires(index, states, states.seen_in, failures):
            verdict = TriggerVerdict.NOT_EVALUABLE if failures else TriggerVerdict.CRITERIA_FAILED
        state_tests: tuple[StateTestEvaluation, ...] = ()
        seen = self._seen(index, CriteriaKind.QUERY, states, states.seen_in)
        if trigger.query is not None:
            state_tests = tuple(evaluate_criteria(trigger.query, seen, self._context))
        fhirpath: FilterEvaluation | None = None
        if trigger.fhirpath is not None:
            as_it_came = self._seen(index, CriteriaKind.FHIRPATH, states, states.seen_in)
            fhirpath = _evaluate_expression(trigger.fhirpath, as_it_came)
        return TriggerEvaluation(location, verdict, seen, tuple(failures), state_tests, fhirpath)

    def _evaluate_event_trigger(
        self, index: int, resource_type: str, codes: set[tuple[str | None, str]]
    ) -> TriggerEvaluation:
        trigger = self._event_triggers[index]
        verdict = TriggerVerdict.FIRED
        if not codes:
            verdict = TriggerVerdict.NOT_FOR_STATES
        elif trigger.resource not in {resource_type, ANY_TYPE} or not _has_code(trigger.codings, codes):
            verdict = TriggerVerdict.OTHER_EVENT
        return TriggerEvaluation(TopicLocation(TopicPart.EVENT_TRIGGER, index), verdict)

    def _criteria(
        self, index: int, kind: CriteriaKind, states: ChangeStates, failures: list[TriggerFailure]
    ) -> _Criteria | None:
        """Criteria that can't be compiled for a release never fire there; that is reported once."""
        releases = states.previous_release, states.current_release
        key = index, kind, releases, states.resource_type
        if key not in self._compiled:
            trigger = self._triggers[index]
            compile_one = self._query_test if kind is CriteriaKind.QUERY else self._fhirpath_test
            try:
                self._compiled[key] = compile_one(trigger, releases, states.resource_type)
            except BrokerError as error:
                self._compiled[key] = None
                reason = f"never fires in {releases[1]}: {error}"
                failures.append(TriggerFailure(_trigger_location(index, kind), reason))
        return self._compiled[key]

    def _query_test(
        self, trigger: ResourceTrigger, releases: _Releases, resource_type: str
    ) -> Callable[[ChangeStates], bool] | None:
        if trigger.query is None:
            return None
        return compile_criteria(trigger.query, resource_type, releases, self._context).passes

    @staticmethod
    def _fhirpath_test(
        trigger: ResourceTrigger, releases: _Releases, _resource_type: str
    ) -> Callable[[ChangeStates], bool] | None:
        expression, (_, release) = trigger.fhirpath, releases
        if expression is None:
            return None
        compile_expression(expression, release)
        return lambda states: evaluate_fhirpath(expression, states.previous, states.current, release)


def check_triggers(topic: Topic, context: SearchContext) -> Iterator[TopicProblem]:
    """The errors keep a topic from being loaded; the warnings are for its author.

    Criteria must be evaluable in at least one release. Those in which they are not are warnings.
    """
    for index, event_trigger in enumerate(topic.event_triggers):
        if not event_trigger.codings:
            location = TopicLocation(TopicPart.EVENT_TRIGGER, index)
            yield TopicProblem("it has no coding: no event can fire it", location, is_error=False)
    for index, trigger in enumerate(topic.resource_triggers):
        if trigger.query is not None and trigger.fhirpath is not None:
            text = "it has query criteria and FHIRPath criteria: either of them fires it"
            yield TopicProblem(text, _trigger_location(index), is_error=False)
        if trigger.fhirpath is not None:
            try:
                check_criteria(trigger.fhirpath, trigger.resource)
            except BadExpression as error:
                yield TopicProblem(str(error), _trigger_location(index, CriteriaKind.FHIRPATH))
        yield from _check_query(topic, index, context)


def _check_query(topic: Topic, index: int, context: SearchContext) -> Iterator[TopicProblem]:
    trigger = topic.resource_triggers[index]
    if trigger.query is None:
        return
    failures: dict[Release, str] = {}
    for release in Release:
        try:
            compile_criteria(trigger.query, trigger.resource, (release, release), context)
        except BadTopic as error:
            failures[release] = str(error)
    location = _trigger_location(index, CriteriaKind.QUERY)
    if len(failures) == len(Release):
        yield TopicProblem(failures[topic.release], location)
    else:
        yield from (TopicProblem(text, location, is_error=False) for text in failures.values())


def _trigger_location(index: int, criteria: CriteriaKind | None = None) -> TopicLocation:
    return TopicLocation(TopicPart.RESOURCE_TRIGGER, index, criteria)


def _concerns(trigger: ResourceTrigger, resource_type: str, interaction: Interaction) -> bool:
    return interaction in trigger.interactions and trigger.resource in {resource_type, ANY_TYPE}


def _has_code(codings: Iterable[Coding], codes: set[tuple[str | None, str]]) -> bool:
    return any((coding.system, coding.code) in codes for coding in codings)


def _evaluate_expression(expression: str, states: ChangeStates) -> FilterEvaluation:
    try:
        fires = evaluate_fhirpath(expression, states.previous, states.current, states.current_release)
        return evaluation_of(passed=fires)
    except BrokerError as error:
        return not_evaluable(str(error))
