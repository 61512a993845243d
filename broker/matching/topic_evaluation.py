"""The evaluation of one topic on one change: whether the focus passes the filters left by the lookups."""

from collections.abc import Iterable

from broker.matching.change_evaluation import ChangeEvaluation
from broker.matching.compiled_filters import CompiledFilters
from broker.matching.indexed_subscription import IndexedSubscription
from broker.matching.keys import ExtractedKeys
from broker.matching.lookups import LookupChannel
from broker.matching.planner import LookupPlanner
from broker.matching.predicates import Unit
from broker.matching.problems import MAX_PROBLEMS, EvaluationFailed, Problem
from broker.matching.readers import ExtractedExtremes
from broker.matching.verdicts import (
    PASSED,
    STATE_NOT_STORED,
    FilterEvaluation,
    FilterVerdict,
    evaluation_of,
    not_evaluable,
)
from broker.model.search import Filter


class TopicEvaluation:
    """Implements `postings.FocusEvaluation`, for subscriptions of one release. `problems` collects the
    filters that can't be evaluated.
    """

    __slots__ = ("_change", "_compiled", "_evaluations", "_planner", "_release", "problems")

    def __init__(self, change: ChangeEvaluation, planner: LookupPlanner, compiled: CompiledFilters) -> None:
        self._change = change
        self._planner = planner
        self._compiled = compiled
        self._release = change.release
        self._evaluations: dict[Filter, FilterEvaluation] = {}
        self.problems: list[Problem] = []

    def keys(self, channel: LookupChannel) -> ExtractedKeys:
        return self._change.keys(channel.readers[self._release])

    def extremes(self, channel: LookupChannel, unit: Unit) -> ExtractedExtremes:
        return self._change.extremes(channel.readers[self._release], unit)

    def passes(self, remaining: tuple[Filter, ...], subscriptions: Iterable[IndexedSubscription]) -> bool:
        """Whether all filters pass. One that is not evaluable is a problem of each of the subscriptions
        (R-410).
        """
        for filter_ in remaining:
            evaluation = self._evaluations.get(filter_)
            if evaluation is None:
                evaluation = self._evaluations[filter_] = self._evaluate(filter_)
            if evaluation is not PASSED:
                if evaluation.verdict is FilterVerdict.NOT_EVALUABLE:
                    self._report(filter_, evaluation, subscriptions)
                return False
        return True

    def _report(
        self,
        filter_: Filter,
        evaluation: FilterEvaluation,
        subscriptions: Iterable[IndexedSubscription],
    ) -> None:
        self.problems += [
            Problem(
                evaluation.reason,
                subscription.match.topic_canonical,
                subscription_id=subscription.match.subscription_id,
                filter_index=subscription.filters.index(filter_),
                parameter=filter_.parameter,
            )
            for subscription in subscriptions
        ]
        del self.problems[:-MAX_PROBLEMS]

    def _evaluate(self, filter_: Filter) -> FilterEvaluation:
        change = self._change
        code, compiled = self._compiled.get(self._planner, filter_, self._release, change.resource_type)
        if isinstance(compiled, FilterEvaluation):
            return compiled
        if change.state is None:
            return STATE_NOT_STORED
        key = filter_, code
        evaluation = change.evaluations.get(key)
        if evaluation is None:
            try:
                evaluation = evaluation_of(passed=compiled(change))
            except EvaluationFailed as error:
                evaluation = not_evaluable(str(error))
            change.evaluations[key] = evaluation
        return evaluation
