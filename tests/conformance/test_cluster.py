"""Behaviour of a Cluster alone: redirections, durability at each node, streams of several nodes, refusals."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError, StoreUnavailable
from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.store import keys
from broker.store.changes import Changes
from broker.store.keys import Layout
from broker.store.matched_positions import START
from broker.store.proposals import Acceptance, Proposal
from broker.store.protocol import Store
from broker.store.records import logged_change
from broker.store.redis_store import connect
from broker.store.slots import slot_of_key
from tests.conftest import LAYOUT
from tests.store_cluster import MIGRATE_MS, StoreCluster, set_slot
from tests.stores import START_S, StoreNode

STORES = ("cluster",)


def proposal(resource_id: str, **options: Any) -> Proposal:
    return Proposal(
        DEFAULT_TENANT, "put", "Observation", resource_id, Release.R4, b'},"status":"final"}', **options
    )


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[StoreCluster]:
    """A Cluster of the test's own, which it may break."""
    nodes = StoreCluster(tmp_path)
    try:
        await nodes.start()
        yield nodes
    finally:
        nodes.kill()


@pytest.fixture
async def changes(store: Store) -> Changes:
    return Changes(store, keep_ms=60_000)


async def test_a_single_server_url_of_a_cluster_node_is_refused_with_the_right_scheme(
    cluster: StoreCluster,
) -> None:
    store = connect(cluster.nodes[0].url, LAYOUT)
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        await store.open()
    await store.close()


async def test_a_node_without_an_append_only_file_is_refused_by_name(
    store: Store, cluster: StoreCluster
) -> None:
    for node in (cluster.nodes[1], cluster.nodes[4]):  # a primary, and a replica that may become one
        await node.ask("CONFIG", "SET", "appendonly", "no")
        reason = await refusal(cluster)
        assert re.search(rf"^{node.address}: .*appendonly yes", reason)
        await node.ask("CONFIG", "SET", "appendonly", "yes")


async def refusal(cluster: StoreCluster) -> str:
    """Why the Cluster is refused. It is asked again when nodes stand still: without its primary the store is
    unavailable, and a replica that does not answer in time is not checked.
    """
    async with asyncio.timeout(START_S):
        while True:
            store = connect(cluster.url, LAYOUT)
            try:
                await store.open()
            except ConfigurationError as error:
                return str(error)
            except StoreUnavailable:
                continue
            finally:
                await store.close()


async def test_a_cluster_with_unserved_slots_is_refused(own: StoreCluster) -> None:
    for node in await own.primaries():
        await node.ask("CLUSTER", "DELSLOTS", 7)
    store = connect(own.url, LAYOUT)
    with pytest.raises(ConfigurationError, match="1 of the Cluster's 16384 hash slots"):
        await store.open()
    await store.close()


async def test_keys_of_a_migrating_slot_are_found_on_both_nodes(own: StoreCluster) -> None:
    store = connect(own.url, LAYOUT)
    await store.open()
    names = [f"{{p01}}:k{n}" for n in range(60)]
    await store.send([("SET", name, name) for name in names])
    slot = slot_of_key("p01")
    source = await own.primary_of_slot(slot)
    target = next(node for node in await own.primaries() if node is not source)
    source_id, target_id = await source.ask("CLUSTER", "MYID"), await target.ask("CLUSTER", "MYID")
    await set_slot(target, slot, "IMPORTING", source_id)
    await set_slot(source, slot, "MIGRATING", target_id)
    await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_MS, "KEYS", *names[:30])
    values = [name.encode() for name in names]
    assert await asyncio.gather(*(store.send([("GET", name)]) for name in names)) == [
        [value] for value in values
    ]
    assert await store.send([("GET", name) for name in names]) == values
    # a command with keys on both nodes waits until one node has them all
    together = asyncio.ensure_future(store.send([("MGET", names[0], names[-1])]))
    await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_MS, "KEYS", *names[30:])
    for node in (target, source):
        await set_slot(node, slot, "NODE", target_id)
    assert await asyncio.wait_for(together, 60) == [[values[0], values[-1]]]
    await store.close()


async def test_scripts_are_loaded_again_into_nodes_that_lost_them(
    changes: Changes, cluster: StoreCluster
) -> None:
    for node in await cluster.primaries():
        await node.ask("SCRIPT", "FLUSH")
    acceptances = await changes.append([proposal(f"n{n}") for n in range(20)])
    assert {acceptance.status for acceptance in acceptances} == {Acceptance.CREATED}


async def test_a_write_that_too_few_replicas_have_is_not_acknowledged_nor_is_its_repetition(
    own: StoreCluster,
) -> None:
    store = connect(own.url, Layout(1, 1), replicas=1)
    await store.open()
    changes = Changes(store, keep_ms=60_000)
    primary = await own.primary_of(keys.changes(0))
    replica = await own.replica_of(primary)
    assert replica.process is not None
    request = proposal("a", idempotency_key="k", digest="d")
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # the second call finds the change written, by another connection
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                await changes.append([request])
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)
    acceptance = (await changes.append([request]))[0]
    assert (acceptance.status, acceptance.key.version) == (Acceptance.REPLAYED, 1)
    await store.close()


async def test_a_reader_of_several_partitions_wakes_for_an_append_to_any(
    changes: Changes, store: Store
) -> None:
    reader = store.stream_reader(timeout_s=15)
    positions = dict.fromkeys(range(LAYOUT.partitions), START)
    assert await changes.read(reader, positions, count=10, block_ms=200) == []
    for n in range(12):
        reading = asyncio.ensure_future(changes.read(reader, positions, count=10, block_ms=10_000))
        await asyncio.sleep(0)
        await changes.append([proposal(f"w{n}")])
        (entry,) = await asyncio.wait_for(reading, 60)
        partition, positions[partition], fields = entry
        assert logged_change(fields).key.id == f"w{n}"
    await reader.close()


async def test_a_reader_of_several_partitions_reads_again_from_a_position_before_its_last(
    changes: Changes, store: Store
) -> None:
    reader = store.stream_reader(timeout_s=15)
    positions = dict.fromkeys(range(LAYOUT.partitions), START)
    ids: set[str] = set()
    for n in range(10):
        reading = asyncio.ensure_future(changes.read(reader, positions, count=10, block_ms=10_000))
        await changes.append([proposal(f"c{n}")])
        reading.cancel()
        await asyncio.wait([reading])
    for _ in range(2):  # no position has moved
        ids = {
            logged_change(fields).key.id
            for _, _, fields in await changes.read(reader, positions, count=100, block_ms=5_000)
        }
        assert ids == {f"c{n}" for n in range(10)}
        positions = dict(positions)
    await reader.close()


async def test_a_subscription_receives_messages_published_at_any_node(
    store: Store, cluster: StoreCluster
) -> None:
    messages = store.subscribe("test:channel")
    assert await anext(messages) is None
    for node in await cluster.primaries():
        await node.ask("PUBLISH", "test:channel", node.address)
        assert await asyncio.wait_for(anext(messages), 60) == node.address
    await messages.aclose()


async def test_a_cluster_url_of_a_single_server_is_refused(tmp_path: Path) -> None:
    node = StoreNode(tmp_path)
    await node.start()
    try:
        store = connect(f"redis+cluster://{node.address}", LAYOUT)
        with pytest.raises(ConfigurationError, match="redis://host:port"):
            await store.open()
        await store.close()
    finally:
        node.kill()
