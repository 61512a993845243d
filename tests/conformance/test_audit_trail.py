"""The audit trail in each store: atomic with what it records, one chain whoever appends, verifiable."""

import asyncio
import sys
import textwrap
from collections.abc import AsyncIterator

import pytest

from broker.model.audit import AuditAction, AuditEntity, AuditEntry, ChainedEntry, ChainHead, Requester
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.notification import NotificationType
from broker.model.outcome import Advance
from broker.model.principal import OPEN_PRINCIPAL
from broker.model.release import Release
from broker.services.audit import AuditService
from broker.store import audit_keys
from broker.store.audit_blocks import Block
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.changes import Changes
from broker.store.proposals import Acceptance, Proposal
from broker.store.protocol import Store
from broker.store.schedule import Schedule
from broker.store.scripts.delivery import CommitWrites
from broker.store.subscriptions import Subscriptions
from tests.conformance.dead_letter_fixture import SUBSCRIPTION
from tests.conftest import ALL_STORES
from tests.stores import SharedStore, redis_of

STORES = ALL_STORES
GATEWAY = Requester("gateway", "10.0.0.7")


async def entries(store: Store, tenant: Tenant = DEFAULT_TENANT) -> list[ChainedEntry]:
    trail = AuditTrail(store)
    await trail.chain(tenant)
    return [entry async for entry in trail.forward(tenant, 1)]


async def problem(store: Store, tenant: Tenant = DEFAULT_TENANT, recorded: ChainHead | None = None) -> int:
    """The number of the first bad entry; 0 for none."""
    trail = AuditTrail(store)
    anchor = await trail.anchor(tenant)
    _, found = await trail.problem_after(tenant, anchor, 1_000_000, [recorded] if recorded else ())
    return 0 if found is None else found.sequence


def put(resource_id: str, **options: str) -> Proposal:
    return Proposal(
        DEFAULT_TENANT,
        "put",
        "Observation",
        resource_id,
        Release.R4,
        b"}}",
        requester=GATEWAY,
        patient="Patient/p1",
        **options,  # type: ignore[arg-type]
    )


async def fill(store: Store, number: int, each: int = 1) -> None:
    """So many blocks of so many entries."""
    journal, trail = AuditJournal(store), AuditTrail(store)
    for n in range(number):
        await asyncio.gather(
            *(
                journal.record(DEFAULT_TENANT, AuditEntry(AuditAction.READ, agent=f"client-{n}-{m}"))
                for m in range(each)
            )
        )
        await trail.chain(DEFAULT_TENANT)


async def test_a_change_and_its_entry_are_one_write(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    await changes.append([put("a"), put("b")])
    repeated = put("a", idempotency_key="key:1", digest="x")
    first = await changes.append([repeated])
    again = await changes.append([put("a", idempotency_key="key:1", digest="x")])
    assert [answer.status for answer in (*first, *again)] == [Acceptance.UPDATED, Acceptance.REPLAYED]
    recorded = await entries(store)
    acts = sorted((each.entry.action, each.entry.entities) for each in recorded)
    assert acts == [
        (AuditAction.CREATE, (AuditEntity("Observation", "a", 1, "Patient/p1"),)),
        (AuditAction.CREATE, (AuditEntity("Observation", "b", 1, "Patient/p1"),)),
        (AuditAction.UPDATE, (AuditEntity("Observation", "a", 2, "Patient/p1"),)),
    ]
    assert {(each.entry.agent, each.entry.address) for each in recorded} == {tuple(GATEWAY)}


async def test_a_refused_transaction_leaves_no_entry(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    ids = [f"x{n}" for n in range(100)]
    same = next(each for each in ids if store.layout.partition_of(DEFAULT_TENANT, each) == partition)
    delete = Proposal(DEFAULT_TENANT, "delete", "Observation", same, Release.R4, requester=GATEWAY)
    await changes.append_together([put("a"), delete])
    assert await entries(store) == []


async def test_a_commit_writes_the_entries_of_its_attempt_and_a_stale_one_none(store: Store) -> None:
    schedule = Schedule(store, lease_ms=1, max_bytes=1_000, resume="backlog")
    await Subscriptions(store).put(SUBSCRIPTION, create=True)
    shard = store.layout.shard_of(SUBSCRIPTION.tenant, SUBSCRIPTION.id)
    (lost,) = (await schedule.claim(shard, 1)).claims
    assert lost.type is NotificationType.HANDSHAKE
    assert not lost.is_takeover
    while not (claims := (await schedule.claim(shard, 1)).claims):
        pass  # until the lease of one millisecond has run out
    (claim,) = claims
    assert claim.is_takeover, "its dispatcher ended without a commit"
    entry = AuditEntry(AuditAction.DELIVER, agent="ward")
    assert (await schedule.commit(lost, Advance(), take_next=False, writes=CommitWrites([entry]))).is_stale
    assert await entries(store, SUBSCRIPTION.tenant) == []
    await schedule.commit(claim, Advance(), take_next=False, writes=CommitWrites([entry, entry]))
    assert [each.entry for each in await entries(store, SUBSCRIPTION.tenant)] == [entry, entry]


async def test_trails_of_tenants_are_apart(store: Store) -> None:
    journal = AuditJournal(store)
    tenants = [Tenant("first"), Tenant("second")]
    for tenant in tenants:
        await journal.record(tenant, AuditEntry(AuditAction.READ, agent=tenant))
    for tenant in tenants:
        assert [each.entry.agent for each in await entries(store, tenant)] == [tenant]
        assert await problem(store, tenant) == 0


async def test_an_entry_is_chained_once_although_its_journal_was_not_trimmed(store: Store) -> None:
    journal, trail = AuditJournal(store), AuditTrail(store)
    await journal.record(DEFAULT_TENANT, AuditEntry(AuditAction.READ))
    redis = redis_of(store)
    name = audit_keys.audit_journal(DEFAULT_TENANT)
    ((record_id, fields),) = await redis.xrange(name)
    assert await trail.chain(DEFAULT_TENANT) == 1
    assert await redis.xlen(name) == 0
    # as after a crash between the append to the chain and the trim
    await redis.delete(name)
    await redis.xadd(name, fields, id=record_id)
    assert await trail.chain(DEFAULT_TENANT) == 0
    assert len(await entries(store)) == 1


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_removed_block_and_a_cut_tail_are_found(store: Store, number: int) -> None:
    await fill(store, 5)
    assert await problem(store) == 0
    await redis_of(store).xdel(audit_keys.audit_chain(DEFAULT_TENANT), f"{number}-0")
    assert await problem(store) == number


async def test_a_tail_that_was_cut_together_with_the_head_needs_a_recorded_head(store: Store) -> None:
    await fill(store, 3)
    redis, head = redis_of(store), audit_keys.audit_head(DEFAULT_TENANT)
    older = await redis.hgetall(head)
    await fill(store, 1)
    recorded = await AuditTrail(store).head(DEFAULT_TENANT)
    await redis.xdel(audit_keys.audit_chain(DEFAULT_TENANT), "4-0")
    await redis.hset(head, mapping=older)
    assert await problem(store) == 0, "the store alone cannot tell"
    assert await problem(store, recorded=recorded) == 4


async def test_an_altered_block_is_found_and_named(store: Store) -> None:
    await fill(store, 3, each=4)
    redis, chain = redis_of(store), audit_keys.audit_chain(DEFAULT_TENANT)
    rows = await redis.xrange(chain)
    await redis.delete(chain)
    for n, (block_id, fields) in enumerate(rows):
        if n == 1:
            fields[b"entries"] = rows[0][1][b"entries"]
        await redis.xadd(chain, fields, id=block_id)
    assert await problem(store) == 5


class GrowingTrail(AuditTrail):
    """Another process chains an entry whenever this one has read the last block."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._grown = store

    async def blocks(self, tenant: Tenant, first: int = 1) -> AsyncIterator[Block]:
        async for block in super().blocks(tenant, first):
            yield block
        await fill(self._grown, 1)


async def test_entries_that_are_chained_during_a_verification_are_not_missing(store: Store) -> None:
    await fill(store, 2)
    trail = GrowingTrail(store)
    reached, found = await trail.problem_after(DEFAULT_TENANT, await trail.anchor(DEFAULT_TENANT), 1_000_000)
    assert (reached.sequence, found) == (2, None)
    assert (await trail.head(DEFAULT_TENANT)).sequence == 3
    reached, found = await AuditTrail(store).problem_after(DEFAULT_TENANT, reached, 1_000_000)
    assert (reached.sequence, found) == (3, None)


async def test_what_is_kept_verifies_after_retention_has_trimmed(store: Store) -> None:
    await fill(store, 3, each=2)
    trail = AuditTrail(store)
    last = await trail.get(DEFAULT_TENANT, 6)
    assert last is not None
    removed = await trail.trim(DEFAULT_TENANT, last.recorded_ms + 1)
    assert removed == 4, "the last block stays"
    assert (await trail.anchor(DEFAULT_TENANT)).sequence == 4
    assert [each.sequence for each in await entries(store)] == [5, 6]
    assert await trail.get(DEFAULT_TENANT, 4) is None
    assert await problem(store) == 0
    assert await trail.trim(DEFAULT_TENANT, last.recorded_ms + 1) == 0
    await fill(store, 1)
    assert await problem(store) == 0


class TrimmedTrail(AuditTrail):
    """Retention removes all but the last block whenever the anchor was read."""

    async def anchor(self, tenant: Tenant) -> ChainHead:
        anchor = await super().anchor(tenant)
        await self.trim(tenant, sys.maxsize)
        return anchor


async def test_what_retention_removes_before_and_during_a_verification_is_not_missing(store: Store) -> None:
    await fill(store, 3)
    trail = AuditTrail(store)
    first, _ = await trail.problem_after(DEFAULT_TENANT, await trail.anchor(DEFAULT_TENANT), 1)
    found = await AuditService(TrimmedTrail(store)).verify(OPEN_PRINCIPAL)
    assert (found.first, found.reached.sequence, found.problem) == (3, 3, None)
    found = await AuditService(AuditTrail(store)).verify(OPEN_PRINCIPAL, f"{first.sequence}:{first.digest}")
    assert (found.first, found.reached.sequence, found.problem) == (3, 3, None)


async def test_entries_are_found_by_time_and_read_backwards(store: Store) -> None:
    await fill(store, 4, each=3)
    trail = AuditTrail(store)
    everything = await entries(store)
    backward = [entry async for entry in trail.backward(DEFAULT_TENANT, 100)]
    assert backward == everything[::-1]
    for entry in everything:
        first = await trail.since(DEFAULT_TENANT, entry.recorded_ms)
        assert everything[first - 1].recorded_ms == entry.recorded_ms
    assert await trail.since(DEFAULT_TENANT, everything[-1].recorded_ms + 1) == len(everything) + 1
    assert [each.sequence async for each in trail.forward(DEFAULT_TENANT, 8)] == [8, 9, 10, 11, 12]


_WRITER = """
import asyncio, sys
from broker.model.audit import AuditAction, AuditEntry
from broker.model.change import DEFAULT_TENANT
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.keys import Layout
from broker.store.redis_store import connect

async def main(url, name, number):
    store = connect(url, Layout(partitions=4, shards=4))
    await store.open()
    journal, trail = AuditJournal(store), AuditTrail(store)
    for n in range(number):
        entries = [AuditEntry(AuditAction.READ, agent=name, detail=f"{n}-{m}") for m in range(3)]
        await asyncio.gather(*(journal.record(DEFAULT_TENANT, entry) for entry in entries))
        await trail.chain(DEFAULT_TENANT)
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
_PROCESSES, _TURNS = 4, 20


async def test_several_processes_append_to_one_chain(store: Store, shared_store: SharedStore) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(_WRITER), shared_store.url, f"writer-{n}", str(_TURNS)
        )
        for n in range(_PROCESSES)
    ]
    assert [await writer.wait() for writer in writers] == [0] * _PROCESSES
    recorded = await entries(store)
    assert [each.sequence for each in recorded] == list(range(1, _PROCESSES * _TURNS * 3 + 1))
    assert len({(each.entry.agent, each.entry.detail) for each in recorded}) == len(recorded)
    for n in range(_PROCESSES):
        turns = [each.entry.detail.split("-")[0] for each in recorded if each.entry.agent == f"writer-{n}"]
        assert turns == sorted(turns, key=int), "the entries of a process keep their order"
    assert await problem(store) == 0
