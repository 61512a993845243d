"""The result of evaluating one filter on one change. Matchers act on it; `explain` reports it."""

from enum import StrEnum
from typing import NamedTuple


class FilterVerdict(StrEnum):
    """`NOT_APPLICABLE` does not keep a change from matching; `NOT_EVALUABLE` does (R-144, R-410)."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not-applicable"
    NOT_EVALUABLE = "not-evaluable"


class FilterEvaluation(NamedTuple):
    """`reason` says why a filter is not evaluable. The evaluations of the other verdicts are constants."""

    verdict: FilterVerdict
    reason: str = ""


PASSED = FilterEvaluation(FilterVerdict.PASSED)
FAILED = FilterEvaluation(FilterVerdict.FAILED)
NOT_APPLICABLE = FilterEvaluation(FilterVerdict.NOT_APPLICABLE)
STATE_NOT_STORED = FilterEvaluation(
    FilterVerdict.NOT_EVALUABLE, "the state that the filter applies to is no longer stored"
)


def not_evaluable(reason: str) -> FilterEvaluation:
    return FilterEvaluation(FilterVerdict.NOT_EVALUABLE, reason)


def evaluation_of(*, passed: bool) -> FilterEvaluation:
    return PASSED if passed else FAILED
