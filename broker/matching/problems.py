"""What goes wrong while a topic is checked, a subscription is registered, or a change is matched.

Each problem names the filter or trigger by its position. `fhir/` knows the element path of that position. A
filter or criteria that can't be evaluated never passes (R-042, R-410); matchers keep the problem until it is
drained.
"""

from dataclasses import dataclass
from enum import StrEnum

from broker.errors import BrokerError
from broker.model.topic import TopicLocation

READ_ERRORS = (BrokerError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What reading a resource raises if the resource is not as FHIR defines it."""

MAX_PROBLEMS = 1000
"""A matcher keeps this many problems, the newest."""


class EvaluationFailed(BrokerError):  # noqa: N818 named for what is the case
    """A filter or criteria met a resource on which it can't be evaluated. It counts as not passed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One failed evaluation, of a filter of a subscription or else of a trigger of a topic.

    `filter_index` is the position of the filter in the subscription.
    """

    reason: str
    topic_canonical: str
    trigger: TopicLocation | None = None
    subscription_id: str | None = None
    filter_index: int | None = None
    parameter: str = ""

    @property
    def place(self) -> str:
        """Where it is, for the log; the reason may quote the resource."""
        if self.subscription_id is None:
            return f"topic {self.topic_canonical}, {self.trigger}"
        return f"subscription {self.subscription_id}, filter[{self.filter_index}] {self.parameter}"

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class FilterRefusal(StrEnum):
    """Why a filter is refused. The values are codes of FHIR's issue-type code system."""

    INVALID = "invalid"
    NOT_SUPPORTED = "not-supported"
    BAD_VALUE = "value"


@dataclass(frozen=True, slots=True)
class FilterProblem:
    """Why a filter of a subscription is refused at registration.

    `index` is its position in the subscription.
    """

    index: int
    refusal: FilterRefusal
    text: str


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """An error keeps a topic from being loaded; a warning is for its author. `location` is None for the topic
    as a whole.
    """

    text: str
    location: TopicLocation | None = None
    is_error: bool = True

    def __str__(self) -> str:
        return self.text if self.location is None else f"{self.location}: {self.text}"
