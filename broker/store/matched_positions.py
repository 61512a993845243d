"""How far the changes of each partition are matched: a position in its log, that of the last change matched.

The matcher that holds a partition's lease moves the position, once the events of the changes up to it are in
their outboxes. Reading moves nothing, so what was read and not matched is read again: after an error, and by
whoever takes the partition over. A change after the position is not matched; retention never removes it.
"""

from collections.abc import Mapping, Sequence

from broker.model.change import Change, Interaction
from broker.store import keys
from broker.store.outbox import Fenced, StoreRolledBack
from broker.store.protocol import Command, Store
from broker.store.scripts import matching
from broker.store.scripts.matching import LOST_PARTITION, OTHER_POSITION, Step

START = "0-0"
"""The position of a partition of which no change is matched."""
_LOGGED = (*(f"changes_accepted:{kind}".encode() for kind in Interaction), b"dead_letters_redriven")
"""The counters of what was logged; `append_changes.lua` reads them too."""


class MatchedPositions:
    """Reads and moves the positions of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, partitions: Sequence[int]) -> dict[int, str]:
        """The position of each partition."""
        commands: list[Command] = [("HGET", keys.matching(partition), "position") for partition in partitions]
        replies = await self._store.send(commands) if commands else []
        return {
            partition: position.decode() if position else START
            for partition, position in zip(partitions, replies, strict=True)
        }

    async def advance(self, steps: Sequence[Step]) -> None:
        """Moves positions. A repeated step changes nothing.

        Raises `Fenced` if a newer matcher holds one of the partitions, and `StoreRolledBack` if a position is
        not the one that the step starts from; the other steps are taken all the same.
        """
        for step, result in zip(steps, await matching.advance(self._store, steps), strict=True):
            _check(step, result)

    async def move_to_dead_letters(self, change: Change, step: Step, reason: str) -> None:
        """Makes a change that can't be matched a dead letter, and moves the position to it in the same step,
        so that the changes behind it are matched. Raises as `advance` does: then nothing was written.
        """
        _check(step, await matching.move_to_dead_letters(self._store, change.current.key, step, reason))


def _check(step: Step, result: int) -> None:
    if result == LOST_PARTITION:
        raise Fenced(f"another process matches partition {step.partition} now")
    if result == OTHER_POSITION:
        raise StoreRolledBack(f"partition {step.partition} is not matched up to {step.position} any more")


def unmatched(counters: Mapping[bytes, bytes], matched: bytes | None) -> int:
    """How many changes of a partition are not matched: those that were logged, without those that are matched
    or became dead letters. `counters` are its counters, `matched` is the field of its matching hash.
    """
    return sum(int(counters.get(name, 0)) for name in _LOGGED) - int(matched or 0)
