"""Sends each command to the node of a Cluster that serves its slot, and follows the Cluster as it changes.

Why not redis-py's own Cluster client: docs/decisions/060-own-cluster-client.md. A node that refuses a command
(MOVED, ASK, TRYAGAIN, CLUSTERDOWN, LOADING, READONLY) did not execute it: the router sends the command again,
to the node the refusal names, until `PATIENCE_S` have passed. After a broken connection nobody knows whether
a command was executed: a router repeats it only when it was made with `repeats`, as on a single server.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis.asyncio as redis
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from broker.store.batcher import Batcher
from broker.store.durability import DurabilityWait
from broker.store.protocol import Argument, Command, StreamRow
from broker.store.replies import rows_of
from broker.store.script_loader import ScriptLoader
from broker.store.slots import Address, Topology, node_address, slot_of, slot_of_key

PATIENCE_S = 5.0
PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2)
REDIRECTIONS = 4
DEPARTED_S = 60.0
"""How long the connections to a node that left the Cluster stay: longer than any command."""
_LATER = (ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_SCRIPT_INTERRUPTED = ("non local key", "cluster is down")
"""What a script's error says when a key moved to another node, or the Cluster went down, while it ran."""

Position = TypeVar("Position", bound=str | bytes)


@dataclass(slots=True)
class RoutedCommand:
    """A command, its slot, the node that an ASK redirection named, and the reply."""

    args: Command
    slot: int | None
    redirected: Address | None = None
    reply: Any = None


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """The connections to one node: a redis-py client for administration, and a batcher for commands."""

    client: redis.Redis
    batcher: Batcher

    async def close(self) -> None:
        await self.batcher.close()
        await self.client.aclose()


class Router:
    """Commands to the nodes of a Cluster. `node_at` makes the connections to a node when it is first used."""

    def __init__(
        self,
        topology: Topology,
        node_at: Callable[[Address], ClusterNode],
        scripts: ScriptLoader,
        *,
        repeats: bool,
    ) -> None:
        self._topology = topology
        self._node_at = node_at
        self._scripts = scripts
        self._repeats = repeats
        self._nodes: dict[Address, ClusterNode] = {}
        self._departed_s: dict[Address, float] = {}
        """Since when a node has not been part of the Cluster."""

    def node(self, address: Address) -> ClusterNode:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._node_at(address)
        return node

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.close()
        self._nodes.clear()

    async def run(self, commands: Sequence[Command], wait: DurabilityWait | None = None) -> list[Any]:
        """The replies in order; the exception of a command that failed. One deadline holds for all of them.

        The commands of `wait` follow on the same connection at each node; `wait` raises when their replies
        are not good enough.
        """
        routed = [RoutedCommand(args, slot_of(args)) for args in commands]
        waiting = routed
        deadline = time.monotonic() + PATIENCE_S
        turn = 0
        while waiting:
            seen = self._topology.revision
            by_node: dict[Address, list[RoutedCommand]] = {}
            for command in waiting:
                address = command.redirected or self._topology.primary(command.slot)
                if address is None:
                    command.reply = ClusterDownError("no node serves the slot")
                else:
                    by_node.setdefault(address, []).append(command)
            await _concurrently(self._send(address, batch, wait) for address, batch in by_node.items())
            is_broken = any(_is_connection_failure(command.reply) for command in waiting)
            is_late = time.monotonic() > deadline
            waiting = [command for command in waiting if not is_late and self._sends_again(command)]
            # a redirection names the node: the router needs neither a pause nor the topology, unless it goes
            # in circles
            if (
                is_broken
                or any(not isinstance(command.reply, AskError) for command in waiting)
                or turn > REDIRECTIONS
            ):
                await self._refresh(seen, PAUSES_S[min(turn, len(PAUSES_S) - 1)] if waiting else 0.0)
            turn += 1
        return [command.reply for command in routed]

    async def _send(
        self, address: Address, commands: Sequence[RoutedCommand], wait: DurabilityWait | None
    ) -> None:
        """One round trip to one node; afterwards each command has its reply or its failure."""
        node = self.node(address)
        try:
            replies = await _exchange(node, commands, wait)
            if any(isinstance(reply, NoScriptError) for reply in replies):
                await self._scripts.load(node.client)  # the node is new, took over, or was restarted
                replies = await _exchange(node, commands, wait)
        except (RedisError, OSError) as error:
            for command in commands:
                command.reply, command.redirected = error, None
            return
        for command, reply in zip(commands, replies, strict=False):
            command.reply = reply
            command.redirected = (
                node_address(reply.host, reply.port, address) if type(reply) is AskError else None
            )
            if type(reply) is MovedError and command.slot is not None:
                self._topology.assign(command.slot, node_address(reply.host, reply.port, address))
        if wait is not None and not all(isinstance(command.reply, Exception) for command in commands):
            wait.check(replies[len(commands) :])

    def _sends_again(self, command: RoutedCommand) -> bool:
        reply = command.reply
        if isinstance(reply, (AskError, BusyLoadingError, NoScriptError, *_LATER)):
            return True
        if isinstance(reply, ResponseError):
            return any(text in str(reply) for text in _SCRIPT_INTERRUPTED)
        return self._repeats and _is_connection_failure(reply)

    async def _refresh(self, seen: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        try:
            await self._topology.refresh(seen)
        except (RedisError, OSError):
            return  # no node answers now: the waiting commands are tried again until the deadline
        await self._close_departed()

    async def _close_departed(self) -> None:
        """Closes the connections to nodes that left the Cluster when no command can be under way any more."""
        members = {*self._topology.primaries, *self._topology.replicas}
        now_s = time.monotonic()
        self._departed_s = {
            address: self._departed_s.get(address, now_s) for address in self._nodes if address not in members
        }
        for address, since_s in list(self._departed_s.items()):
            if now_s - since_s >= DEPARTED_S:
                del self._departed_s[address]
                await self._nodes.pop(address).close()

    async def read_streams(
        self, verb: Sequence[Argument], positions: Mapping[str, Position]
    ) -> list[StreamRow]:
        """XREAD or XREADGROUP with one command a slot, those of a node in one round trip: the streams that
        have entries.
        """
        replies = await self.run(
            [(*verb, "STREAMS", *part.keys(), *part.values()) for part in by_slot(positions)]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [row for reply in replies for row in rows_of(reply)]


async def _exchange(
    node: ClusterNode, commands: Sequence[RoutedCommand], wait: DurabilityWait | None
) -> list[Any]:
    """The replies to the commands, then those to the commands of `wait`, all on one connection."""
    sent: list[Command] = []
    permissions = set()
    for command in commands:
        if command.redirected is not None:
            permissions.add(len(sent))
            sent.append(("ASKING",))  # holds for the next command of this connection only
        sent.append(command.args)
    replies = await node.batcher.exchange([*sent, *(wait.commands if wait else ())], retry=False)
    return [reply for n, reply in enumerate(replies) if n not in permissions] if permissions else replies


def _is_connection_failure(reply: object) -> bool:
    """Whether the connection failed, so that nobody knows if the command was executed."""
    return isinstance(reply, RedisError | OSError) and not isinstance(
        reply, ResponseError | MaxConnectionsError
    )


async def _concurrently(sending: Iterable[Awaitable[None]]) -> None:
    """Awaits all of them; a single one without a task. Raises the first error when all have ended."""
    awaitables = list(sending)
    if len(awaitables) == 1:
        await awaitables[0]
        return
    for result in await asyncio.gather(*awaitables, return_exceptions=True):
        if result is not None:
            raise result


def by_slot(positions: Mapping[str, Position]) -> list[dict[str, Position]]:
    """The streams with their positions, grouped by slot."""
    groups: dict[int, dict[str, Position]] = {}
    for stream, position in positions.items():
        groups.setdefault(slot_of_key(stream), {})[stream] = position
    return list(groups.values())
