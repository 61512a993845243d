"""The position up to which a partition is matched: only the newest matcher moves it, and a repetition does
not.
"""

import pytest

from broker.model.change import DEFAULT_TENANT, Change
from broker.model.release import Release
from broker.store import keys
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.leases import Leases
from broker.store.matched_positions import START, MatchedPositions
from broker.store.migrations import MIGRATIONS
from broker.store.outbox import Fenced, StoreRolledBack
from broker.store.proposals import Acceptance, Proposal
from broker.store.protocol import Store
from broker.store.scripts.matching import Step
from tests.conftest import ALL_STORES
from tests.matched import mark_matched, unmatched
from tests.stores import counts_of, redis_of

STORES = ALL_STORES


async def put(store: Store, count: int, *, max_changes: int = 100) -> list[Acceptance]:
    changes = Changes(store, keep_ms=60_000, max_changes=max_changes)
    return [
        accepted.status
        for _ in range(count)
        for accepted in await changes.append(
            [Proposal(DEFAULT_TENANT, "put", "Basic", "a", Release.R4, b"}}")]
        )
    ]


@pytest.fixture
def partition(store: Store) -> int:
    return store.layout.partition_of(DEFAULT_TENANT, "a")


@pytest.fixture
def positions(store: Store) -> MatchedPositions:
    return MatchedPositions(store)


def versions(changes: list[Change]) -> list[int]:
    return [change.current.key.version for change in changes]


async def test_a_step_moves_the_position_once(
    store: Store, positions: MatchedPositions, partition: int
) -> None:
    await put(store, 3)
    assert await positions.load([partition]) == {partition: START}
    changes = await unmatched(store, partition)
    step = Step(partition, 1, START, changes[1].id, 2)
    for _ in range(2):  # the reply may be lost
        await positions.advance([step])
        assert await positions.load([partition]) == {partition: changes[1].id}
        assert (await ChangeLog(store).backlog())[partition] == 1
    assert (await counts_of(store)).changes_matched == 2


async def test_a_matcher_that_lost_its_partition_moves_no_position(
    store: Store, positions: MatchedPositions, partition: int
) -> None:
    await put(store, 1)
    (change,) = await unmatched(store, partition)
    (former,) = (await Leases(store, "former").acquire([partition], 1)).values()
    await Leases(store, "former").release([partition])
    await Leases(store, "newer").acquire([partition], 60_000)
    with pytest.raises(Fenced):
        await positions.advance([Step(partition, former, START, change.id, 1)])
    assert await positions.load([partition]) == {partition: START}


async def test_a_position_that_the_store_has_forgotten_is_not_moved(
    store: Store, positions: MatchedPositions, partition: int
) -> None:
    await put(store, 2)
    first, second = await unmatched(store, partition)
    with pytest.raises(StoreRolledBack):
        await positions.advance([Step(partition, 1, first.id, second.id, 1)])
    assert versions(await unmatched(store, partition)) == [1, 2]


async def test_a_partition_takes_changes_again_once_others_are_matched(store: Store, partition: int) -> None:
    assert await put(store, 3, max_changes=2) == [Acceptance.CREATED, Acceptance.UPDATED, Acceptance.FULL]
    await mark_matched(store, (await unmatched(store, partition))[:1])
    assert await put(store, 2, max_changes=2) == [Acceptance.UPDATED, Acceptance.FULL]


@pytest.mark.parametrize(("read", "acknowledged", "expected"), [(0, 0, 0), (3, 3, 3), (4, 2, 2), (4, 0, 0)])
async def test_a_consumer_group_of_schema_3_becomes_a_position(
    store: Store, partition: int, read: int, acknowledged: int, expected: int
) -> None:
    await put(store, 5)
    stream, client = keys.changes(partition), redis_of(store)
    await client.xgroup_create(stream, "match", "0")
    rows = await client.xreadgroup("match", "matcher", {stream: ">"}, count=read) if read else []
    if acknowledged:
        await client.xack(stream, "match", *(entry_id for entry_id, _ in rows[0][1][:acknowledged]))
    await client.hset(f"{keys.partition_tag(partition)}:lease", "token", 7)
    await client.hset(keys.partition_counters(partition), "changes_matched", acknowledged)
    (migration,) = (migration for migration in MIGRATIONS if migration.version == 4)
    for _ in range(2):  # it may have been interrupted
        await migration.run(store)
        assert versions(await unmatched(store, partition)) == list(range(expected + 1, 6))
        assert (await ChangeLog(store).backlog())[partition] == 5 - expected
        assert (await counts_of(store)).changes_matched == expected
    assert await client.hget(keys.matching(partition), "token") == b"7"
    assert await client.xinfo_groups(stream) == []
