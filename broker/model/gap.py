"""Numbers of a subscription that no notification will carry any more, and why: what is lost is told, not absent without a word."""

from dataclasses import dataclass
from enum import StrEnum


class GapReason(StrEnum):
    """Why numbers are gone."""

    SIZE = "size"  # more events waited than an outbox holds
    AGE = "age"  # they waited for longer than events are kept
    ROLLBACK = "rollback"  # the store forgot what it had given these numbers to


_WHY = {
    GapReason.SIZE: "more waited than are kept (BROKER_MAX_OUTBOX), and they were given up undelivered",
    GapReason.AGE: "they waited for longer than events are kept (BROKER_RETENTION) and were given up undelivered",
    GapReason.ROLLBACK: "the store went back in time; what had these numbers was delivered before, or is lost",
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
