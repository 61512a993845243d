"""When a topic fires: interaction, type, then query criteria or FHIRPath criteria (R-020..R-042); or an event (R-050).

Criteria are compiled for the release of the resource they meet, on first use. A criteria that fails doesn't fire; why is
part of the verdict.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from broker.errors import BrokerError
from broker.matching.definitions import ANY_TYPE
from broker.matching.fhirpath import BadExpression, EvaluationFailed, compile_expression, evaluate_criteria
from broker.matching.filters import compile_filter
from broker.matching.support import unsupported_code
from broker.matching.values import BadFilter, BadValue
from broker.matching.valuesets import NO_VALUE_SETS, ValueSets
from broker.model.change import Interaction
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable
from broker.model.topic import Coding, QueryCriteria, ResourceTrigger, Topic

State = dict[str, Any] | None
_Releases = tuple[Release, Release]
"""Of the previous and of the current version: each is searched by its own release's parameters."""
_Query = Callable[[State], bool]
_Criteria = Callable[[Interaction, State, State], bool]
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")


class BadTopic(BrokerError):  # noqa: N818 named for what is the case
    """A topic's criteria can't be evaluated; found when the topic is loaded (R-035)."""


class Verdict(NamedTuple):
    """Whether a topic fired, and what failed on the way."""

    fired: bool
    failures: tuple[str, ...] = ()


def compile_query(
    query: str,
    resource_type: str,
    release: Release,
    table: ParameterTable,
    base_urls: frozenset[str] = frozenset(),
    value_sets: ValueSets = NO_VALUE_SETS,
) -> _Query:
    """A search string as a test: `&` is AND, a comma in a value OR (R-035). No state, no match.

    Raises BadTopic; the test raises EvaluationFailed. The string may be percent-encoded or not; where it isn't, a `+`
    is a plus (R-034).
    """
    tests = []
    for term, wanted in query_terms(query, resource_type):
        code = wanted.parameter
        parameter = table.find(release, resource_type, code)
        if parameter is None:
            reason = f"{code} {unsupported_code(code)}" if unsupported_code(code) else None
            if "." in f"{code}:{wanted.modifier or ''}":
                reason = f"{term}: a trigger sees the resource that changed, not those it refers to"
            raise BadTopic(reason or f"{resource_type} has no search parameter {code} in {release}")
        try:
            tests.append(compile_filter(wanted, parameter, base_urls, release, value_sets))
        except (BadFilter, BadValue, BadExpression) as error:
            raise BadTopic(f"{term}: {error}") from error
    return lambda state: state is not None and all(test(state) for test in tests)


def query_terms(query: str, resource_type: str) -> list[tuple[str, Filter]]:
    """The terms of a search string, each as written and as the filter it means. Raises BadTopic."""
    prefix, mark, rest = query.partition("?")
    if mark and "=" not in prefix:
        if prefix not in {"", resource_type, ANY_TYPE}:
            raise BadTopic(f"criteria for {prefix} in a trigger for {resource_type}")
        query = rest
    is_encoded = _ENCODED.search(query) is not None
    terms = []
    for term in query.split("&"):
        name, sign, value = term.partition("=")
        if not sign:
            raise BadTopic(f"{term!r} is not parameter=value")
        if is_encoded:
            name, value = unquote_plus(name), unquote_plus(value)
        code, colon, modifier = name.partition(":")
        terms.append((term, Filter(code, value, modifier=modifier if colon else None)))
    return terms


class TopicTriggers:
    """The triggers of one topic."""

    def __init__(
        self,
        topic: Topic,
        table: ParameterTable,
        base_urls: frozenset[str] = frozenset(),
        value_sets: ValueSets = NO_VALUE_SETS,
    ) -> None:
        self._triggers = topic.resource_triggers
        self._event_triggers = topic.event_triggers
        self._value_sets = value_sets
        self._table = table
        self._base_urls = base_urls
        self._compiled: dict[tuple[int, _Releases, str], list[_Criteria]] = {}

    def concerns(self, resource_type: str, interaction: Interaction) -> bool:
        """Whether a change of that kind can fire at all; tells it without looking into a resource (R-023)."""
        return any(_concerns(trigger, resource_type, interaction) for trigger in self._triggers)

    def judge_event(self, codings: Iterable[Coding], resource_type: str) -> bool:
        """Whether a business event with these codings, about a focus of that type, fires (R-050..R-052).

        System and code must both be equal, whatever the display; triggers are OR-ed, and so are the codings of one.
        """
        said = {(one.system, one.code) for one in codings}
        return any(
            trigger.resource in {resource_type, ANY_TYPE}
            and any((one.system, one.code) in said for one in trigger.codings)
            for trigger in self._event_triggers
        )

    def judge(
        self,
        interaction: Interaction,
        release: Release,
        resource_type: str,
        previous: State,
        current: State,
        *,
        previous_release: Release | None = None,
    ) -> Verdict:
        """Triggers are OR-ed, and so are the criteria of one (R-021, R-028). What fails doesn't keep another from firing.

        `release` is that of the current version, and of the previous one too unless told otherwise.
        """
        releases = (previous_release or release, release)
        failures: list[str] = []
        for n, trigger in enumerate(self._triggers):
            if not _concerns(trigger, resource_type, interaction):
                continue
            if trigger.query is None and trigger.fhirpath is None:
                return Verdict(fired=True, failures=tuple(failures))
            for criteria in self._criteria(n, releases, resource_type, failures):
                try:
                    if criteria(interaction, previous, current):
                        return Verdict(fired=True, failures=tuple(failures))
                except EvaluationFailed as error:
                    failures.append(f"resourceTrigger[{n}]: {error}")
        return Verdict(fired=False, failures=tuple(failures))

    def _criteria(
        self, n: int, releases: _Releases, resource_type: str, failures: list[str]
    ) -> list[_Criteria]:
        """A criteria that a release can't express is told once and never fires there."""
        key = (n, releases, resource_type)
        if key not in self._compiled:
            trigger, usable = self._triggers[n], []
            for compile_one in (self._query_criteria, self._fhirpath_criteria):
                try:
                    criteria = compile_one(trigger, releases, resource_type)
                except BrokerError as error:
                    failures.append(f"resourceTrigger[{n}] never fires in {releases[1]}: {error}")
                    continue
                if criteria is not None:
                    usable.append(criteria)
            self._compiled[key] = usable
        return self._compiled[key]

    def _query_criteria(
        self, trigger: ResourceTrigger, releases: _Releases, resource_type: str
    ) -> _Criteria | None:
        if trigger.query is None:
            return None
        return _compile_criteria(
            trigger.query, resource_type, releases, self._table, self._base_urls, self._value_sets
        )

    def _fhirpath_criteria(
        self, trigger: ResourceTrigger, releases: _Releases, _resource_type: str
    ) -> _Criteria | None:
        expression, (_, release) = trigger.fhirpath, releases
        if expression is None:
            return None
        compile_expression(expression, release)
        return lambda _, previous, current: evaluate_criteria(expression, previous, current, release)


def check_triggers(
    topic: Topic, table: ParameterTable, value_sets: ValueSets = NO_VALUE_SETS
) -> tuple[list[str], list[str]]:
    """Errors that keep a topic from being loaded, and warnings for its author.

    Criteria must be evaluable in at least one release; the releases in which they aren't are warnings.
    """
    errors: list[str] = []
    warnings = [
        f"eventTrigger[{n}] has no coding: no event can fire it"
        for n, one in enumerate(topic.event_triggers)
        if not one.codings
    ]
    for n, trigger in enumerate(topic.resource_triggers):
        where = f"resourceTrigger[{n}]"
        if trigger.query is not None and trigger.fhirpath is not None:
            warnings.append(f"{where} has query and FHIRPath criteria: either one fires it")
        if trigger.fhirpath is not None:
            try:
                compile_expression(trigger.fhirpath)
            except BadExpression as error:
                errors.append(f"{where}.fhirPathCriteria: {error}")
        if trigger.query is None:
            continue
        failures: dict[Release, str] = {}
        for release in Release:
            try:
                _compile_criteria(
                    trigger.query, trigger.resource, (release, release), table, frozenset(), value_sets
                )
            except BadTopic as error:
                failures[release] = str(error)
        told = [f"{where}.queryCriteria: {failure}" for failure in failures.values()]
        if len(failures) == len(Release):
            errors.append(f"{where}.queryCriteria: {failures.get(topic.release)}")
        else:
            warnings += told
    return errors, warnings


def _concerns(trigger: ResourceTrigger, resource_type: str, interaction: Interaction) -> bool:
    return interaction in trigger.interactions and trigger.resource in {resource_type, ANY_TYPE}


def _compile_criteria(
    query: QueryCriteria,
    resource_type: str,
    releases: _Releases,
    table: ParameterTable,
    base_urls: frozenset[str],
    value_sets: ValueSets,
) -> _Criteria:
    """The truth table of R-031..R-033.

    Where a state doesn't exist, the result the topic gives stands for its test, whether or not it has a query for that state;
    if it gives none, a query counts as failed. A half with neither is ignored, the other one decides alone.
    """

    def compiled(text: str | None, release: Release) -> _Query | None:
        return (
            None
            if text is None
            else compile_query(text, resource_type, release, table, base_urls, value_sets)
        )

    before, after = compiled(query.previous, releases[0]), compiled(query.current, releases[1])

    def fires(interaction: Interaction, previous: State, current: State) -> bool:
        is_new, is_gone = interaction is Interaction.CREATE, interaction is Interaction.DELETE
        halves = [
            _Half(before, previous, query.result_for_create, is_given=is_new),
            _Half(after, current, query.result_for_delete, is_given=is_gone),
        ]
        asked = [half for half in halves if half.is_asked]
        if not asked:
            return True  # nothing is asked
        combine = all if query.require_both else any
        return combine(half.passes() for half in asked)

    return fires


class _Half(NamedTuple):
    """The previous-test or the current-test; `is_given` where there is no such state and the topic gives the result."""

    query: _Query | None
    state: State
    result: bool | None
    is_given: bool

    @property
    def is_asked(self) -> bool:
        return self.query is not None or (self.is_given and self.result is not None)

    def passes(self) -> bool:
        if self.is_given:
            return self.result is True
        return self.query is not None and self.query(self.state)
