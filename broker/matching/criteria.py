"""Query criteria of resource triggers: search strings that the states before and after a change must match
(R-030..R-035).

`triggers` compiles and evaluates them; `keyed_triggers` reads their terms; `explain` reports the evaluation
of each term.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote_plus

from broker.errors import BrokerError
from broker.matching.change_states import ChangeStates
from broker.matching.context import SearchContext
from broker.matching.definitions import ANY_TYPE
from broker.matching.fhirpath import BadExpression
from broker.matching.filters import Test, compile_filter
from broker.matching.problems import EvaluationFailed
from broker.matching.states import State
from broker.matching.support import unsupported_code
from broker.matching.values import BadFilter, BadValue
from broker.matching.verdicts import FAILED, FilterEvaluation, FilterVerdict, evaluation_of, not_evaluable
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import Filter, SearchParameter
from broker.model.topic import QueryCriteria

_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")


class BadTopic(BrokerError):  # noqa: N818 named for what is the case
    """The criteria of a topic can't be evaluated. Raised when the topic is loaded (R-035)."""


class TestedState(StrEnum):
    """The state that a query is about."""

    __test__ = False  # not a test case for pytest
    PREVIOUS = "previous"
    CURRENT = "current"


class QueryTerm(NamedTuple):
    """One `parameter=value` of a query. `text` is the term as written; either `test` or `error` is set."""

    text: str
    filter: Filter
    parameter: SearchParameter | None = None
    test: Test | None = None
    error: str = ""

    def evaluate(self, state: State) -> FilterEvaluation:
        """Never raises, unlike the test."""
        if self.test is None:
            return not_evaluable(self.error)
        try:
            return FAILED if state is None else evaluation_of(passed=self.test(state))
        except EvaluationFailed as error:
            return not_evaluable(str(error))


def query_terms(query: str, resource_type: str) -> list[tuple[str, Filter]]:
    """The terms of a search string, each as written and as a filter. Raises BadTopic.

    The string may be percent-encoded or not. If it is not, a `+` is a plus sign (R-034).
    """
    prefix, mark, rest = query.partition("?")
    if mark and "=" not in prefix:
        if prefix not in {"", resource_type, ANY_TYPE}:
            raise BadTopic(f"criteria for {prefix} in a trigger for {resource_type}")
        query = rest
    is_encoded = _ENCODED.search(query) is not None
    terms = []
    for text in query.split("&"):
        name, sign, value = text.partition("=")
        if not sign:
            raise BadTopic(f"{text!r} is not parameter=value")
        if is_encoded:
            name, value = unquote_plus(name), unquote_plus(value)
        code, colon, modifier = name.partition(":")
        terms.append((text, Filter(code, value, modifier=modifier if colon else None)))
    return terms


def read_query(
    query: str, resource_type: str, release: Release, context: SearchContext
) -> tuple[QueryTerm, ...]:
    """The terms of a query, each compiled or with the reason why it can't be. Raises BadTopic for the string
    as such.
    """
    return tuple(
        _compiled_term(text, filter_, resource_type, release, context)
        for text, filter_ in query_terms(query, resource_type)
    )


def _compiled_term(
    text: str, filter_: Filter, resource_type: str, release: Release, context: SearchContext
) -> QueryTerm:
    code = filter_.parameter
    parameter = context.parameters.find(release, resource_type, code)
    if parameter is None:
        error = f"{resource_type} has no search parameter {code} in {release}"
        if "." in f"{code}:{filter_.modifier or ''}":
            error = "a trigger sees the changed resource, not the resources that it refers to"
        elif unsupported_code(code):
            error = f"{code} {unsupported_code(code)}"
        return QueryTerm(text, filter_, error=error)
    try:
        test = compile_filter(filter_, parameter, release, context)
    except (BadFilter, BadValue, BadExpression) as error:
        return QueryTerm(text, filter_, parameter, error=str(error))
    return QueryTerm(text, filter_, parameter, test)


class StateTestVerdict(StrEnum):
    """`RESULT_…`: the state does not exist, so the result that the topic defines for that case counts
    (R-032).
    """

    PASSED = "passed"
    TERM_FAILED = "term-failed"
    STATE_NOT_STORED = "state-not-stored"
    RESULT_PASSES = "result-passes"
    RESULT_FAILS = "result-fails"
    RESULT_UNDEFINED = "result-undefined"
    NOT_EVALUABLE = "not-evaluable"


class TermEvaluation(NamedTuple):
    """The evaluation of one term of a query."""

    term: QueryTerm
    evaluation: FilterEvaluation


class StateTestEvaluation(NamedTuple):
    """The evaluation of one state test. `reason` says why it is not evaluable; `query` is "" if the topic has
    none.
    """

    tested: TestedState
    query: str
    verdict: StateTestVerdict
    terms: tuple[TermEvaluation, ...] = ()
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict in {StateTestVerdict.PASSED, StateTestVerdict.RESULT_PASSES}


class StateTest(NamedTuple):
    """The test of the previous or of the current state.

    After the interaction `absent_after`, the state does not exist; then `result_if_absent` is the result.
    """

    tested: TestedState
    query: str | None
    terms: tuple[QueryTerm, ...]
    result_if_absent: bool | None
    absent_after: Interaction

    def is_defined(self, interaction: Interaction) -> bool:
        """A test that the topic does not define is ignored, and the other test decides alone."""
        return self.query is not None or (
            interaction is self.absent_after and self.result_if_absent is not None
        )

    def passes(self, interaction: Interaction, state: State) -> bool:
        """Raises EvaluationFailed. An absent state without a defined result, and a state not stored, fail."""
        if interaction is self.absent_after:
            return self.result_if_absent is True
        if self.query is None or state is None:
            return False
        return all(term.test is not None and term.test(state) for term in self.terms)

    def evaluate(self, interaction: Interaction, state: State) -> StateTestEvaluation:
        """What `passes` decides, with the evaluation of every term."""
        query = self.query or ""
        if interaction is self.absent_after:
            verdict = {
                True: StateTestVerdict.RESULT_PASSES,
                False: StateTestVerdict.RESULT_FAILS,
                None: StateTestVerdict.RESULT_UNDEFINED,
            }[self.result_if_absent]
            return StateTestEvaluation(self.tested, query, verdict)
        terms = tuple(TermEvaluation(term, term.evaluate(state)) for term in self.terms)
        verdicts = [term.evaluation.verdict for term in terms]
        first = next((each for each in verdicts if each is not FilterVerdict.PASSED), None)
        verdict = StateTestVerdict.TERM_FAILED
        if state is None:
            verdict = StateTestVerdict.STATE_NOT_STORED
        elif first is None:
            verdict = StateTestVerdict.PASSED
        elif first is FilterVerdict.NOT_EVALUABLE:
            verdict = StateTestVerdict.NOT_EVALUABLE
        return StateTestEvaluation(self.tested, query, verdict, terms)


class CompiledCriteria(NamedTuple):
    """Query criteria, compiled for the releases of the previous and of the current state."""

    previous: StateTest
    current: StateTest
    require_both: bool

    def passes(self, states: ChangeStates) -> bool:
        """The truth table of R-031..R-033. Criteria without a defined test pass (R-024). Raises
        EvaluationFailed.
        """
        interaction = states.interaction
        defined = [
            (test, state)
            for test, state in ((self.previous, states.previous), (self.current, states.current))
            if test.is_defined(interaction)
        ]
        if not defined:
            return True
        combine = all if self.require_both else any
        return combine(test.passes(interaction, state) for test, state in defined)


def compile_criteria(
    criteria: QueryCriteria,
    resource_type: str,
    releases: tuple[Release, Release],
    context: SearchContext,
) -> CompiledCriteria:
    """Raises BadTopic. `releases` are those of the previous and of the current state."""
    tests = []
    for half, release in zip(_halves(criteria), releases, strict=True):
        test = half
        if half.query is not None:
            test = half._replace(terms=read_query(half.query, resource_type, release, context))
        for term in test.terms:
            if term.error:
                raise BadTopic(f"{term.text}: {term.error}")
        tests.append(test)
    return CompiledCriteria(tests[0], tests[1], criteria.require_both)


def evaluate_criteria(
    criteria: QueryCriteria, states: ChangeStates, context: SearchContext
) -> Iterator[StateTestEvaluation]:
    """The evaluation of each defined test, also of criteria that can't be compiled. Never raises."""
    sides = (
        (states.previous, states.previous_release),
        (states.current, states.current_release),
    )
    for test, (state, release) in zip(_halves(criteria), sides, strict=True):
        if not test.is_defined(states.interaction):
            continue
        terms: tuple[QueryTerm, ...] = ()
        try:
            if test.query is not None:
                terms = read_query(test.query, states.resource_type, release, context)
        except BadTopic as error:
            verdict = StateTestVerdict.NOT_EVALUABLE
            if states.interaction is not test.absent_after:
                yield StateTestEvaluation(test.tested, test.query or "", verdict, reason=str(error))
                continue
        yield test._replace(terms=terms).evaluate(states.interaction, state)


def _halves(criteria: QueryCriteria) -> tuple[StateTest, StateTest]:
    """The two tests, not compiled yet."""
    return (
        StateTest(
            TestedState.PREVIOUS, criteria.previous, (), criteria.result_for_create, Interaction.CREATE
        ),
        StateTest(TestedState.CURRENT, criteria.current, (), criteria.result_for_delete, Interaction.DELETE),
    )
