"""Poison messages: changes whose matching keeps failing, and the pauses between the attempts.

While a change is retried, its whole partition rests, for less than a second in total: a later change may be
of the same resource, and no outbox accepts a change that is older than one it has (decision 040). Other
partitions continue. After `MAX_ATTEMPTS` the change becomes a dead letter.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import BrokerError

MAX_ATTEMPTS = 5
_DELAYS_S = (0.05, 0.1, 0.2, 0.4)
"""After the first to the fourth attempt."""
_MAX_REASON = 500


class UnreadableChange(BrokerError):  # noqa: N818 names the condition
    """The stored version of a change can't be read. The text has nothing of the resource."""


@dataclass(frozen=True, slots=True)
class _Failure:
    attempts: int
    reason: str


class PoisonMessages:
    """The failing changes of one partition, by change id. A matcher that takes over the partition counts from
    zero.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._failures: dict[str, _Failure] = {}
        self._rests_until_s = 0.0

    def record(self, change_id: str, error: Exception) -> int:
        """Records a failed attempt; returns the number of attempts so far."""
        attempts = self.attempts(change_id) + 1
        self._failures[change_id] = _Failure(attempts, _reason(error))
        return attempts

    def attempts(self, change_id: str) -> int:
        failure = self._failures.get(change_id)
        return 0 if failure is None else failure.attempts

    def reason(self, change_id: str) -> str:
        """Why the last attempt failed."""
        return self._failures[change_id].reason

    def is_exhausted(self, change_id: str) -> bool:
        """Whether no attempt is left."""
        return self.attempts(change_id) >= MAX_ATTEMPTS

    def forget(self, change_id: str) -> None:
        """The change was matched, or became a dead letter."""
        self._failures.pop(change_id, None)

    def rest(self) -> None:
        """The partition rests until its failed changes are due for the next attempt."""
        attempts = max(failure.attempts for failure in self._failures.values())
        self._rests_until_s = self._now_s() + _DELAYS_S[min(attempts, len(_DELAYS_S)) - 1]

    def rest_s(self) -> float:
        """How long the partition still rests; 0 if it does not."""
        return max(0.0, self._rests_until_s - self._now_s())


def _reason(error: Exception) -> str:
    """Without the text of an error that may quote the resource."""
    if isinstance(error, UnreadableChange):
        return str(error)[:_MAX_REASON]
    return f"the matching failed: {type(error).__name__}"
