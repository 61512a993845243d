"""The compiled filters of all topics of one index.

A filter that one lookup can decide is decided by the values that the index has extracted already. A limited
number of compiled filters is cached. Filters that depend on value sets are the exception: they stay compiled
as long as a subscription has them, because an unknown value set is an error at the time when the subscription
is added.
"""

from collections import Counter
from collections.abc import Callable

from broker.errors import BrokerError
from broker.matching.chains import compile_chain, is_chained, read_chain
from broker.matching.change_evaluation import ChangeEvaluation
from broker.matching.context import SearchContext
from broker.matching.filters import compile_filter
from broker.matching.planner import LookupPlanner
from broker.matching.predicates import PredicateDraft
from broker.matching.problems import EvaluationFailed
from broker.matching.readers import Reader
from broker.matching.verdicts import FilterEvaluation, not_evaluable
from broker.model.release import Release
from broker.model.search import Filter, SearchParameter

_MAX_CACHED = 20_000
_VALUE_SET_MODIFIERS = frozenset({"in", "not-in", "above", "below"})

FilterTest = Callable[[ChangeEvaluation], bool]
"""Raises EvaluationFailed."""
CompiledFilter = FilterTest | FilterEvaluation
"""A FilterEvaluation if the filter can't be compiled: then it never passes (R-410)."""
_FocusKey = tuple[Release, str, str]
"""Release and type of the focus, and the code of the parameter that the filter means there."""


def depends_on_value_sets(filter_: Filter) -> bool:
    name = f"{filter_.parameter}:{filter_.modifier or ''}"
    return name.rsplit(":", 1)[-1] in _VALUE_SET_MODIFIERS


class CompiledFilters:
    """Compiles filters at their first use."""

    def __init__(self, context: SearchContext) -> None:
        self._context = context
        self._use_counts: Counter[Filter] = Counter()
        self._retained: dict[Filter, dict[_FocusKey, CompiledFilter]] = {}
        self._cached: dict[tuple[Filter, _FocusKey], CompiledFilter] = {}

    def retain(self, filter_: Filter) -> None:
        """Keeps the filter compiled for one more subscription. Only for filters that depend on value sets."""
        self._use_counts[filter_] += 1
        self._retained.setdefault(filter_, {})

    def release(self, filter_: Filter) -> None:
        """The inverse of `retain`."""
        self._use_counts[filter_] -= 1
        if self._use_counts[filter_] <= 0:
            del self._use_counts[filter_], self._retained[filter_]

    def recompile(self) -> None:
        """Compiles retained filters again when they are used next."""
        for compiled in self._retained.values():
            compiled.clear()

    def get(
        self, planner: LookupPlanner, filter_: Filter, release: Release, resource_type: str
    ) -> tuple[str, CompiledFilter]:
        """The code of the parameter that the filter means in the topic of the planner, and the compiled
        filter.

        Topics in which a filter means the same parameter share the compiled filter.
        """
        chain = read_chain(filter_) if is_chained(filter_) else None
        parameter = planner.parameter(release, filter_.parameter if chain is None else chain.link)
        if parameter is None:
            reason = f"{resource_type} has no search parameter {filter_.parameter} in {release}"
            return "", not_evaluable(reason)
        focus_key = release, resource_type, parameter.code
        retained = self._retained.get(filter_)
        if retained is not None:
            if focus_key not in retained:
                retained[focus_key] = self._compile(planner, filter_, parameter, release)
            return parameter.code, retained[focus_key]
        key = filter_, focus_key
        compiled = self._cached.get(key)
        if compiled is None:
            if len(self._cached) >= _MAX_CACHED:
                self._cached.clear()
            compiled = self._cached[key] = self._compile(planner, filter_, parameter, release)
        return parameter.code, compiled

    def _compile(
        self, planner: LookupPlanner, filter_: Filter, parameter: SearchParameter, release: Release
    ) -> CompiledFilter:
        try:
            lookup = planner.lookup(filter_, release)
        except BrokerError:
            lookup = None  # the compilation below gives the reason
        if lookup is not None:
            return _lookup_test(*lookup)
        try:
            if is_chained(filter_):
                chain = read_chain(filter_)
                if chain is None:
                    return not_evaluable(f"{filter_.parameter} can't be read as a chain")
                chain_test = compile_chain(chain, parameter, release, self._context)
                return lambda change: (
                    change.state is not None and chain_test.passes(change.state, change.related)
                )
            test = compile_filter(filter_, parameter, release, self._context)
        except BrokerError as error:
            return not_evaluable(str(error))
        return lambda change: change.state is not None and test(change.state)


def _lookup_test(reader: Reader, draft: PredicateDraft) -> FilterTest:
    keys, threshold = draft.keys, draft.threshold

    def passes(change: ChangeEvaluation) -> bool:
        if threshold is None:
            extracted = change.keys(reader)
            passed, failure = extracted.has_any(keys), extracted.failure
        else:
            extremes = change.extremes(reader, threshold.unit)
            passed, failure = extremes.passes(threshold), extremes.failure
        if not passed and failure is not None:
            raise EvaluationFailed(failure)
        return passed

    return passes
