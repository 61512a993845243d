"""The intake log: a stream of accepted changes for each partition.

`Changes` appends proposals durably, and reads the log for the matcher that holds a partition's lease. A
change stays pending until it is acknowledged or becomes a dead letter, so a matcher that takes a partition
over reads it again. `change_log.py` looks back at the log.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.errors import BrokerError
from broker.model.change import Change, Version, VersionKey
from broker.store import keys
from broker.store.proposals import ACCEPTANCES, Accepted, Proposal
from broker.store.protocol import Argument, Command, GroupReader, Store
from broker.store.records import LogEntry, logged_change
from broker.store.resources import Resources
from broker.store.scripts import dead_letters, intake
from broker.store.scripts.intake import AppendedChange
from broker.store.stream_id import StreamId

GROUP = "match"
MAX_CHANGES = 1_000_000
"""Of one partition, that are not matched: beyond it, it takes no more."""

Entry = tuple[int, str, Mapping[bytes, bytes]]
"""Partition, entry id and fields."""


class Loaded(NamedTuple):
    """Changes that were just read, the partitions with older pending entries, and the age of the oldest
    change.
    """

    changes: list[Change]
    out_of_order: frozenset[int]
    age_s: float


class SeveralPartitions(BrokerError):  # noqa: N818 a property of the request, for the caller to report
    """Proposals to write together lie in partitions on different nodes, and no script reaches both. Nothing
    was written.

    `index` is the first proposal that is not in the partition of the first one.
    """

    def __init__(self, index: int) -> None:
        super().__init__("the resources lie in different partitions of a Cluster")
        self.index = index


class Changes:
    """Appends and reads; `max_changes` is how many changes of a partition may wait to be matched.

    `keep_ms` is how long the answers to idempotency keys are kept.
    """

    def __init__(self, store: Store, *, keep_ms: int, max_changes: int = MAX_CHANGES) -> None:
        self._store = store
        self._resources = Resources(store)
        self._keep_ms = keep_ms
        self._max_changes = max_changes

    async def append(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Writes independent changes in one round trip; returns the answers once they are durable."""
        by_partition: dict[int, list[int]] = {}
        for index, proposal in enumerate(proposals):
            by_partition.setdefault(self._partition_of(proposal), []).append(index)
        calls = [
            intake.append_changes_call(
                self._store,
                [proposals[index] for index in indexes],
                is_atomic=False,
                keep_ms=self._keep_ms,
                max_unmatched=self._max_changes,
            )
            for indexes in by_partition.values()
        ]
        answers: dict[int, Accepted] = {}
        rows_of_calls = await intake.append_changes(self._store, calls)
        for indexes, rows in zip(by_partition.values(), rows_of_calls, strict=True):
            for index, row in zip(indexes, rows, strict=True):
                answers[index] = _accepted(proposals[index], row)
        return [answers[index] for index in range(len(proposals))]

    async def append_together(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Writes all changes or, if one is refused, none. Raises `SeveralPartitions`."""
        call = intake.append_changes_call(
            self._store, proposals, is_atomic=True, keep_ms=self._keep_ms, max_unmatched=self._max_changes
        )
        if not self._store.can_run(call):
            partitions = [self._partition_of(proposal) for proposal in proposals]
            raise SeveralPartitions(next(n for n, p in enumerate(partitions) if p != partitions[0]))
        (rows,) = await intake.append_changes(self._store, [call])
        return [_accepted(proposal, row) for proposal, row in zip(proposals, rows, strict=True)]

    def _partition_of(self, proposal: Proposal) -> int:
        return self._store.layout.partition_of(proposal.tenant, proposal.id)

    async def prepare(self) -> None:
        """Creates each partition's consumer group, from the beginning of the stream."""
        for partition in range(self._store.layout.partitions):
            await self._store.create_group(keys.changes(partition), GROUP)

    async def read(
        self, reader: GroupReader, positions: Mapping[int, str], *, count: int, block_ms: int | None
    ) -> list[Change]:
        """The next changes of some partitions with their versions, in order within each partition.

        A position is `>` for changes that nobody has read, or an entry id: then changes after it that were
        read and not acknowledged are read again (recovery after a crash).
        """
        return await self._load(await self._entries(reader, positions, count=count, block_ms=block_ms))

    async def read_new(
        self, reader: GroupReader, partitions: Sequence[int], *, count: int, block_ms: int
    ) -> list[Entry]:
        """Entries that nobody has read, for `load`. They are pending from here on."""
        return await self._entries(reader, dict.fromkeys(partitions, ">"), count=count, block_ms=block_ms)

    async def load(self, entries: Sequence[Entry]) -> Loaded:
        """The changes of new entries, and the partitions that have older pending entries besides them.

        In such a partition a reader that has lost its lease took changes. They must be matched before the
        changes returned here (`read` from the beginning returns all of them in order), because an outbox
        passes over a change that is older than its last one.
        """
        sizes = Counter(partition for partition, _, _ in entries)
        pending: list[Command] = [("XPENDING", keys.changes(partition), GROUP) for partition in sizes]
        # in one round trip with the versions
        changes, (*totals, (seconds, micros)) = await asyncio.gather(
            self._load(entries), self._store.send([*pending, ("TIME",)])
        )
        out_of_order = {
            partition
            for (partition, size), row in zip(sizes.items(), totals, strict=True)
            if int(row[0]) > size
        }
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        oldest_ms = min((StreamId.parse(entry_id).ms for _, entry_id, _ in entries), default=now_ms)
        return Loaded(changes, frozenset(out_of_order), (now_ms - oldest_ms) / 1000)

    async def _entries(
        self, reader: GroupReader, positions: Mapping[int, str], *, count: int, block_ms: int | None
    ) -> list[Entry]:
        streams = {keys.changes(partition): position for partition, position in positions.items()}
        rows = await reader.read(GROUP, "matcher", streams, count=count, block_ms=block_ms)
        partitions = {keys.changes(partition).encode(): partition for partition in positions}
        return [
            (partitions[stream], entry_id.decode(), fields)
            for stream, entries in rows
            for entry_id, fields in entries
        ]

    async def _load(self, entries: Sequence[Entry]) -> list[Change]:
        try:
            return await changes_of(self._resources, entries)
        except ValueError:  # one of the versions can't be read; the others can
            return [change for entry in entries for change in await self._load_alone(entry)]

    async def _load_alone(self, entry: Entry) -> list[Change]:
        try:
            return await changes_of(self._resources, [entry])
        except ValueError as error:
            partition, entry_id, fields = entry
            logged = logged_change(fields)
            problem = f"the stored version of {logged.key.reference} can't be read: {error}"
            return [Change(entry_id, partition, _without_body(logged), None, problem=problem)]

    async def acknowledge(self, matched: Mapping[int, Sequence[str]]) -> None:
        """Marks changes as matched, by partition: they are not read again."""
        await intake.acknowledge_changes(self._store, GROUP, matched)

    async def hold(self, since_ms: Mapping[VersionKey, int]) -> None:
        """Has retention treat versions as if they had been written at these moments, because of events that
        include them.
        """
        by_partition: dict[int, list[Argument]] = {}
        for key, at_ms in since_ms.items():
            partition = self._store.layout.partition_of(key.tenant, key.id)
            by_partition.setdefault(partition, []).extend((at_ms, keys.version_member(key)))
        commands: list[Command] = [
            ("ZADD", keys.held_versions(partition), "GT", *scores)
            for partition, scores in by_partition.items()
        ]
        await self._store.send(commands)

    async def move_to_dead_letters(self, change: Change, token: int, reason: str) -> bool:
        """Makes a change that can't be matched a dead letter, so that the changes behind it are matched.

        It counts as acknowledged. Repeated calls move it once. False if the partition's lease has moved on:
        nothing was written.
        """
        return await dead_letters.move_change_to_dead_letters(
            self._store,
            change.partition,
            change.current.key,
            token=token,
            group=GROUP,
            change_id=change.id,
            reason=reason,
        )


async def changes_of(resources: Resources, entries: Sequence[Entry]) -> list[Change]:
    """The changes of log entries with their stored versions. Raises `ValueError` for a damaged one."""
    logged = [
        (partition, entry_id, logged_change(fields)) for partition, entry_id, fields in entries if fields
    ]
    wanted = {key for _, _, entry in logged for key in (entry.key, entry.previous) if key}
    versions = await resources.many(wanted)
    changes = []
    for partition, entry_id, entry in logged:
        version = versions.get(entry.key) or _without_body(entry)
        if entry.events:  # the event happened at the moment of the entry, whenever the resource was written
            version = version._replace(at_ms=entry.at_ms, interaction=entry.interaction)
        previous = versions.get(entry.previous) if entry.previous else None
        changes.append(Change(entry_id, partition, version, previous, entry.events, trace=entry.trace))
    return changes


def _without_body(entry: LogEntry) -> Version:
    return Version(entry.key, entry.release, entry.interaction, entry.at_ms, None)


def _accepted(proposal: Proposal, row: AppendedChange) -> Accepted:
    key = proposal.key(row.version)
    return Accepted(ACCEPTANCES[row.status], key, row.at_ms)
