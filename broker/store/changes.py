"""The intake log: accepted changes, appended durably; and each partition's one reader at a time, under a lease."""

import asyncio
import heapq
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from broker.errors import Issue, Unprocessable
from broker.model.change import Change, Interaction, Tenant, Version, VersionKey
from broker.model.release import Release
from broker.model.topic import Coding
from broker.store import keys
from broker.store.proposals import ACCEPTANCES, Accepted, Proposal
from broker.store.protocol import Argument, Command, GroupReader, ScriptCall, Store, WriteConcern
from broker.store.replies import entries_of, mapping_of
from broker.store.resources import Resources
from broker.store.stream_id import StreamId

GROUP = "match"
_PAGE = 256
MOST_CHANGES = 1_000_000
"""Of one partition. Matched ones beyond it go; when so many are not matched, no more are taken."""
_NEAR_MS = 1_000
"""How far the id of a log entry may be from the time of its version."""

Entry = tuple[int, str, Mapping[bytes, bytes]]
"""Partition, entry id and fields."""


class Changes:
    """Appends and reads the changes streams of all partitions; `most` is how many of one are kept."""

    def __init__(self, store: Store, *, keep_ms: int, most: int = MOST_CHANGES) -> None:
        self._store = store
        self._resources = Resources(store)
        self._keep_ms = keep_ms
        self._held: dict[int, int] = {}
        self._most = most

    def _arguments(self, proposal: Proposal) -> tuple[list[str], list[Argument]]:
        tenant, kind, one = proposal.tenant, proposal.type, proposal.id
        p = self._store.layout.partition_of(tenant, one)
        return [
            keys.current(p, tenant, kind, one),
            keys.versions(p, tenant, kind, one),
            keys.changes(p),
            keys.identifiers(p, tenant, kind),
            keys.idempotency(p, tenant, proposal.idempotency_key),
            keys.references(p, tenant),
        ], [
            proposal.op,
            proposal.request_id,
            tenant,
            kind,
            one,
            proposal.release,
            proposal.head,
            proposal.tail,
            proposal.expected_version,
            proposal.digest if proposal.idempotency_key else "",
            "\n".join(proposal.identifiers),
            _codings_text(proposal.events),
            "\n".join(f"{target}:{kind}:{parameter}" for parameter, target in proposal.references),
        ]

    async def append(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Writes independent changes, one script a partition, in one round trip; answers once they are durable."""
        by_partition: dict[int, list[int]] = {}
        for n, proposal in enumerate(proposals):
            by_partition.setdefault(self._store.layout.partition_of(proposal.tenant, proposal.id), []).append(
                n
            )
        calls = [self._call("each", [proposals[n] for n in some]) for some in by_partition.values()]
        answers: dict[int, Accepted] = {}
        for some, rows in zip(
            by_partition.values(), await self._store.run_many(calls, WriteConcern.DURABLE), strict=True
        ):
            for n, row in zip(some, rows, strict=True):
                answers[n] = _accepted(proposals[n], row)
        return [answers[n] for n in range(len(proposals))]

    async def append_together(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Writes all of them or, if any is refused, none.

        Raises `Unprocessable`, naming the proposal as an entry, where they are on several nodes: no script reaches both.
        """
        call = self._call("all", proposals)
        if not self._store.can_run(call):
            layout = self._store.layout
            _refuse_several(
                [(f"{one.type}/{one.id}", layout.partition_of(one.tenant, one.id)) for one in proposals]
            )
        rows = await self._store.run(call, WriteConcern.DURABLE)
        return [_accepted(proposal, row) for proposal, row in zip(proposals, rows, strict=True)]

    def _call(self, mode: str, proposals: Sequence[Proposal]) -> ScriptCall:
        script_keys: list[str] = []
        partition = self._store.layout.partition_of(proposals[0].tenant, proposals[0].id)
        arguments: list[Argument] = [
            mode,
            self._keep_ms,
            self._store.append_channel,
            partition,
            self._most,
        ]
        for proposal in proposals:
            some_keys, some_arguments = self._arguments(proposal)
            script_keys += some_keys
            arguments += some_arguments
        return ScriptCall("append", script_keys, arguments)

    async def prepare(self) -> None:
        """Creates each partition's consumer group, from the beginning of the stream."""
        for partition in range(self._store.layout.partitions):
            await self._store.create_group(keys.changes(partition), GROUP)

    async def lease(self, partitions: Sequence[int], owner: str, ttl_ms: int) -> dict[int, int]:
        """Takes or renews leases; the fencing token of each partition held now."""
        if not partitions:
            return {}
        answer = await self._store.run(ScriptCall("lease", [keys.LEASES], [owner, ttl_ms, *partitions]))
        tokens = {p: int(token) for p, token in zip(partitions, answer, strict=True) if token}
        fresh = [p for p in tokens if self._held.get(p) != tokens[p]]
        if fresh:
            await self._store.run_many(
                [ScriptCall("hold", [keys.partition_lease(p)], [tokens[p]]) for p in fresh]
            )
            self._held.update((p, tokens[p]) for p in fresh)
        return tokens

    async def unlease(self, partitions: Sequence[int], owner: str) -> None:
        if partitions:
            await self._store.run(ScriptCall("unlease", [keys.LEASES], [owner, *partitions]))

    async def presence(self, owner: str, ttl_ms: int) -> int:
        """How many matchers are alive, this one included; a `ttl_ms` of 0 says it goes away."""
        return int(await self._store.run(ScriptCall("presence", [keys.MATCHERS], [owner, ttl_ms])))

    async def set_aside(self, change: Change, token: int, reason: str) -> bool:
        """Makes a change that could not be matched a dead letter, so that those behind it go on; once, however often it is called.

        It counts as acknowledged. False if the partition's lease has moved on: nothing was written.
        """
        p = change.partition
        script_keys = [keys.partition_lease(p), keys.changes(p), keys.aside(p)]
        call = ScriptCall("set_aside", script_keys, [token, GROUP, change.id, reason])
        return int(await self._store.run(call)) >= 0

    async def read(
        self, client: GroupReader, positions: Mapping[int, str], *, count: int, block_ms: int | None
    ) -> list[Change]:
        """The next changes of some partitions, bodies included, in order within each partition.

        A position is `>` for what nobody has read, or an entry id: then what was read after it and never acknowledged comes
        again (recovery after a crash). `client` is the caller's own connection: the call may block.
        """
        return await self._changes_of(await self._entries(client, positions, count=count, block_ms=block_ms))

    async def take(
        self, client: GroupReader, partitions: Sequence[int], *, count: int, block_ms: int
    ) -> list[Entry]:
        """What nobody has read, for `completed`; it is pending from here on, whatever becomes of it."""
        return await self._entries(client, dict.fromkeys(partitions, ">"), count=count, block_ms=block_ms)

    async def completed(self, entries: Sequence[Entry]) -> tuple[list[Change], frozenset[int]]:
        """Their changes, and the partitions of which somebody read something before that is not acknowledged.

        There a reader that has lost its lease took changes; they must be matched before those of this answer (`read`
        from the beginning brings all of them in order), for outboxes pass over what is older than what they hold.
        """
        own = Counter(partition for partition, _, _ in entries)
        pending: list[Command] = [("XPENDING", keys.changes(partition), GROUP) for partition in own]
        # in one round trip with the bodies
        changes, totals = await asyncio.gather(self._changes_of(entries), self._store.send(pending))
        strange = {
            partition
            for (partition, mine), row in zip(own.items(), totals, strict=True)
            if int(row[0]) > mine
        }
        return changes, frozenset(strange)

    async def _entries(
        self, client: GroupReader, positions: Mapping[int, str], *, count: int, block_ms: int | None
    ) -> list[Entry]:
        rows = await client.read(
            GROUP,
            "matcher",
            {keys.changes(p): position for p, position in positions.items()},
            count=count,
            block_ms=block_ms,
        )
        partitions = {keys.changes(p).encode(): p for p in positions}
        return [
            (partitions[stream], entry_id.decode(), fields)
            for stream, some in rows
            for entry_id, fields in some
        ]

    async def _changes_of(self, entries: Sequence[Entry]) -> list[Change]:
        try:
            return await self._with_bodies(entries)
        except ValueError:  # what is stored of one of them can't be read: those beside it can
            return [one for entry in entries for one in await self._with_body(entry)]

    async def _with_body(self, entry: Entry) -> list[Change]:
        try:
            return await self._with_bodies([entry])
        except ValueError as error:
            partition, entry_id, fields = entry
            current, _ = _keys_of(fields)
            release, interaction = Release(fields[b"r"].decode()), Interaction(fields[b"x"].decode())
            version = Version(current, release, interaction, int(fields[b"a"]), None)
            problem = f"what is stored of {current.reference} can't be read: {error}"
            return [Change(entry_id, partition, version, None, problem=problem)]

    async def _with_bodies(self, entries: Sequence[Entry]) -> list[Change]:
        parsed = [
            (partition, entry_id, *_keys_of(fields)) for partition, entry_id, fields in entries if fields
        ]
        wanted = {key for _, _, current, previous in parsed for key in (current, previous) if key}
        found = await self._resources.many(wanted)
        changes = []
        for (partition, entry_id, current, previous), (_, _, fields) in zip(
            parsed, (entry for entry in entries if entry[2]), strict=True
        ):
            version = found.get(current) or Version(
                current,
                Release(fields[b"r"].decode()),
                Interaction(fields[b"x"].decode()),
                int(fields[b"a"]),
                None,
            )
            events = _codings(fields.get(b"e", b""))
            if events:  # it happened now, whenever the resource was written
                version = version._replace(at_ms=int(fields[b"a"]), interaction=Interaction.UPDATE)
            changes.append(
                Change(entry_id, partition, version, found.get(previous) if previous else None, events)
            )
        return changes

    async def acknowledge(self, done: Mapping[int, Sequence[str]]) -> None:
        """Marks changes as matched: they are not read again."""
        await self._store.send(
            [("XACK", keys.changes(partition), GROUP, *ids) for partition, ids in done.items() if ids]
        )

    async def backlog(self) -> dict[int, int]:
        """Changes of each partition that are not matched yet: never read, or read and not acknowledged."""
        replies = await self._store.send(
            [
                ("XINFO", "GROUPS", keys.changes(partition))
                for partition in range(self._store.layout.partitions)
            ]
        )
        waiting = {}
        for partition, groups in enumerate(replies):
            group = mapping_of(groups[0]) if groups else None
            waiting[partition] = int(group[b"lag"] or 0) + int(group[b"pending"]) if group else 0
        return waiting

    async def fullest(self) -> int | None:
        """A partition that takes no more because too many of its changes are not matched; None where all have room."""
        partition, waiting = max((await self.backlog()).items(), key=lambda one: one[1])
        return partition if waiting >= self._most else None

    async def newest(self, tenant: Tenant, count: int) -> AsyncIterator[Change]:
        """A tenant's last `count` changes that are still in the log, newest first, bodies included as far as they are kept."""
        readers = {p: self._backwards(p) for p in range(self._store.layout.partitions)}
        heads: list[tuple[int, int, int, Entry]] = []

        async def advance(partition: int) -> None:
            async for entry in readers[partition]:
                ms, sequence = StreamId.parse(entry[1])
                heapq.heappush(heads, (-ms, -sequence, partition, entry))
                return

        for partition in readers:
            await advance(partition)
        some: list[Entry] = []
        while heads and count:
            _, _, partition, entry = heapq.heappop(heads)
            if entry[2][b"t"] == tenant.encode() and b"d" not in entry[2]:
                some.append(entry)
                count -= 1
            if len(some) == _PAGE:
                for change in await self._with_bodies(some):
                    yield change
                some = []
            await advance(partition)
        for change in await self._with_bodies(some):
            yield change

    async def _backwards(self, partition: int) -> AsyncIterator[Entry]:
        """A partition's entries from the newest on, a page at a time."""
        bound = "+"
        while True:
            page = await self._page(partition, bound)
            for entry_id, fields in page:
                yield partition, entry_id.decode(), fields
            if len(page) < _PAGE:
                return
            bound = f"({page[-1][0].decode()}"

    async def _page(self, partition: int, bound: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        (page,) = await self._store.send([("XREVRANGE", keys.changes(partition), bound, "-", "COUNT", _PAGE)])
        return entries_of(page)

    async def is_waiting(self, version: Version) -> bool:
        """Whether the change that made this version is not matched yet; one that left the log is (`trim`)."""
        key = version.key
        partition = self._store.layout.partition_of(key.tenant, key.id)
        stream = keys.changes(partition)
        wanted = (key.tenant.encode(), key.type.encode(), key.id.encode(), str(key.version).encode())
        (near,) = await self._store.send(
            [("XRANGE", stream, version.at_ms - _NEAR_MS, version.at_ms + _NEAR_MS)]
        )
        for entry_id, entry in entries_of(near):
            if entry.get(b"e") or tuple(entry[name] for name in (b"t", b"y", b"i", b"v")) != wanted:
                continue  # another change, or a business event about the version
            groups, pending = await self._store.send(
                [("XINFO", "GROUPS", stream), ("XPENDING", stream, GROUP, entry_id, entry_id, 1)]
            )
            last_delivered = mapping_of(groups[0])[b"last-delivered-id"]
            return StreamId.parse(entry_id) > StreamId.parse(last_delivered) or bool(pending)
        return False


def _refuse_several(placed: Sequence[tuple[str, int]]) -> None:
    """Raises `Unprocessable` for the first resource, each with its partition, that lies in another partition than the first."""
    for n, (name, partition) in enumerate(placed):
        if partition != placed[0][1]:
            text = (
                f"{name} and {placed[0][0]} are kept in different partitions, which a Cluster can't write in one transaction; "
                "let the broker assign their ids (POST), or send a batch"
            )
            raise Unprocessable(Issue("not-supported", text, f"Bundle.entry[{n}]"))


def _keys_of(fields: Mapping[bytes, bytes]) -> tuple[VersionKey, VersionKey | None]:
    tenant, kind, one = Tenant(fields[b"t"].decode()), fields[b"y"].decode(), fields[b"i"].decode()
    previous = fields[b"p"]
    return (
        VersionKey(tenant, kind, one, int(fields[b"v"])),
        VersionKey(tenant, kind, one, int(previous)) if previous else None,
    )


def _codings_text(events: Sequence[Coding]) -> str:
    return json.dumps([[one.system, one.code] for one in events]) if events else ""


def _codings(text: bytes) -> tuple[Coding, ...]:
    return tuple(Coding(system, code) for system, code in json.loads(text)) if text else ()


def _accepted(proposal: Proposal, row: Sequence[Any]) -> Accepted:
    status, version, at_ms = row
    key = VersionKey(proposal.tenant, proposal.type, proposal.id, version)
    return Accepted(ACCEPTANCES[status], key, at_ms)
