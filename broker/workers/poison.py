"""Changes that break the matcher: how often each was tried, and how long its partition rests in between.

A partition rests as a whole, and less than a second in all: what stands behind a change that is tried again may be of the same
resource, and no outbox takes a change after a newer one of its partition (decision 040). Other partitions go on.
"""

import time
from collections.abc import Collection, Iterable

from broker.model.change import Change

TRIES = 5
WAITS_S = (0.05, 0.1, 0.2, 0.4)
"""After the first to the fourth try."""
_MAX_REASON = 500


class Poison:
    """What this process knows; a matcher that takes a partition over counts from the start."""

    def __init__(self) -> None:
        self._failures: dict[int, dict[str, tuple[int, str]]] = {}
        self._rests: dict[int, float] = {}

    def failed(self, change: Change, error: Exception) -> int:
        """Notes a failed try; how many there were."""
        of_partition = self._failures.setdefault(change.partition, {})
        tries = of_partition.get(change.id, (0, ""))[0] + 1
        of_partition[change.id] = tries, f"{type(error).__name__}: {error}"[:_MAX_REASON]
        return tries

    def reason(self, change: Change) -> str:
        """Why the last try of it failed."""
        return self._failures[change.partition][change.id][1]

    def is_spent(self, change: Change) -> bool:
        return self._failures.get(change.partition, {}).get(change.id, (0, ""))[0] >= TRIES

    def settled(self, change: Change) -> None:
        """It was matched, or set aside."""
        of_partition = self._failures.get(change.partition)
        if of_partition is not None:
            of_partition.pop(change.id, None)
            if not of_partition:
                del self._failures[change.partition]

    def rest(self, partition: int) -> None:
        """Nothing is read of the partition until its failed changes are due for another try."""
        tries = max(tries for tries, _ in self._failures[partition].values())
        self._rests[partition] = time.monotonic() + WAITS_S[min(tries, len(WAITS_S)) - 1]

    def resting(self) -> Collection[int]:
        now = time.monotonic()
        self._rests = {partition: until for partition, until in self._rests.items() if until > now}
        return self._rests

    def next_try_s(self) -> float | None:
        """How long until a partition has rested; None if none rests."""
        return max(0.0, min(self._rests.values()) - time.monotonic()) if self._rests else None

    def keep(self, held: Iterable[int]) -> None:
        """Forgets what it knows of partitions that are held no more."""
        for partition in (self._failures.keys() | self._rests.keys()) - set(held):
            self._failures.pop(partition, None)
            self._rests.pop(partition, None)
