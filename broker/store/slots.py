"""Hash slots of a Cluster: the slot of a command's keys, and the node that serves a slot.

`slot_of` refuses a command that touches several slots before it is sent, so a Cluster never answers
CROSSSLOT. `Router` is the caller.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import redis.asyncio as redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisError

Address = tuple[str, int]
"""Host and port, as the Cluster announces them to its clients."""

_KEYLESS = {"CLUSTER", "INFO", "PING", "PUBLISH", "TIME"}
_WITH_SUBCOMMAND = {"MEMORY", "XGROUP", "XINFO"}
_ALL_KEYS = {"MGET"}
_SCRIPTS = {"EVALSHA"}
_STREAMS = {"XREAD", "XREADGROUP"}


def keys_of(command: Sequence[Any]) -> Sequence[Any]:
    """All keys of a command, which names the command (and its subcommand) in capitals."""
    name = command[0]
    if name in _KEYLESS:
        return ()
    if name in _SCRIPTS:
        return command[3 : 3 + int(command[2])]
    if name in _ALL_KEYS:
        return command[1:]
    if name in _STREAMS:
        first = command.index("STREAMS") + 1
        return command[first : first + (len(command) - first) // 2]
    if name in _WITH_SUBCOMMAND:
        return command[2:3]
    return command[1:2]


def slot_of_key(key: str | bytes) -> int:
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def slot_of(command: Sequence[Any]) -> int | None:
    """The slot of a command, None for one without keys. Raises `ValueError` for keys in several slots."""
    slots = {slot_of_key(key) for key in keys_of(command)}
    if len(slots) > 1:
        raise ValueError(f"{command[0]} touches {len(slots)} hash slots: {keys_of(command)!r}")
    return slots.pop() if slots else None


class Topology:
    """Which node serves which slot. It is read from any node, and corrected by redirections."""

    def __init__(self, seeds: Sequence[Address], client_of: Callable[[Address], redis.Redis]) -> None:
        self._seeds = tuple(seeds)
        self._client_of = client_of
        self._primary: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._replicas: tuple[Address, ...] = ()
        self._lock = asyncio.Lock()
        self.revision = 0
        """Grows with each refresh."""

    @property
    def primaries(self) -> tuple[Address, ...]:
        """The nodes that serve a slot, in the order of their slots."""
        return tuple(dict.fromkeys(address for address in self._primary if address is not None))

    @property
    def replicas(self) -> tuple[Address, ...]:
        return self._replicas

    @property
    def uncovered(self) -> int:
        """How many slots no node serves."""
        return self._primary.count(None)

    def primary(self, slot: int | None) -> Address | None:
        """The node that serves the slot, or any primary for None. None where it is not known."""
        if slot is not None:
            return self._primary[slot]
        primaries = self.primaries
        return random.choice(primaries) if primaries else None

    def assign(self, slot: int, address: Address) -> None:
        """A redirection (MOVED) named the node that serves the slot."""
        self._primary[slot] = address

    async def refresh(self, seen: int) -> None:
        """Asks the nodes in turn until one replies. Does nothing if the revision is no longer `seen`.

        Raises the last node's error when none replies.
        """
        async with self._lock:
            if self.revision != seen:
                return
            nodes = [*self.primaries, *self._replicas]
            random.shuffle(nodes)  # a node that failed is not asked first each time
            failure: Exception = ConnectionError("no node of the Cluster is known")
            for address in dict.fromkeys([*nodes, *self._seeds]):
                try:
                    self._read(address, await self._slots_from(address))
                except (RedisError, OSError) as error:
                    failure = error
                else:
                    self.revision += 1
                    return
            raise failure

    async def _slots_from(self, address: Address) -> list[Any]:
        async with aclosing(self._client_of(address)) as client:
            rows: list[Any] = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        return rows

    def _read(self, source: Address, rows: list[Any]) -> None:
        """Each row: first slot, last slot, primary, replicas. A node: host, port, and more."""
        primary: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        replicas: dict[Address, None] = {}
        for first, last, *nodes in rows:
            addresses = [node_address(host, int(port), source) for host, port, *_ in nodes]
            primary[first : last + 1] = [addresses[0]] * (last + 1 - first)
            replicas.update(dict.fromkeys(addresses[1:]))
        self._primary, self._replicas = primary, tuple(replicas)


def node_address(host: str | bytes | None, port: int, source: Address) -> Address:
    """A node's address. A node that does not know its own host is reached at the host of `source`, which
    named it.
    """
    text = host.decode() if isinstance(host, bytes) else host
    return (text if text and text != "?" else source[0], port)
