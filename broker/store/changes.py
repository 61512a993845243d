"""The intake log: a stream of accepted changes for each partition.

`Changes` appends proposals durably, and reads the log for the matcher that holds a partition's lease, from
the position up to which the partition is matched (`matched_positions.py`). `change_log.py` looks back at the
log.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from broker.errors import BrokerError
from broker.model.change import Change, Version, VersionKey
from broker.store import keys
from broker.store.bodies import UNSEALED, Bodies
from broker.store.proposals import ACCEPTANCES, Accepted, Proposal
from broker.store.protocol import Argument, Command, Store, StreamReader
from broker.store.records import LogEntry, logged_change
from broker.store.resources import Resources
from broker.store.scripts import intake
from broker.store.scripts.intake import AppendedChange
from broker.store.stream_id import StreamId

MAX_CHANGES = 1_000_000
"""Of one partition, that are not matched: beyond it, it takes no more."""

Entry = tuple[int, str, Mapping[bytes, bytes]]
"""Partition, entry id and fields."""


class Loaded(NamedTuple):
    """Changes that were just read, and the age of the oldest one."""

    changes: list[Change]
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

    def __init__(
        self, store: Store, *, keep_ms: int, max_changes: int = MAX_CHANGES, bodies: Bodies = UNSEALED
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._resources = Resources(store, bodies)
        self._keep_ms = keep_ms
        self._max_changes = max_changes

    async def append(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Writes independent changes in one round trip; returns the answers once they are durable."""
        by_partition: dict[int, list[int]] = {}
        for index, proposal in enumerate(proposals):
            by_partition.setdefault(self._partition_of(proposal), []).append(index)
        packed = await self._packed(proposals)
        calls = [
            intake.append_changes_call(
                self._store,
                [proposals[index] for index in indexes],
                [packed[index] for index in indexes],
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
            self._store,
            proposals,
            await self._packed(proposals),
            is_atomic=True,
            keep_ms=self._keep_ms,
            max_unmatched=self._max_changes,
        )
        if not self._store.can_run(call):
            partitions = [self._partition_of(proposal) for proposal in proposals]
            raise SeveralPartitions(next(n for n, p in enumerate(partitions) if p != partitions[0]))
        (rows,) = await intake.append_changes(self._store, [call])
        return [_accepted(proposal, row) for proposal, row in zip(proposals, rows, strict=True)]

    async def _packed(self, proposals: Sequence[Proposal]) -> list[bytes]:
        """The text of each proposal as it is stored; b'' for none."""
        key_id = await self._bodies.sealing_key()
        return [
            self._bodies.pack(proposal.tail, proposal.tenant, f"{proposal.type}/{proposal.id}", key_id)
            if proposal.tail
            else b""
            for proposal in proposals
        ]

    def _partition_of(self, proposal: Proposal) -> int:
        return self._store.layout.partition_of(proposal.tenant, proposal.id)

    async def read(
        self, reader: StreamReader, positions: Mapping[int, str], *, count: int, block_ms: int
    ) -> list[Entry]:
        """Up to `count` entries of each partition after its position, in order within each, for `load`. Waits
        for one up to `block_ms`.
        """
        streams = {keys.changes(partition): position for partition, position in positions.items()}
        rows = await reader.read(streams, count=count, block_ms=block_ms)
        partitions = {keys.changes(partition).encode(): partition for partition in positions}
        return [
            (partitions[stream], entry_id.decode(), fields)
            for stream, entries in rows
            for entry_id, fields in entries
        ]

    async def load(self, entries: Sequence[Entry]) -> Loaded:
        """The changes of entries with their versions."""
        # in one round trip
        changes, ((seconds, micros),) = await asyncio.gather(
            self._load(entries), self._store.send([("TIME",)])
        )
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        oldest_ms = min((StreamId.parse(entry_id).ms for _, entry_id, _ in entries), default=now_ms)
        return Loaded(changes, (now_ms - oldest_ms) / 1000)

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
        changes.append(
            Change(
                entry_id, partition, version, previous, entry.events, trace=entry.trace, patient=entry.patient
            )
        )
    return changes


def _without_body(entry: LogEntry) -> Version:
    return Version(entry.key, entry.release, entry.interaction, entry.at_ms, None)


def _accepted(proposal: Proposal, row: AppendedChange) -> Accepted:
    key = proposal.key(row.version)
    return Accepted(ACCEPTANCES[row.status], key, row.at_ms)
