"""Gaps: event numbers of a subscription that no notification will carry, and why.

`$status`, `$events` and the log report them, so that a subscriber knows what it did not get.
"""

from dataclasses import dataclass
from enum import StrEnum


class GapReason(StrEnum):
    """Why the events of these numbers are not delivered."""

    SIZE = "size"  # more events waited than an outbox holds
    AGE = "age"  # they waited for longer than events are kept
    ROLLBACK = "rollback"  # the store came back with older data
    ACCESS = "access"  # the client may not see them


_WHY = {
    GapReason.SIZE: "more events waited than are kept (BROKER_MAX_OUTBOX), so the oldest were given up",
    GapReason.AGE: "they waited longer than events are kept (BROKER_RETENTION) and were given up",
    GapReason.ROLLBACK: "the store came back with older data; these events were delivered before or are lost",
    GapReason.ACCESS: "the client that owns the subscription was not allowed to see them",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """The numbers from `low` to `high`, both inclusive, and when the last of them went."""

    low: int
    high: int
    reason: GapReason
    at_ms: int

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def overlaps(self, first: int | None, last: int | None) -> bool:
        """Whether any of its numbers is from `first` to `last`, both inclusive and open if None."""
        return (first is None or self.high >= first) and (last is None or self.low <= last)

    @property
    def text(self) -> str:
        """One sentence for `$status`, `$events` and people."""
        numbers = f"event {self.low} is" if self.size == 1 else f"events {self.low} to {self.high} are"
        return f"{numbers} missing: {_WHY[self.reason]}"
