"""A Cluster whose nodes are killed, suspended, full, disconnected, or move slots. Each write waits for a
replica.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.faults.campaign import Size, running_rig
from tests.faults.rig import Rig
from tests.faults.scenarios.stores import PATIENTS, subscribe_four
from tests.store_cluster import StoreCluster

FaultAction = Callable[[Rig, StoreCluster, int], Awaitable[None]]
"""Injects a fault for the nth time and returns when it has ended."""


def repeated(inject: FaultAction, short: int, full: int) -> Callable[[Path, Size], Awaitable[Rig]]:
    """A scenario that injects the fault this often under load; the broker recovers each time."""

    async def run(folder: Path, size: Size) -> Rig:
        async with _loaded(folder, size) as rig:
            assert rig.cluster is not None
            for n in range(size.pick(short, full)):
                await asyncio.sleep(1)
                await inject(rig, rig.cluster, n)
                await rig.until_recovered(f"the Cluster after {inject.__name__}")
        return rig

    return run


@contextlib.asynccontextmanager
async def _loaded(folder: Path, size: Size) -> AsyncIterator[Rig]:
    async with running_rig(folder, size, replicas="1") as rig:
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=60):
            yield rig


async def kill_primary(rig: Rig, cluster: StoreCluster, n: int) -> None:
    """Kills a primary. Its replica takes over, and it returns as a replica."""
    primary = await cluster.primary_of(_tag(n))
    replica = await cluster.replica_of(primary)
    primary.kill()
    rig.fault("SIGKILL of a primary of a Cluster")
    await cluster.wait_for_failover_to(replica)
    await primary.start()
    await cluster.wait_until_whole()


async def kill_all_nodes(rig: Rig, cluster: StoreCluster, _: int) -> None:
    """Kills all nodes and restarts them on the same files."""
    cluster.kill()
    rig.fault("SIGKILL of all nodes of a Cluster at once")
    for node in cluster.nodes:
        node.spawn()
    await asyncio.gather(*(node.wait_for_reply() for node in cluster.nodes))
    await cluster.wait_until_whole()


async def suspend_primary(rig: Rig, cluster: StoreCluster, n: int) -> None:
    """Suspends a primary until its replica has taken over; it resumes as a replica."""
    primary = await cluster.primary_of(_tag(n))
    replica = await cluster.replica_of(primary)
    assert primary.process is not None
    primary.process.send_signal(signal.SIGSTOP)
    rig.fault("a primary of a Cluster is suspended for 10 s")
    await asyncio.sleep(10)
    primary.process.send_signal(signal.SIGCONT)
    await cluster.wait_for_failover_to(replica)


async def fill_primaries(rig: Rig, cluster: StoreCluster, _: int) -> None:
    primaries = await cluster.primaries()
    for node in primaries:
        used = (await node.lines("INFO", "memory"))["used_memory"]
        await node.ask("CONFIG", "SET", "maxmemory", used)
    rig.fault("the primaries of a Cluster are out of memory")
    await asyncio.sleep(5)
    for node in primaries:
        await node.ask("CONFIG", "SET", "maxmemory", 0)


async def cut_node_connections(rig: Rig, cluster: StoreCluster, _: int) -> None:
    """Cuts every connection to the nodes; the answers under way are lost."""
    for node in cluster.nodes:
        await node.ask("CLIENT", "KILL", "TYPE", "normal")
    rig.fault("all connections to a Cluster cut")


async def move_slots(rig: Rig, cluster: StoreCluster, n: int) -> None:
    """Moves the slots of one partition and one shard, key by key."""
    for tag in (_tag(n), f"{{s{n % 4:02d}}}"):
        source = await cluster.primary_of(tag)
        slot = int(await source.ask("CLUSTER", "KEYSLOT", tag))
        primaries = sorted(await cluster.primaries(), key=lambda node: node.port)
        await cluster.move_slot(slot, primaries[(primaries.index(source) + 1 + n % 2) % 3])
        rig.fault("a slot of a Cluster moves", can_repeat=False)


def _tag(n: int) -> str:
    return f"{{p{n % 4:02d}}}"
