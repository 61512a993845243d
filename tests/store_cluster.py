"""A Cluster for tests, which may break it. Every wait has a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from redis.exceptions import ResponseError

from tests.ports import free_port
from tests.stores import START_S, StoreNode

SLOTS = 16_384
NODE_TIMEOUT_MS = 60_000
"""Nodes of a Cluster that a loaded machine stops for a while are not replaced behind the back of a test."""
MIGRATE_MS = 60_000
"""How long the target of moved keys may take."""


class StoreCluster:
    """Three primaries and three replicas; node n + 3 is the replica of node n."""

    def __init__(self, folder: Path, binary: str | None = None, **configuration: str) -> None:
        options = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": str(NODE_TIMEOUT_MS),
            "repl_diskless_sync_delay": "0",
            "repl_ping_replica_period": "1",
        }
        if binary is None:  # how long Valkey lets a node take over slots; Redis 7.0 does not know it
            options["cluster_manual_failover_timeout"] = str(MIGRATE_MS)
        options |= configuration
        self.nodes = [
            # not the usual distance of 10,000: those ports may be taken
            StoreNode(folder / f"node{n}", binary, cluster_port=str(free_port()), **options)
            for n in range(6)
        ]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(node.address for node in self.nodes[:3])

    async def start(self) -> None:
        """Returns when every node knows the owner of every slot and each replica is in step."""
        for node in self.nodes:
            node.spawn()
        await asyncio.gather(*(node.wait_for_reply() for node in self.nodes))
        for n, node in enumerate(self.nodes):
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            if n < 3:
                await node.ask("CLUSTER", "ADDSLOTSRANGE", n * SLOTS // 3, (n + 1) * SLOTS // 3 - 1)
            if n:
                bus = self.nodes[0].bus_port
                await node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, bus)
        names = [await node.ask("CLUSTER", "MYID") for node in self.nodes]
        for n, node in enumerate(self.nodes[3:]):
            await _until(lambda node=node: self._knows(node, names))  # type: ignore[misc]  # the loop's value, now
            await node.ask("CLUSTER", "REPLICATE", names[n])
            await self._announce(node)
        await self.wait_until_whole()

    async def _announce(self, node: StoreNode) -> None:
        """Has the node report its role to the others at once: they would hear it seconds later."""
        for other in self.nodes:
            if other is not node and other.is_running:
                await node.ask("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)

    async def wait_until_whole(self) -> None:
        """Waits until every running node sees every slot served and knows the role of the others, and every
        running replica is in step.
        """
        await _until(self._is_whole)

    async def _is_whole(self) -> bool:
        for node in self.nodes:
            if not node.is_running:
                continue
            cluster = await node.lines("CLUSTER", "INFO")
            replication = await node.lines("INFO", "replication")
            if cluster["cluster_state"] != "ok" or cluster["cluster_slots_ok"] != str(SLOTS):
                return False
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
        return await self._know_roles()

    async def _know_roles(self) -> bool:
        """Whether each running node knows the role of the others, and of which primary they are replicas."""
        lines = [
            line.split(" ")
            for node in self.nodes
            if node.is_running
            for line in str(await node.ask("CLUSTER", "NODES")).splitlines()
        ]
        seen = [(line[0], ("slave" in line[2], line[3])) for line in lines]
        own = {line[0]: role for line, (_, role) in zip(lines, seen, strict=True) if "myself" in line[2]}
        return all(own.get(name, role) == role for name, role in seen)

    async def _knows(self, node: StoreNode, names: list[str]) -> bool:
        nodes = str(await node.ask("CLUSTER", "NODES"))
        return all(name in nodes for name in names) and "handshake" not in nodes

    async def primary_of(self, key: str) -> StoreNode:
        """The node that serves the key's slot now."""
        running = next(node for node in self.nodes if node.is_running)
        slot = int(await running.ask("CLUSTER", "KEYSLOT", key))
        return await self.primary_of_slot(slot)

    async def primary_of_slot(self, slot: int) -> StoreNode:
        running = next(node for node in self.nodes if node.is_running)
        for row in await running.ask("CLUSTER", "SLOTS"):
            if row[0] <= slot <= row[1]:
                return next(node for node in self.nodes if node.port == row[2][1])
        raise LookupError(f"no node serves slot {slot}")

    async def replica_of(self, primary: StoreNode) -> StoreNode:
        """A running replica of the primary."""
        for node in self.nodes:
            if node.is_running and node is not primary:
                replication = await node.lines("INFO", "replication")
                if replication["role"] == "slave" and replication["master_port"] == str(primary.port):
                    return node
        raise LookupError(f"{primary.address} has no replica")

    async def wait_for_failover_to(self, node: StoreNode) -> None:
        """Waits until the node is a primary and the Cluster serves every slot again."""

        async def is_primary() -> bool:
            return await self._role_of(node) == "master"

        await _until(is_primary)
        await self.wait_until_whole()

    async def fail_over_to(self, node: StoreNode) -> None:
        """Has the replica of a primary that was killed take over now, and not when the others miss that."""
        await node.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        await self.wait_for_failover_to(node)

    async def return_as_replica(self, node: StoreNode) -> None:
        """Starts a node whose replica has taken over, and waits until it is the replica of that."""
        await node.start()

        async def is_replica() -> bool:
            return await self._role_of(node) == "slave"

        await _until(is_replica)
        await self._announce(node)
        await self.wait_until_whole()

    async def _role_of(self, node: StoreNode) -> str:
        return (await node.lines("INFO", "replication"))["role"]

    async def move_slot(self, slot: int, target: StoreNode) -> None:
        """Moves a slot with its keys to another primary, key by key, as redis-cli and valkey-cli do."""
        source = await self.primary_of_slot(slot)
        if source is target:
            return
        source_id, target_id = await source.ask("CLUSTER", "MYID"), await target.ask("CLUSTER", "MYID")
        await set_slot(target, slot, "IMPORTING", source_id)
        await set_slot(source, slot, "MIGRATING", target_id)
        while names := await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_MS, "KEYS", *names)
        for node in (target, source):
            await set_slot(node, slot, "NODE", target_id)
        for node in await self.primaries():
            await set_slot(node, slot, "NODE", target_id)

    async def move_slots_at_once(self, slots: range, target: StoreNode) -> None:
        """Moves slots of one node atomically, as Valkey 9.0 and later can."""
        source = await self.primary_of_slot(slots[0])
        if source is target:
            return
        name = await target.ask("CLUSTER", "MYID")
        await source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slots[0], slots[-1], "NODE", name)

        async def is_moved() -> bool:
            return await self.primary_of_slot(slots[0]) is target

        await _until(is_moved)

    async def primaries(self) -> list[StoreNode]:
        running = [node for node in self.nodes if node.is_running]
        states = await asyncio.gather(*(node.lines("INFO", "replication") for node in running))
        return [node for node, state in zip(running, states, strict=True) if state["role"] == "master"]

    async def flush(self) -> None:
        await asyncio.gather(*(node.ask("FLUSHALL") for node in await self.primaries()))

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


async def set_slot(node: StoreNode, slot: int, state: str, other_id: str) -> None:
    """CLUSTER SETSLOT, again while a replica that stands still keeps Valkey from it."""

    async def is_set() -> bool:
        try:
            await node.ask("CLUSTER", "SETSLOT", slot, state, other_id)
        except ResponseError as error:
            if "NOREPLICAS" not in str(error):
                raise
            return False
        return True

    await _until(is_set)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_S):
        while not await condition():  # noqa: ASYNC110 other processes set no event
            await asyncio.sleep(0.05)
