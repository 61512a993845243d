"""Memory by kind of key, estimated from a sample, on every store."""

import json

from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.store import keys, token_keys
from broker.store.changes import Changes
from broker.store.counters import Counters
from broker.store.memory_sample import MemorySample, kind_of
from broker.store.proposals import Proposal
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from broker.testing.readings import HEART_RATE, observation
from tests.conftest import ALL_STORES
from tests.subscriptions import stored_subscription

STORES = ALL_STORES
READINGS, SUBSCRIPTIONS = 200, 10


def proposal(n: int) -> Proposal:
    reading = json.dumps(observation(HEART_RATE, "ana", "2026-03-01T08:00:00Z", 70)).encode()
    return Proposal(DEFAULT_TENANT, "put", "Observation", f"o{n}", Release.R4, b"}," + reading[1:])


async def test_the_sample_estimates_each_kind_of_key_and_every_process_reports_it(store: Store) -> None:
    changes = Changes(store, keep_ms=60_000)
    await changes.append([proposal(n) for n in range(READINGS)])
    subscriptions = Subscriptions(store)
    for n in range(SUBSCRIPTIONS):
        await subscriptions.put(stored_subscription(f"s{n}"), create=True)
        shard = store.layout.shard_of(DEFAULT_TENANT, f"s{n}")
        await store.send([("XADD", keys.outbox(shard, DEFAULT_TENANT, f"s{n}"), "1-0", "any", "x" * 500)])
    sizes = await MemorySample(store).take()
    reading = keys.resource(
        store.layout.partition_of(DEFAULT_TENANT, "o1"), DEFAULT_TENANT, "Observation", "o1"
    )
    (of_reading,) = await store.send([("MEMORY", "USAGE", reading)])
    assert 0.7 < sizes["resource"] / (of_reading * READINGS) < 1.3
    assert sizes["outbox"] > 500 * SUBSCRIPTIONS
    logs = [keys.changes(partition) for partition in range(store.layout.partitions)]
    assert sizes["changes"] > 0.5 * sum(await store.send([("MEMORY", "USAGE", log) for log in logs]))
    assert sizes["subscription"] > 0
    size = (await Counters(store).read()).size
    assert size.memory_by_kind == sizes
    assert size.memory > sizes["resource"]
    assert size.file > 0


async def test_a_kind_without_keys_is_not_reported_any_more(store: Store) -> None:
    await store.send([("HSET", keys.MEMORY, "gone", 5)])
    sizes = await MemorySample(store).take()
    assert "gone" not in (await Counters(store).read()).size.memory_by_kind
    assert sizes["outbox"] == 0


def test_the_kind_of_a_key_is_its_first_word() -> None:
    assert kind_of(keys.outbox(3, DEFAULT_TENANT, "a:b")) == "outbox"
    assert kind_of(keys.changes(3).encode()) == "changes"
    assert kind_of(keys.refused_inbox(DEFAULT_TENANT)) == "refused"
    assert kind_of(token_keys.binding_token("digest")) == "binding-token"
    assert kind_of(keys.INBOX) == "fhir"
