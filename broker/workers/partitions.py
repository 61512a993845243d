"""What a matcher knows of each partition whose lease it holds."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from broker.workers.poison import PoisonMessages

FIRST_RECHECK_S = 6.0
"""Longer than the blocked read of a matcher that lost the partition can last (`matcher.BLOCK_MS`)."""
RECHECK_S = 60.0


@dataclass(slots=True)
class Partition:
    """One record for each lease: losing the partition and taking it over again makes a new one.

    `token` is the lease's fencing token. `is_recovered`: changes that were read and not acknowledged have
    been processed.
    """

    number: int
    token: int
    is_recovered: bool = False
    recheck_at_s: float = field(default_factory=lambda: time.monotonic() + FIRST_RECHECK_S)
    poison: PoisonMessages = field(default_factory=PoisonMessages)


class Partitions:
    """The partitions of one matcher, by number."""

    def __init__(self) -> None:
        self._by_number: dict[int, Partition] = {}

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._by_number.values())

    def update(self, tokens: Mapping[int, int]) -> None:
        """Follows the leases: forgets lost partitions, and starts a record for each new lease."""
        self._by_number = {
            number: held
            if (held := self._by_number.get(number)) is not None and held.token == token
            else Partition(number, token)
            for number, token in tokens.items()
        }

    def recheck(self) -> None:
        """Has partitions recovered again: once after a former holder can't read any longer, then every
        `RECHECK_S`.

        A former holder may have taken the last changes of a partition, and no later change reveals it
        (`Changes.completed`).
        """
        now_s = time.monotonic()
        for partition in self:
            if now_s >= partition.recheck_at_s:
                partition.recheck_at_s = now_s + RECHECK_S
                partition.is_recovered = False

    def forget_recovered(self) -> None:
        """Has all partitions recovered before anything new is read: a read or a batch was interrupted."""
        for partition in self:
            partition.is_recovered = False
