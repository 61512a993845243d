"""What went wrong while a change was being matched.

A filter or criteria that can't be evaluated never passes (R-042, R-410); the problem is kept for whoever drains it.
"""

from dataclasses import dataclass

from broker.errors import BrokerError


class EvaluationFailed(BrokerError):  # noqa: N818 named for what is the case
    """A filter or criteria met a resource it can't be evaluated on; it counts as not passed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One failed evaluation. `where` names a topic's trigger or a filter; `subscription_id` is None for a topic's problem."""

    where: str
    reason: str
    subscription_id: str | None = None

    def __str__(self) -> str:
        owner = f" of subscription {self.subscription_id}" if self.subscription_id else ""
        return f"{self.where}{owner}: {self.reason}"
