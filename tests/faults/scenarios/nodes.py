"""A Cluster whose nodes die, stand still, are full, cut their connections or hand slots on. Each write was waited for at a replica."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tests.faults.campaign import Size, rigged
from tests.faults.rig import Rig
from tests.faults.scenarios.stores import PATIENTS, subscribe_four
from tests.stores import StoreCluster

Break = Callable[[Rig, StoreCluster, int], Awaitable[None]]
"""Breaks something for the nth time, and returns when it works again."""


def again_and_again(broken: Break, short: int, long: int) -> Callable[[Path, Size], Awaitable[Rig]]:
    """A scenario: broken so many times under load; the broker has recovered each time."""

    async def run(folder: Path, size: Size) -> Rig:
        async with _loaded(folder, size) as rig:
            assert rig.cluster is not None
            for n in range(size.pick(short, long)):
                await asyncio.sleep(1)
                await broken(rig, rig.cluster, n)
                await rig.recovered(f"the Cluster of which {broken.__name__}")
        return rig

    return run


@contextlib.asynccontextmanager
async def _loaded(folder: Path, size: Size) -> AsyncIterator[Rig]:
    async with rigged(folder, size, replicas="1") as rig:
        await subscribe_four(rig)
        async with rig.load(PATIENTS, per_s=60):
            yield rig


async def one_died(rig: Rig, cluster: StoreCluster, n: int) -> None:
    """Its replica takes over, and it comes back as a replica."""
    primary = await cluster.primary_of(_tag(n))
    replica = await cluster.replica_of(primary)
    primary.kill()
    rig.fault("SIGKILL of a primary of a Cluster")
    await cluster.wait_for_failover_to(replica)
    await primary.start()
    await cluster.wait_until_whole()


async def all_died(rig: Rig, cluster: StoreCluster, _: int) -> None:
    """They are started on the same files."""
    cluster.kill()
    rig.fault("SIGKILL of all nodes of a Cluster at once")
    for node in cluster.nodes:
        node.spawn()
    await asyncio.gather(*(node.wait_for_reply() for node in cluster.nodes))
    await cluster.wait_until_whole()


async def one_stood_still(rig: Rig, cluster: StoreCluster, n: int) -> None:
    """Long enough to be replaced; then it goes on and learns that it is a replica now."""
    primary = await cluster.primary_of(_tag(n))
    replica = await cluster.replica_of(primary)
    assert primary.process is not None
    primary.process.send_signal(signal.SIGSTOP)
    rig.fault("a primary of a Cluster stands still for 10 s")
    await asyncio.sleep(10)
    primary.process.send_signal(signal.SIGCONT)
    await cluster.wait_for_failover_to(replica)


async def all_were_full(rig: Rig, cluster: StoreCluster, _: int) -> None:
    primaries = await cluster.primaries()
    for node in primaries:
        used = (await node.lines("INFO", "memory"))["used_memory"]
        await node.ask("CONFIG", "SET", "maxmemory", used)
    rig.fault("the primaries of a Cluster are out of memory")
    await asyncio.sleep(5)
    for node in primaries:
        await node.ask("CONFIG", "SET", "maxmemory", 0)


async def all_cut_their_connections(rig: Rig, cluster: StoreCluster, _: int) -> None:
    """Answers under way are lost with them."""
    for node in cluster.nodes:
        await node.ask("CLIENT", "KILL", "TYPE", "normal")
    rig.fault("all connections to a Cluster cut")


async def one_handed_slots_on(rig: Rig, cluster: StoreCluster, n: int) -> None:
    """Key by key, what one partition and one shard need."""
    for tag in (_tag(n), f"{{s{n % 4:02d}}}"):
        source = await cluster.primary_of(tag)
        slot = int(await source.ask("CLUSTER", "KEYSLOT", tag))
        primaries = sorted(await cluster.primaries(), key=lambda node: node.port)
        await cluster.move_slot(slot, primaries[(primaries.index(source) + 1 + n % 2) % 3])
        rig.fault("a slot of a Cluster moves", can_repeat=False)


def _tag(n: int) -> str:
    return f"{{p{n % 4:02d}}}"
