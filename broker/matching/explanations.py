"""The explanation of a change for one subscription, as values. `explain` builds them; `services/` and `api/`
render them.
"""

from dataclasses import dataclass
from enum import StrEnum

from broker.model.topic import TopicLocation


class ExplainOutcome(StrEnum):
    """The outcome of one test. `NOT_EVALUATED` does not keep the change from matching."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    NOT_EVALUATED = "not-evaluated"


class CriteriaPart(StrEnum):
    """The part of a trigger's criteria that a report is about."""

    PREVIOUS = "previous"
    CURRENT = "current"
    FHIRPATH = "fhirPath"


@dataclass(frozen=True, slots=True)
class TermReport:
    """A filter, or a term of a topic's query: the value it searches, the expression it reads, and the values
    found there.

    `text` is the term as written. `resource_type` is the type that a filter is limited to, or "".
    """

    text: str
    parameter: str
    wanted: str
    expression: str
    found: tuple[str, ...]
    outcome: ExplainOutcome
    reason: str
    resource_type: str = ""


@dataclass(frozen=True, slots=True)
class CriteriaReport:
    """One part of the criteria of a trigger. `text` is "" if the topic only defines a result for an absent
    state.
    """

    part: CriteriaPart
    text: str
    outcome: ExplainOutcome
    reason: str
    terms: tuple[TermReport, ...] = ()


@dataclass(frozen=True, slots=True)
class TriggerReport:
    """One trigger. `require_both` says how the tests of the two states are combined."""

    location: TopicLocation
    resource: str
    outcome: ExplainOutcome
    reason: str
    require_both: bool = False
    criteria: tuple[CriteriaReport, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """`matches` is the verdict of the matcher.

    `reason` is one sentence with the first thing that decided it.
    """

    matches: bool
    reason: str
    topic: str
    triggers: tuple[TriggerReport, ...]
    filters: tuple[TermReport, ...]
