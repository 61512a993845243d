"""What a matcher knows of each partition whose lease it holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from broker.workers.poison import PoisonMessages


@dataclass(slots=True)
class Partition:
    """One record for each lease: losing the partition and taking it over again makes a new one.

    `token` is the lease's fencing token, `position` that of the last change that is matched; None: it has to
    be loaded from the store.
    """

    number: int
    token: int
    position: str | None = None
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

    def forget_positions(self) -> None:
        """Has all positions loaded again: the store may hold others."""
        for partition in self:
            partition.position = None
