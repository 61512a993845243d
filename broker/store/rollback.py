"""Detects a store that came back with older data, before it assigns an event number twice.

Such a store was restored from a backup, lost the end of its append-only file, or failed over to a replica
that was behind. A matcher knows high-water marks: how many events each shard numbered from its partitions,
and the last change it read. If the store holds less, every shard skips the numbers that it may have assigned
(`lua/skip_numbers.lua`), every subscription reports the gap, and the matcher numbers the forgotten events
again, under new numbers, as far as their changes are still in the log
(docs/decisions/051-rollback-detection.md). The matcher worker calls `verify`; `Outboxes.append` records and
sends the marks.
"""

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from broker.model.change import Change
from broker.store import keys
from broker.store.high_water import HighWaterMarks
from broker.store.protocol import Command, Store
from broker.store.scripts.outbox import skip_numbers
from broker.store.stream_id import StreamId, text_of

_log = structlog.get_logger(__name__)
MARGIN = 1_000
"""How many numbers a shard skips beyond the known ones: for lost replies, and for matchers that ended."""
MARGIN_FROM_FILE = 1_000_000
"""The same when the marks come from the file, which is some seconds old."""


@dataclass(frozen=True, slots=True)
class _StoreState:
    """What the store holds now: the shards that are behind their marks, and the newest change of each
    partition.
    """

    shards_behind: frozenset[int]
    heads: Mapping[int, str]


class RollbackDetector:
    """One for each process. Call `verify` before events are numbered whenever the store may have changed."""

    def __init__(self, store: Store, file: Path | None = None) -> None:
        self._store = store
        self._file = file
        self._marks = HighWaterMarks.load(file) if file is not None else HighWaterMarks()
        self._is_saved = True
        self._margin = MARGIN_FROM_FILE if self._marks else MARGIN

    def numbered(self, shard: int, partition: int) -> int:
        """The high-water mark: how many events of the partition the shard has numbered, as far as this
        process knows.
        """
        return self._marks.numbered.get((shard, partition), 0)

    def record_numbered(self, shard: int, partition: int, number: int) -> None:
        self._marks.numbered[shard, partition] = number
        self._is_saved = False

    def record_read(self, changes: Iterable[Change]) -> None:
        """Records the newest of these changes, which are in order within each partition."""
        for change in changes:
            self._marks.heads[change.partition] = change.id
            self._is_saved = False

    async def verify(self) -> bool:
        """Whether the store was rolled back; then all of its shards have skipped numbers.

        Raises `StoreUnavailable`; the caller must then call it again.
        """
        state = await self._state()
        heads = self._marks.heads
        behind = {p: head for p, head in heads.items() if _is_behind(state.heads.get(p), head)}
        if not state.shards_behind and not behind:
            self._margin = MARGIN
            return False
        numbered: dict[int, dict[int, int]] = {}
        for (shard, partition), number in self._marks.numbered.items():
            numbered.setdefault(shard, {})[partition] = number
        skipped = await skip_numbers(self._store, uuid.uuid4().hex, self._margin, numbered)
        _log.error(
            "the store came back with older data; changes may be lost, event numbers are skipped",
            last_change_known=max(behind.values(), default=None, key=StreamId.parse),
            partitions_behind=len(behind),
            shards_behind=len(state.shards_behind),
            events_forgotten=sum(max(0, shard.forgotten) for shard in skipped),
            subscriptions=sum(shard.subscriptions for shard in skipped),
        )
        heads.update({p: state.heads[p] for p in behind})
        self._margin = MARGIN
        return True

    async def _state(self) -> _StoreState:
        marks = self._marks
        by_shard: dict[int, list[int]] = {}
        for shard, partition in marks.numbered:
            by_shard.setdefault(shard, []).append(partition)
        commands: list[Command] = [
            ("HMGET", keys.fence(shard), *(keys.numbered_field(p) for p in partitions))
            for shard, partitions in by_shard.items()
        ]
        commands += [("XREVRANGE", keys.changes(p), "+", "-", "COUNT", 1) for p in marks.heads]
        replies: list[Any] = await self._store.send(commands)
        shards_behind = frozenset(
            shard
            for (shard, partitions), numbers in zip(by_shard.items(), replies, strict=False)
            if any(
                int(number or 0) < marks.numbered[shard, p]
                for p, number in zip(partitions, numbers, strict=True)
            )
        )
        newest = zip(marks.heads, replies[len(by_shard) :], strict=True)
        return _StoreState(shards_behind, {p: text_of(entries[0][0]) for p, entries in newest if entries})

    async def save(self) -> None:
        """Writes new marks to the file, if there is one. A file that cannot be written is logged."""
        if self._file is None or self._is_saved:
            return
        self._is_saved = True
        try:
            await asyncio.to_thread(self._marks.copy().save, self._file)
        except OSError as error:
            _log.warning("high-water marks not written", file=str(self._file), error=str(error))


def _is_behind(stored: str | None, mark: str) -> bool:
    """Whether a log ends before a change that was read. An empty log was trimmed, and proves nothing."""
    return stored is not None and StreamId.parse(stored) < StreamId.parse(mark)
