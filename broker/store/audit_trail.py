"""The audit trail of a tenant: journals, to which scripts append, and the chain, into which `chain` moves
entries.

An entry is durable as soon as it is in a journal, and verifiable as soon as it is in the chain. Several
processes may chain at once: each reads the head, builds a block on it, and the store takes the block only
while that head is the last one (decision 210). Reading chains first, so a reader finds everything that was
recorded before.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from broker.model.audit import ChainedEntry, ChainHead, ChainProblem
from broker.model.change import Tenant
from broker.store import audit_keys
from broker.store.audit_blocks import MAX_BLOCK, Block, entries_of, first_digest
from broker.store.protocol import Command, ScriptCall, Store, WriteConcern
from broker.store.replies import entries_of as stream_entries
from broker.store.replies import mapping_of
from broker.store.stream_id import StreamId
from broker.tasks import Slices

_RECORDS = 200
"""Records of one journal that are read at once."""
_PAGE = 20
"""Blocks that are read at once."""


class _Head(NamedTuple):
    sequence: int
    digest: bytes
    recorded_ms: int
    anchor: int
    anchor_digest: bytes
    positions: Mapping[str, str]


class _Pending(NamedTuple):
    """A record of a journal."""

    id: StreamId
    journal: str
    entries: Sequence[bytes]


class AuditTrail:
    """The trails of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tenants(self) -> list[Tenant]:
        """The tenants that have a trail."""
        (names,) = await self._store.send([("SMEMBERS", audit_keys.AUDIT_TENANTS)])
        return sorted(Tenant(name.decode()) for name in names)

    async def add_tenant(self, tenant: Tenant) -> None:
        await self._store.send([("SADD", audit_keys.AUDIT_TENANTS, tenant)])

    async def take_turn(self, tenant: Tenant, ms: int) -> bool:
        """Whether no other process chains the trail for the next `ms`. Only saves work: `chain` is safe."""
        (reply,) = await self._store.send([("SET", audit_keys.audit_turn(tenant), 1, "NX", "PX", ms)])
        return reply is not None

    async def chain(self, tenant: Tenant) -> int:
        """Moves what the journals hold into the chain; returns how many entries this call moved."""
        number, slices = 0, Slices()
        while True:
            (now, flat) = await self._store.send([("TIME",), ("HGETALL", audit_keys.audit_head(tenant))])
            head = _head(tenant, flat)
            now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
            pending, has_more = await self._pending(tenant, head, now_ms)
            moved: dict[str, str] = {}
            while pending:
                block, head_after, count = _block_of(head, pending)
                if not await self._append(tenant, head, head_after, block):
                    has_more = True  # another process has chained: its head is the one to continue
                    break
                number += block.last - block.first + 1
                head, pending = head_after, pending[count:]
                moved |= head.positions
                await slices.pause()
            await self._forget(moved)
            if not has_more:
                return number

    async def _pending(self, tenant: Tenant, head: _Head, now_ms: int) -> tuple[list[_Pending], bool]:
        """The records behind the head, in the order of their moments, and whether there are more."""
        journals = audit_keys.audit_journals(self._store.layout, tenant)
        commands: list[Command] = [
            ("XRANGE", journal, f"({head.positions.get(journal, '0-0')}", "+", "COUNT", _RECORDS)
            for journal in journals
        ]
        replies = await self._store.send(commands)
        # what is behind the last record that was read of a journal comes later than what is behind it
        bound = StreamId(now_ms + 1, 0)
        has_more = False
        for rows in replies:
            if len(rows) == _RECORDS:
                bound, has_more = min(bound, StreamId.parse(rows[-1][0]).next), True
        pending = [
            _Pending(StreamId.parse(entry_id), journal, entries_of(fields))
            for journal, rows in zip(journals, replies, strict=True)
            for entry_id, fields in rows
            if StreamId.parse(entry_id) < bound
        ]
        return sorted(pending, key=lambda record: (record.id, record.journal)), has_more

    async def _append(self, tenant: Tenant, head: _Head, head_after: _Head, block: Block) -> bool:
        call = ScriptCall(
            "chain_audit",
            [audit_keys.audit_head(tenant), audit_keys.audit_chain(tenant)],
            [
                *(head.sequence, block.first, block.last, block.previous, block.digest),
                *(block.marks, block.entries, head_after.recorded_ms),
                *(part for pair in head_after.positions.items() for part in pair),
            ],
        )
        # durable before the journals forget it
        return bool(await self._store.run(call, WriteConcern.DURABLE))

    async def _forget(self, positions: Mapping[str, str]) -> None:
        """Removes chained records from their journals; what a crash leaves there goes with the next ones."""
        await self._store.send(
            [
                ("XTRIM", journal, "MINID", "=", str(StreamId.parse(entry_id).next))
                for journal, entry_id in positions.items()
            ]
        )

    async def head(self, tenant: Tenant) -> ChainHead:
        """The last entry of the chain."""
        head = await self._read_head(tenant)
        return ChainHead(head.sequence, head.digest.hex())

    async def anchor(self, tenant: Tenant) -> ChainHead:
        """The last entry that retention removed; 0 if it has removed none."""
        head = await self._read_head(tenant)
        return ChainHead(head.anchor, head.anchor_digest.hex())

    async def _read_head(self, tenant: Tenant) -> _Head:
        (flat,) = await self._store.send([("HGETALL", audit_keys.audit_head(tenant))])
        return _head(tenant, flat)

    async def get(self, tenant: Tenant, sequence: int) -> ChainedEntry | None:
        """One entry by its number."""
        block = await self._block_with(tenant, sequence)
        if block is None or not block.first <= sequence <= block.last:
            return None
        return block.chained()[sequence - block.first]

    async def _block_with(self, tenant: Tenant, sequence: int) -> Block | None:
        command = ("XREVRANGE", audit_keys.audit_chain(tenant), f"{sequence}-0", "-", "COUNT", 1)
        rows = stream_entries((await self._store.send([command]))[0])
        return Block.read(*rows[0]) if rows else None

    async def since(self, tenant: Tenant, at_ms: int) -> int:
        """The number of the first entry recorded at that moment or later; one behind the last for none."""
        head = await self._read_head(tenant)
        low, high = head.anchor + 1, head.sequence + 1
        while low < high:
            middle = (low + high) // 2
            entry = await self.get(tenant, middle)
            if entry is None or entry.recorded_ms < at_ms:
                low = middle + 1
            else:
                high = middle
        return low

    async def forward(self, tenant: Tenant, first: int) -> AsyncIterator[ChainedEntry]:
        """The entries from number `first` on, oldest first."""
        async for block in self.blocks(tenant, first):
            for entry in block.chained():
                if entry.sequence >= first:
                    yield entry

    async def backward(self, tenant: Tenant, last: int) -> AsyncIterator[ChainedEntry]:
        """The entries up to number `last`, newest first."""
        while last > 0:
            command = ("XREVRANGE", audit_keys.audit_chain(tenant), f"{last}-0", "-", "COUNT", _PAGE)
            rows = stream_entries((await self._store.send([command]))[0])
            for block in (Block.read(*row) for row in rows):
                for entry in reversed(block.chained()):
                    if entry.sequence <= last:
                        yield entry
                last = block.first - 1
            if not rows:
                return

    async def blocks(self, tenant: Tenant, first: int = 1) -> AsyncIterator[Block]:
        """The blocks from the one with entry `first` on; all that there are, if it is gone."""
        containing = await self._block_with(tenant, first)
        start = f"{containing.first}-0" if containing is not None else "-"
        while True:
            command = ("XRANGE", audit_keys.audit_chain(tenant), start, "+", "COUNT", _PAGE)
            rows = stream_entries((await self._store.send([command]))[0])
            if not rows:
                return
            for row in rows:
                yield Block.read(*row)
            start = f"({rows[-1][0].decode()}"

    async def problem_after(
        self, tenant: Tenant, after: ChainHead, limit: int, recorded: Sequence[ChainHead] = ()
    ) -> tuple[ChainHead, ChainProblem | None]:
        """Verifies about `limit` entries behind a verified one; where it came to, and what is wrong there.

        At the end of the chain its last entry is compared with the head, where nothing was chained meanwhile.
        `recorded` are heads that were stored elsewhere: the chain must contain them.
        """
        digest, sequence = bytes.fromhex(after.digest), after.sequence
        earlier_head = await self.head(tenant)
        async for block in self.blocks(tenant, sequence + 1):
            if block.last <= sequence:
                break  # what followed is gone
            problem = block.check(sequence + 1, digest)
            if problem is not None:
                return ChainHead(sequence, digest.hex()), problem
            for known in recorded:
                if block.first <= known.sequence <= block.last and (
                    block.digest_of(known.sequence).hex() != known.digest
                ):
                    text = "it is not the entry that the recorded head names"
                    return ChainHead(sequence, digest.hex()), ChainProblem(known.sequence, text)
            sequence, digest = block.last, block.digest
            if sequence - after.sequence >= limit:
                return ChainHead(sequence, digest.hex()), None
        reached = ChainHead(sequence, digest.hex())
        if earlier_head.sequence > sequence:
            text = f"the entries {sequence + 1} to {earlier_head.sequence} are missing at the end"
            return reached, ChainProblem(sequence + 1, text)
        head = await self.head(tenant)
        if head.sequence <= sequence and head != reached:
            return reached, ChainProblem(sequence, "it is not the entry that the head of the trail names")
        missing = [known.sequence for known in recorded if known.sequence > sequence]
        if missing:
            text = f"the entries {sequence + 1} to {max(missing)} are missing: a recorded head names the last"
            return reached, ChainProblem(sequence + 1, text)
        return reached, None

    async def trim(self, tenant: Tenant, horizon_ms: int) -> int:
        """Removes entries before the horizon, whole blocks only; returns the number of the last one that is
        gone, 0 if nothing was removed.
        """
        kept: Block | None = None
        previous: Block | None = None
        async for block in self.blocks(tenant):
            if previous is not None and previous.chained()[-1].recorded_ms < horizon_ms:
                kept = block
            elif previous is not None:
                break
            previous = block
        if kept is None:
            return 0
        script_keys = [audit_keys.audit_head(tenant), audit_keys.audit_chain(tenant)]
        call = ScriptCall("trim_audit", script_keys, [kept.first, kept.previous])
        return kept.first - 1 if await self._store.run(call, WriteConcern.DURABLE) else 0


def _head(tenant: Tenant, flat: Sequence[bytes]) -> _Head:
    fields = mapping_of(flat)
    return _Head(
        int(fields.get(b"sequence", 0)),
        fields.get(b"digest", first_digest(tenant)),
        int(fields.get(b"recorded", 0)),
        int(fields.get(b"anchor", 0)),
        fields.get(b"anchor_digest", first_digest(tenant)),
        {
            name.decode().removeprefix("position:"): position.decode()
            for name, position in fields.items()
            if name.startswith(b"position:")
        },
    )


def _block_of(head: _Head, pending: Sequence[_Pending]) -> tuple[Block, _Head, int]:
    """The next block, the head behind it, and how many of the records it holds.

    A record is never divided, so a block may have more entries than `MAX_BLOCK`. The positions of the new
    head are those that differ.
    """
    timed: list[tuple[int, bytes]] = []
    positions: dict[str, str] = {}
    recorded_ms, count = head.recorded_ms, 0
    for record in pending:
        if timed and len(timed) + len(record.entries) > MAX_BLOCK:
            break
        # clocks of the nodes of a Cluster differ; moments never go back
        recorded_ms = max(recorded_ms, record.id.ms)
        timed += [(recorded_ms, entry) for entry in record.entries]
        positions[record.journal] = str(record.id)
        count += 1
    block = Block.build(head.sequence + 1, head.digest, timed)
    return (
        block,
        head._replace(sequence=block.last, digest=block.digest, recorded_ms=recorded_ms, positions=positions),
        count,
    )
