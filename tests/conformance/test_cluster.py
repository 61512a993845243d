"""What only a Cluster does: redirections, settling at each node, waiting for streams on several, and what it refuses at start."""

import asyncio
import os
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
from broker.store.proposals import Acceptance, Proposal
from broker.store.protocol import Store
from broker.store.redis_store import connect
from broker.store.slots import slot_of_key
from tests.conftest import LAYOUT
from tests.stores import StoreCluster, StoreNode

STORES = ("cluster",)


def proposal(one: str, **more: Any) -> Proposal:
    head = f'{{"resourceType":"Observation","id":"{one}","meta":{{'.encode()
    return Proposal(
        DEFAULT_TENANT, "put", "Observation", one, Release.R4, head, b'},"status":"final"}', **more
    )


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[StoreCluster]:
    """A Cluster that the test may spoil."""
    nodes = StoreCluster(tmp_path)
    try:
        await nodes.start()
        yield nodes
    finally:
        nodes.kill()


@pytest.fixture
async def changes(store: Store) -> Changes:
    log = Changes(store, keep_ms=60_000)
    await log.prepare()
    return log


async def test_a_url_of_one_server_that_names_a_node_is_refused_with_what_to_write(
    cluster: StoreCluster,
) -> None:
    server = connect(cluster.nodes[0].url, LAYOUT)
    with pytest.raises(ConfigurationError, match=r"redis\+cluster://"):
        await server.open()
    await server.close()


async def test_a_node_that_keeps_no_append_only_file_is_named(store: Store, cluster: StoreCluster) -> None:
    for node in (cluster.nodes[1], cluster.nodes[4]):  # a primary, and a replica that may become one
        await node.ask("CONFIG", "SET", "appendonly", "no")
        other = connect(cluster.url, LAYOUT)
        with pytest.raises(ConfigurationError, match=rf"^{node.address}: .*appendonly yes"):
            await other.open()
        await other.close()
        await node.ask("CONFIG", "SET", "appendonly", "yes")


async def test_slots_that_nobody_serves_end_the_start(own: StoreCluster) -> None:
    for node in await own.primaries():
        await node.ask("CLUSTER", "DELSLOTS", 7)
    server = connect(own.url, LAYOUT)
    with pytest.raises(ConfigurationError, match="1 of the Cluster's 16384 hash slots"):
        await server.open()
    await server.close()


async def test_keys_on_their_way_are_found_on_either_side_by_many_at_once(own: StoreCluster) -> None:
    server = connect(own.url, LAYOUT)
    await server.open()
    names = [f"{{p01}}:k{n}" for n in range(60)]
    await server.send([("SET", name, name) for name in names])
    slot = slot_of_key("p01")
    source = await own.primary_of_slot(slot)
    target = next(node for node in await own.primaries() if node is not source)
    source_id, target_id = await source.ask("CLUSTER", "MYID"), await target.ask("CLUSTER", "MYID")
    await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *names[:30])
    found = [name.encode() for name in names]
    assert await asyncio.gather(*(server.send([("GET", name)]) for name in names)) == [
        [name] for name in found
    ]
    assert await server.send([("GET", name) for name in names]) == found
    # keys of both sides in one command: it waits until they are together
    together = asyncio.ensure_future(server.send([("MGET", names[0], names[-1])]))
    await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *names[30:])
    for node in (target, source):
        await node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    assert await asyncio.wait_for(together, 20) == [[found[0], found[-1]]]
    await server.close()


async def test_nodes_that_forgot_the_scripts_are_given_them_again(
    changes: Changes, cluster: StoreCluster
) -> None:
    for node in await cluster.primaries():
        await node.ask("SCRIPT", "FLUSH")
    answers = await changes.append([proposal(f"n{n}") for n in range(20)])
    assert {answer.status for answer in answers} == {Acceptance.CREATED}


async def test_what_too_few_replicas_have_is_not_acknowledged_nor_is_its_repetition(
    own: StoreCluster,
) -> None:
    server = connect(own.url, Layout(1, 1), replicas=1)
    await server.open()
    changes = Changes(server, keep_ms=60_000)
    primary = await own.primary_of(keys.changes(0))
    replica = await own.replica_of(primary)
    assert replica.process is not None
    asked = proposal("a", idempotency_key="k", digest="d")
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # the second finds the change written, on a connection that wrote nothing
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                await changes.append([asked])
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)
    answer = (await changes.append([asked]))[0]
    assert (answer.status, answer.key.version) == (Acceptance.REPLAYED, 1)
    await server.close()


async def test_a_reader_of_several_partitions_is_woken_by_an_append_to_any(
    changes: Changes, store: Store
) -> None:
    client = store.group_reader(timeout_s=15)
    positions = dict.fromkeys(range(LAYOUT.partitions), ">")
    assert await changes.read(client, positions, count=10, block_ms=200) == []
    for n in range(12):
        reading = asyncio.ensure_future(changes.read(client, positions, count=10, block_ms=10_000))
        await asyncio.sleep(0)
        await changes.append([proposal(f"w{n}")])
        (change,) = await asyncio.wait_for(reading, 20)
        assert change.current.key.id == f"w{n}"
    await client.close()


async def test_a_reader_that_is_cut_off_finds_everything_again(changes: Changes, store: Store) -> None:
    client = store.group_reader(timeout_s=15)
    positions = dict.fromkeys(range(LAYOUT.partitions), ">")
    found: set[str] = set()
    for n in range(10):
        reading = asyncio.ensure_future(changes.read(client, positions, count=10, block_ms=10_000))
        await changes.append([proposal(f"c{n}")])
        reading.cancel()
        await asyncio.wait([reading])
        if not reading.cancelled():
            found |= {change.current.key.id for change in reading.result()}
    for partition in positions:  # what a cut-off read had taken is pending
        pending = await changes.read(client, {partition: "0"}, count=100, block_ms=None)
        found |= {change.current.key.id for change in pending}
    while rest := await changes.read(client, positions, count=100, block_ms=100):
        found |= {change.current.key.id for change in rest}
    assert found == {f"c{n}" for n in range(10)}
    await client.close()


async def test_a_listener_hears_what_is_published_at_any_node(store: Store, cluster: StoreCluster) -> None:
    heard = store.subscribe("test:channel")
    assert await anext(heard) is None
    for node in await cluster.primaries():
        await node.ask("PUBLISH", "test:channel", node.address)
        assert await asyncio.wait_for(anext(heard), 20) == node.address
    await heard.aclose()


async def test_one_server_is_not_taken_for_a_cluster(tmp_path: Path) -> None:
    node = StoreNode(tmp_path)
    await node.start()
    try:
        server = connect(f"redis+cluster://{node.address}", LAYOUT)
        with pytest.raises(ConfigurationError, match="redis://host:port"):
            await server.open()
        await server.close()
    finally:
        node.kill()
