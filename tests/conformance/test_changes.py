"""The intake log on a real store: versions, order, conditions, idempotency, leases."""

import msgspec
import pytest

from broker.clock import to_instant
from broker.model.change import DEFAULT_TENANT, Interaction, VersionKey
from broker.model.precondition import VersionCondition
from broker.model.release import Release
from broker.store import keys
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.leases import Leases
from broker.store.proposals import Acceptance, Proposal
from broker.store.protocol import Store
from broker.store.resources import Resources, assign_id
from broker.store.retention import Limits, Retention
from tests.conftest import ALL_STORES
from tests.matched import mark_matched, unmatched
from tests.stores import redis_of

STORES = ALL_STORES

HOUR_MS = 3_600_000


def proposal(resource_id: str = "a", op: str = "put", **more: object) -> Proposal:
    made = Proposal(
        tenant=DEFAULT_TENANT,
        op="put",
        type="Observation",
        id=resource_id,
        release=Release.R4,
        tail=b'},"status":"final"}',
    )
    return msgspec.structs.replace(made, op=op, **more)


@pytest.fixture
async def changes(store: Store) -> Changes:
    return Changes(store, keep_ms=HOUR_MS)


async def test_a_put_creates_then_updates_and_every_version_stays_readable(
    changes: Changes, store: Store
) -> None:
    first, second = (await changes.append([proposal()]))[0], (await changes.append([proposal()]))[0]
    assert [first.status, second.status] == [Acceptance.CREATED, Acceptance.UPDATED]
    assert [first.key.version, second.key.version] == [1, 2]
    current = await Resources(store).current(DEFAULT_TENANT, "Observation", "a")
    old = await Resources(store).version(VersionKey(DEFAULT_TENANT, "Observation", "a", 1))
    assert current is not None
    assert old is not None
    assert current.key.version == 2
    assert old.resource is not None
    body = old.resource.copy()
    assert body["meta"]["versionId"] == "1"
    assert body["status"] == "final"


async def test_last_updated_is_the_stores_time_as_an_instant(changes: Changes, store: Store) -> None:
    accepted = (await changes.append([proposal()]))[0]
    current = await Resources(store).current(DEFAULT_TENANT, "Observation", "a")
    assert current is not None
    assert current.resource is not None
    assert current.resource.fields["meta"]["lastUpdated"] == to_instant(accepted.at_ms)


async def test_a_deleted_version_has_no_resource_and_the_next_put_is_a_create(
    changes: Changes, store: Store
) -> None:
    statuses = []
    for op in ("put", "delete", "delete", "put"):
        statuses.append((await changes.append([proposal(op=op)]))[0].status)
        if op == "delete":
            current = await Resources(store).current(DEFAULT_TENANT, "Observation", "a")
            assert current is not None
            assert current.resource is None
            assert current.interaction is Interaction.DELETE
    assert statuses == [Acceptance.CREATED, Acceptance.DELETED, Acceptance.GONE, Acceptance.CREATED]


async def test_deleting_a_resource_that_never_existed_is_refused(changes: Changes) -> None:
    assert (await changes.append([proposal(op="delete")]))[0].status is Acceptance.ABSENT


async def test_if_match_with_another_version_writes_nothing(changes: Changes) -> None:
    await changes.append([proposal(), proposal()])
    refused = (await changes.append([proposal(condition=VersionCondition("1"))]))[0]
    assert refused.status is Acceptance.CONFLICT
    assert refused.key.version == 2
    assert (await changes.append([proposal(condition=VersionCondition("2"))]))[0].key.version == 3


async def test_the_same_request_sent_twice_is_one_change(changes: Changes) -> None:
    once = proposal()
    first, again = (await changes.append([once]))[0], (await changes.append([once]))[0]
    assert again.status is Acceptance.REPLAYED
    assert (first.key, first.at_ms) == (again.key, again.at_ms)


async def test_an_idempotency_key_answers_the_first_result_and_refuses_another_body(changes: Changes) -> None:
    first = (await changes.append([proposal(idempotency_key="k", digest="d1")]))[0]
    await changes.append([proposal()])
    again = (await changes.append([proposal(idempotency_key="k", digest="d1")]))[0]
    other = (await changes.append([proposal(idempotency_key="k", digest="d2")]))[0]
    assert again.status is Acceptance.REPLAYED
    assert again.key == first.key
    assert other.status is Acceptance.MISMATCH


async def test_a_transaction_with_one_refusal_writes_nothing(changes: Changes, store: Store) -> None:
    layout = store.layout
    beside = next(
        resource_id
        for resource_id in (f"c{n}" for n in range(1_000))
        if layout.partition_of(DEFAULT_TENANT, resource_id) == layout.partition_of(DEFAULT_TENANT, "b")
    )
    rows = await changes.append_together([proposal("b"), proposal(beside, op="delete")])
    assert [row.status for row in rows] == [Acceptance.UNTRIED, Acceptance.ABSENT]
    assert await Resources(store).current(DEFAULT_TENANT, "Observation", "b") is None


async def test_identifiers_find_current_resources_only(changes: Changes, store: Store) -> None:
    async def find(*prefixes: str, limit: int = 10) -> set[str]:
        return await Resources(store).find(DEFAULT_TENANT, "Observation", prefixes, limit=limit)

    await changes.append(
        [
            proposal("a", identifiers=("1\x1fs\x1f", "2\x1fs\x1f")),
            proposal("b", identifiers=("1\x1fs\x1f",)),
            proposal("c", identifiers=("1\x1föther\x1f", "12\x1fs\x1f")),
        ]
    )
    assert await find("1\x1fs\x1f") == {"a", "b"}
    assert await find("1\x1f") == {"a", "b", "c"}, "any system"
    assert await find("2\x1f", "12\x1fs\x1f") == {"a", "c"}
    assert await find("1\x1f\x1f") == set()
    await changes.append([proposal("a", identifiers=("2\x1fs\x1f",)), proposal("b", op="delete")])
    assert await find("1\x1fs\x1f") == set()
    assert await find("2\x1fs\x1f") == {"a"}


def test_an_assigned_id_keeps_its_placement_and_repeats_for_a_seed() -> None:
    for placement in (0, 1, 4097, 0xFFFF):
        assert keys.placement(DEFAULT_TENANT, assign_id(placement)) == placement
        assert assign_id(placement) != assign_id(placement)
        assert assign_id(placement, "k") == assign_id(placement, "k") != assign_id(placement, "l")


async def test_changes_are_read_in_order_with_both_versions_until_they_are_matched(
    changes: Changes, store: Store
) -> None:
    await changes.append([proposal()])
    await changes.append([proposal(), proposal(op="delete")])
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    read = await unmatched(store, partition)
    assert [change.interaction for change in read] == [
        Interaction.CREATE,
        Interaction.UPDATE,
        Interaction.DELETE,
    ]
    assert read[0].previous is None
    assert read[1].previous is not None
    assert read[1].previous.key.version == 1
    assert read[2].current.resource is None
    assert await unmatched(store, partition) == read
    await mark_matched(store, read[:2])
    assert await unmatched(store, partition) == read[2:]
    assert (await ChangeLog(store).backlog())[partition] == 1


async def test_trimming_keeps_unmatched_changes(changes: Changes, store: Store) -> None:
    for _ in range(300):
        await changes.append([proposal()])
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    await Retention(store, Limits(keep_ms=-60_000)).sweep()
    assert await redis_of(store).xlen(keys.changes(partition)) == 300
    await mark_matched(store, await unmatched(store, partition, count=299))
    await Retention(store, Limits(keep_ms=-60_000)).sweep()
    assert await redis_of(store).xlen(keys.changes(partition)) < 300
    rest = await unmatched(store, partition)
    assert [change.current.key.version for change in rest] == [300]


async def test_a_lease_has_one_owner_and_a_higher_token_for_the_next(store: Store) -> None:
    first, second = Leases(store, "first"), Leases(store, "second")
    tokens = await first.acquire([0, 1], 60_000)
    assert set(tokens) == {0, 1}
    assert await second.acquire([0, 1], 60_000) == {}
    assert await first.acquire([0], 60_000) == {0: tokens[0]}
    await first.release([0])
    taken = await second.acquire([0, 1], 60_000)
    assert set(taken) == {0}
    assert taken[0] > tokens[0]


async def test_a_change_carries_the_trace_context_of_its_request(changes: Changes, store: Store) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await changes.append([proposal(trace=trace)])
    partition = store.layout.partition_of(DEFAULT_TENANT, "a")
    (change,) = await unmatched(store, partition)
    assert change.trace == trace
