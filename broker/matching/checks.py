"""Filters compiled to be evaluated on candidates, and what they said about one focus.

A filter that a look-up can decide is decided by what the index has read already. Compiled filters are forgotten when there are
many: only those that depend on value sets are kept as long as a subscription has them, because an unknown value set is told
when the subscription comes.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from broker.errors import BrokerError
from broker.matching.chains import compile_chain, is_chained, read_chain
from broker.matching.filters import compile_filter
from broker.matching.planner import Channel, Planner
from broker.matching.postings import Entry
from broker.matching.predicates import Draft, Unit
from broker.matching.problems import EvaluationFailed, Problem
from broker.matching.readers import NOTHING_MEASURED, NOTHING_SAID, AnyReader, Measured, Said
from broker.matching.states import RelatedStates, State
from broker.matching.valuesets import ValueSets
from broker.model.release import Release
from broker.model.search import Filter, ParameterTable, SearchParameter

MAX_PROBLEMS = 1000
_MAX_FORGETTABLE = 20_000
_OF_VALUE_SETS = frozenset({"in", "not-in", "above", "below"})

Where = tuple[Release, str]
"""Release and type of a focus."""
Outcome = bool | str
"""Whether a filter passed, or why it couldn't be told."""


class Sight:
    """What one change shows, read once for all topics."""

    __slots__ = ("_measured", "_said", "outcomes", "related", "state", "where")

    def __init__(self, where: Where, state: State, related: RelatedStates) -> None:
        self.where = where
        self.state = state
        self.related = related
        self.outcomes: dict[tuple[Filter, str], Outcome] = {}
        self._said: dict[AnyReader, Said] = {}
        self._measured: dict[tuple[AnyReader, Unit], Measured] = {}

    def said(self, reader: AnyReader | None) -> Said:
        if reader is None or self.state is None:
            return NOTHING_SAID
        said = self._said.get(reader)
        if said is None:
            said = self._said[reader] = reader.said(self.state, self.related)
        return said

    def measured(self, reader: AnyReader | None, unit: Unit) -> Measured:
        if reader is None or self.state is None:
            return NOTHING_MEASURED
        key = reader, unit
        measured = self._measured.get(key)
        if measured is None:
            measured = self._measured[key] = reader.measured(self.state, unit)
        return measured


Check = Callable[[Sight], bool]
_Compiled = Check | str
"""Or why there is none: then nothing passes (R-410)."""


def asks_value_sets(wanted: Filter) -> bool:
    return f"{wanted.parameter}:{wanted.modifier or ''}".rsplit(":", 1)[-1] in _OF_VALUE_SETS


class Checks:
    """The compiled filters of all topics."""

    def __init__(self, table: ParameterTable, base_urls: frozenset[str], value_sets: ValueSets) -> None:
        self._table = table
        self._base_urls = base_urls
        self._value_sets = value_sets
        self._uses: Counter[Filter] = Counter()
        self._kept: dict[Filter, dict[tuple[Where, str], _Compiled]] = {}
        self._forgettable: dict[tuple[Filter, Where, str], _Compiled] = {}

    def keep(self, wanted: Filter) -> None:
        """For one more subscription; only for filters that depend on value sets."""
        self._uses[wanted] += 1
        self._kept.setdefault(wanted, {})

    def let_go(self, wanted: Filter) -> None:
        self._uses[wanted] -= 1
        if self._uses[wanted] <= 0:
            del self._uses[wanted], self._kept[wanted]

    def compiled(self, planner: Planner, wanted: Filter, where: Where) -> tuple[str, _Compiled]:
        """With the code of the parameter that is meant: equal filters that mean the same share a check."""
        chain = read_chain(wanted) if is_chained(wanted) else None
        parameter = planner.parameter(where[0], wanted.parameter if chain is None else chain.link)
        if parameter is None:
            return "", f"{where[1]} has no search parameter {wanted.parameter} in {where[0]}"
        kept = self._kept.get(wanted)
        if kept is not None:
            if (where, parameter.code) not in kept:
                kept[where, parameter.code] = self._compile(planner, wanted, parameter, where[0])
            return parameter.code, kept[where, parameter.code]
        key = wanted, where, parameter.code
        check = self._forgettable.get(key)
        if check is None:
            if len(self._forgettable) >= _MAX_FORGETTABLE:
                self._forgettable.clear()
            check = self._forgettable[key] = self._compile(planner, wanted, parameter, where[0])
        return parameter.code, check

    def _compile(
        self, planner: Planner, wanted: Filter, parameter: SearchParameter, release: Release
    ) -> _Compiled:
        try:
            found = planner.lookup(wanted, release)
        except BrokerError:
            found = None  # compiling it tells why
        if found is not None:
            return _by_lookup(*found)
        try:
            if is_chained(wanted):
                chain = read_chain(wanted)
                if chain is None:
                    return f"{wanted.parameter} can't be read as a chain"
                follows = compile_chain(
                    chain, parameter, self._table, self._base_urls, release, self._value_sets
                )
                return lambda sight: sight.state is not None and follows.passes(sight.state, sight.related)
            test = compile_filter(wanted, parameter, self._base_urls, release, self._value_sets)
        except BrokerError as error:
            return str(error)
        return lambda sight: sight.state is not None and test(sight.state)


def _by_lookup(reader: AnyReader, draft: Draft) -> Check:
    keys, wanted = draft.keys, draft.range

    def passes(sight: Sight) -> bool:
        if wanted is None:
            said = sight.said(reader)
            passed, failure = said.says(keys), said.failure
        else:
            measured = sight.measured(reader, wanted.unit)
            passed, failure = measured.passes(wanted), measured.failure
        if not passed and failure is not None:
            raise EvaluationFailed(failure)
        return passed

    return passes


class Look:
    """One topic's look at what a change shows."""

    __slots__ = ("_checks", "_here", "_planner", "_release", "_sight", "problems")

    def __init__(self, sight: Sight, planner: Planner, checks: Checks) -> None:
        self._sight = sight
        self._planner = planner
        self._checks = checks
        self._release = sight.where[0]
        self._here: dict[Filter, Outcome] = {}
        self.problems: list[Problem] = []

    def said(self, channel: Channel) -> Said:
        return self._sight.said(channel.readers[self._release])

    def measured(self, channel: Channel, unit: Unit) -> Measured:
        return self._sight.measured(channel.readers[self._release], unit)

    def passes(self, left: tuple[Filter, ...], entries: Iterable[Entry]) -> bool:
        """Whether all pass; what can't be told is a problem of each of the entries (R-410)."""
        for wanted in left:
            found = self._here.get(wanted)
            if found is None:
                found = self._here[wanted] = self._outcome(wanted)
            if isinstance(found, str):
                where = f"filter {wanted.parameter}"
                self.problems += [Problem(where, found, one.match.subscription_id) for one in entries]
                del self.problems[:-MAX_PROBLEMS]
            if found is not True:
                return False
        return True

    def _outcome(self, wanted: Filter) -> Outcome:
        sight = self._sight
        code, check = self._checks.compiled(self._planner, wanted, sight.where)
        if isinstance(check, str):
            return check
        if sight.state is None:
            return "the state to filter by is no longer stored"
        key = wanted, code
        outcome = sight.outcomes.get(key)
        if outcome is None:
            try:
                outcome = check(sight)
            except EvaluationFailed as error:
                outcome = str(error)
            sight.outcomes[key] = outcome
        return outcome
