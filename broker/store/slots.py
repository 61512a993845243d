"""Hash slots of a Cluster: in which slot a command's keys are, and which node serves a slot.

A command touches one slot or it is not sent (`slot_of`), so that a Cluster never has to refuse one as CROSSSLOT.
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
"""Host and port, as the Cluster names them to its clients."""

_KEYLESS = {"CLUSTER", "INFO", "PING", "PUBLISH", "TIME"}
_WITH_SUBCOMMAND = {"XGROUP", "XINFO"}
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
    """The one slot of a command; None for one without keys. Raises `ValueError` for keys of several slots."""
    slots = {slot_of_key(key) for key in keys_of(command)}
    if len(slots) > 1:
        raise ValueError(f"{command[0]} touches {len(slots)} hash slots: {keys_of(command)!r}")
    return slots.pop() if slots else None


class Topology:
    """Which node serves which slot: read from any node, and mended by what redirections tell."""

    def __init__(self, seeds: Sequence[Address], client_of: Callable[[Address], redis.Redis]) -> None:
        self._seeds = tuple(seeds)
        self._client_of = client_of
        self._primary: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._replicas: tuple[Address, ...] = ()
        self._lock = asyncio.Lock()
        self.revision = 0
        """Grows with each reading."""

    @property
    def primaries(self) -> tuple[Address, ...]:
        """Those that serve a slot; the first ones seen first."""
        return tuple(dict.fromkeys(one for one in self._primary if one is not None))

    @property
    def replicas(self) -> tuple[Address, ...]:
        return self._replicas

    @property
    def uncovered(self) -> int:
        """How many slots nobody serves."""
        return self._primary.count(None)

    def primary(self, slot: int | None) -> Address | None:
        """Who serves the slot, any primary for no slot; None where that isn't known."""
        if slot is not None:
            return self._primary[slot]
        known = self.primaries
        return random.choice(known) if known else None

    def assign(self, slot: int, address: Address) -> None:
        """A node said who serves the slot (MOVED)."""
        self._primary[slot] = address

    async def refresh(self, seen: int) -> None:
        """Asks the nodes in turn until one tells, unless that was done since revision `seen`. Raises what the last one raised."""
        async with self._lock:
            if self.revision != seen:
                return
            known = [*self.primaries, *self._replicas]
            random.shuffle(known)  # the one that failed is not asked first each time
            failure: Exception = ConnectionError("no node of the Cluster is known")
            for address in dict.fromkeys([*known, *self._seeds]):
                try:
                    self._read(address, await self._told_by(address))
                except (RedisError, OSError) as error:
                    failure = error
                else:
                    self.revision += 1
                    return
            raise failure

    async def _told_by(self, address: Address) -> list[Any]:
        async with aclosing(self._client_of(address)) as client:
            told: list[Any] = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        return told

    def _read(self, asked: Address, told: list[Any]) -> None:
        """Rows of first slot, last slot, primary, replicas; a node is host, port, and more."""
        primary: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        replicas: dict[Address, None] = {}
        for first, last, *nodes in told:
            addresses = [named(one[0], int(one[1]), asked) for one in nodes]
            primary[first : last + 1] = [addresses[0]] * (last + 1 - first)
            replicas.update(dict.fromkeys(addresses[1:]))
        self._primary, self._replicas = primary, tuple(replicas)


def named(host: str | bytes | None, port: int, asked: Address) -> Address:
    """A node's address; one that doesn't know its own host is reached where the node is that was asked."""
    text = host.decode() if isinstance(host, bytes) else host
    return (text if text and text != "?" else asked[0], port)
