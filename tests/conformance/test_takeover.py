"""Leases and claims of processes that are gone: void at once where that is certain, and else run out once."""

import asyncio

import pytest

from broker.model.change import DEFAULT_TENANT, Change, Interaction, Version, VersionKey
from broker.model.notification import DeliveryError, ErrorReport
from broker.model.outcome import Advance, Retry
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import SubscriptionId
from broker.store import keys
from broker.store.claims import Claim
from broker.store.leases import INBOX, Leases, void
from broker.store.outbox import Fenced, Outboxes
from broker.store.protocol import Store
from broker.store.replies import mapping_of
from broker.store.schedule import Schedule
from broker.store.subscriptions import Subscriptions
from broker.workers import partition_leases
from broker.workers.partition_leases import PartitionLeases
from tests.conftest import ALL_STORES
from tests.subscriptions import stored_subscription

STORES = ALL_STORES
_LEASE_MS = 60_000
_KEY = (DEFAULT_TENANT, SubscriptionId("one"))


def change(n: int, partition: int = 0) -> Change:
    key = VersionKey(DEFAULT_TENANT, "Observation", f"o{n}", 1)
    version = Version(key, Release.R4, Interaction.CREATE, 1_000 + n, Resource(b"{}"))
    return Change(f"{n}-0", partition, version, None)


async def test_void_leases_are_free_at_once_and_their_former_owner_is_fenced(store: Store) -> None:
    former, next_owner = Leases(store, "former"), Leases(store, "next")
    await former.announce(_LEASE_MS)
    before = await former.acquire([0, 1], _LEASE_MS)
    assert await former.acquire_inbox(_LEASE_MS) == 0
    assert (await next_owner.announce(_LEASE_MS))[0] == 2
    assert await next_owner.acquire([0, 1], _LEASE_MS) == {}
    assert 0 < await next_owner.acquire_inbox(_LEASE_MS) <= _LEASE_MS

    await void(store, lease_ms=_LEASE_MS)

    assert await next_owner.announce(_LEASE_MS) == (1, 0)
    after = await next_owner.acquire([0, 1], _LEASE_MS)
    assert all(after[partition] > before[partition] for partition in (0, 1))
    assert await next_owner.acquire_inbox(_LEASE_MS) == 0
    # the former owner lives on against all proof
    await Subscriptions(store).put(stored_subscription(), create=True)
    await Outboxes(store).append(0, after[0], {_KEY: [change(1)]})
    with pytest.raises(Fenced):
        await Outboxes(store).append(0, before[0], {_KEY: [change(2)]})
    assert await former.acquire([0, 1], _LEASE_MS) == {}
    assert await former.acquire_inbox(_LEASE_MS) > 0


async def test_void_leases_of_a_process_that_lives_on_come_back_with_a_higher_token(store: Store) -> None:
    owner = Leases(store, "owner")
    before = await owner.acquire([0], _LEASE_MS)
    await void(store, lease_ms=_LEASE_MS)
    assert (await owner.acquire([0], _LEASE_MS))[0] > before[0]


async def test_void_claims_are_due_at_once_and_a_late_commit_is_refused(store: Store) -> None:
    schedule = Schedule(store, lease_ms=_LEASE_MS, max_bytes=1_000, resume="backlog")
    shard = store.layout.shard_of(*_KEY)

    async def take() -> Claim:
        [claim] = (await schedule.claim(shard, 10)).claims
        return claim

    await Subscriptions(store).put(stored_subscription(max_count=1), create=True)
    await schedule.commit(await take(), Advance(), take_next=False)
    await Outboxes(store).append(0, 1, {_KEY: [change(1), change(2)]})
    former = await take()
    assert (await schedule.claim(shard, 10)).claims == ()

    await void(store, lease_ms=_LEASE_MS)
    await void(store, lease_ms=_LEASE_MS)

    again = await take()
    assert again.token > former.token
    assert (again.count, again.events, again.at_ms) == (former.count, former.events, former.at_ms)
    assert await schedule.extend([former]) == [former]
    assert (await schedule.commit(former, Advance(), take_next=True)).is_stale
    committed = await schedule.commit(again, Advance(), take_next=True)
    assert committed.next_claim is not None
    assert committed.next_claim.count == 2, "the late commit has not moved the cursor"


async def test_a_notification_that_waits_after_a_failure_is_not_hurried(store: Store) -> None:
    schedule = Schedule(store, lease_ms=_LEASE_MS, max_bytes=1_000, resume="backlog")
    shard = store.layout.shard_of(*_KEY)
    await Subscriptions(store).put(stored_subscription(), create=True)
    [claim] = (await schedule.claim(shard, 10)).claims
    failure = ErrorReport(DeliveryError.NO_RESPONSE, "nobody answered")
    await schedule.commit(claim, Retry(_LEASE_MS // 2, failure), take_next=False)
    due = await schedule.next_attempt_ms(*_KEY)
    await void(store, lease_ms=_LEASE_MS)
    assert await schedule.next_attempt_ms(*_KEY) == due


async def test_a_lost_matcher_costs_one_lease_and_not_a_renewal_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_leases, "LEASE_MS", _LEASE_MS)
    survivor, lost = PartitionLeases(store), PartitionLeases(store)
    every = set(range(store.layout.partitions))
    await survivor.renew()
    await lost.renew()
    await survivor.renew()
    await lost.renew()
    assert set(survivor.tokens) | set(lost.tokens) == every
    assert set(survivor.tokens) < every
    # its last renewal was long ago: so much is left
    await lost._leases.announce(400)
    await lost._leases.acquire(list(lost.tokens), 400)
    waited_s = 0.0
    async with asyncio.timeout(60):
        while set(survivor.tokens) != every:
            await survivor.renew()
            if set(survivor.tokens) != every:
                waited_s += survivor.renew_in_s
                await asyncio.sleep(survivor.renew_in_s)
    assert waited_s <= 0.45, "what is left of the lease, and the rounding of each wait"


async def test_a_matcher_that_stops_gives_everything_back(store: Store) -> None:
    stopped, next_matcher = PartitionLeases(store), PartitionLeases(store)
    await stopped.renew()
    stopped.tokens = {}  # as if a renewal was interrupted before it noted what it got
    await stopped.release()
    await next_matcher.renew()
    assert (set(next_matcher.tokens), next_matcher.matchers) == (set(range(store.layout.partitions)), 1)


async def test_a_lease_that_another_holds_says_when_it_runs_out(store: Store) -> None:
    await Leases(store, "other").acquire([0], _LEASE_MS)
    acquired = await Leases(store, "me").acquire_free([0, 1], _LEASE_MS)
    assert set(acquired.tokens) == {1}
    assert 0 < (acquired.next_free_ms or 0) <= _LEASE_MS
    (reply,) = await store.send([("HGETALL", keys.LEASES)])
    assert INBOX.encode() not in mapping_of(reply)
