"""A client of a Cluster: sends each command to the node that serves its slot, and follows the Cluster as it changes.

Why not redis-py's own: docs/decisions/060-own-cluster-client.md. Commands a node refused (MOVED, ASK, TRYAGAIN, CLUSTERDOWN, LOADING,
READONLY) were not carried out and are sent again, where it says, until `PATIENCE_S` have passed. A connection that broke leaves open
whether they were: then they are repeated only by a client that `repeats`, as on a single server.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import redis.asyncio as redis
from redis.commands import AsyncCoreCommands
from redis.event import EventDispatcher
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
from broker.store.resp_connection import Command
from broker.store.slots import Address, Topology, named, slot_of, slot_of_key
from broker.store.stream_signals import StreamSignals

PATIENCE_S = 5.0
PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2)
REDIRECTIONS = 4
_LATER = (ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_SCRIPT_CUT_OFF = ("non local key", "cluster is down")
"""What a script says that met a key on its way to another node, or a Cluster that went down under it."""


@dataclass(slots=True)
class Routed:
    """A command, where it was redirected to, and what came of it."""

    args: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    slot: int | None = None
    asked: Address | None = None
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Node:
    """The two ways to ask one node: redis-py's commands, and raw answers."""

    client: redis.Redis
    pipeliner: Batcher


Settle = Callable[[Sequence[Any]], None]
"""Raises what is to be raised if the answers of the settling commands are not good enough."""


class _Commands(AsyncCoreCommands):
    """redis-py's commands, each of which ends in `execute_command`."""

    _event_dispatcher = EventDispatcher()  # what it asks of every client; nothing is dispatched here


class RoutedClient(_Commands):
    """The commands of `redis.asyncio.Redis`, and `PipelineExecutor`, on a Cluster. `node_at` makes what asks one node."""

    def __init__(
        self,
        topology: Topology,
        node_at: Callable[[Address], Node],
        prepare: Callable[[redis.Redis], Awaitable[None]],
        rings: StreamSignals,
        *,
        repeats: bool,
    ) -> None:
        self._topology = topology
        self._node_at = node_at
        self._prepare = prepare
        self._rings = rings
        self._repeats = repeats
        self._nodes: dict[Address, Node] = {}

    def node(self, address: Address) -> Node:
        found = self._nodes.get(address)
        if found is None:
            found = self._nodes[address] = self._node_at(address)
        return found

    async def aclose(self) -> None:
        await self._rings.aclose()
        for node in self._nodes.values():
            await node.pipeliner.close()
            await node.client.aclose()
        self._nodes.clear()

    close = aclose

    def pipeline(self, transaction: bool = True) -> "RoutedPipeline":
        """Commands that go out together, those of a node in one round trip. There are no transactions here."""
        if transaction:
            raise ValueError("a pipeline over several nodes is no transaction")
        return RoutedPipeline(self)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        (answer,) = await self.run([Routed(args, options)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        answers = await self.exchange(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def exchange(self, commands: Sequence[Command], *, anew: bool = False) -> list[Any]:  # noqa: ARG002 a node's commands are always asked anew together
        return await self.run([Routed(args) for args in commands], is_raw=True)

    async def run(
        self,
        commands: Sequence[Routed],
        settling: Sequence[Command] = (),
        settle: Settle | None = None,
        *,
        is_raw: bool = False,
    ) -> list[Any]:
        """The answers in order; of a command that failed, its exception. A deadline stands on all of it together.

        `settling` commands follow on the same connection at each node; `settle` judges their answers. Raw answers are as the node
        gives them, others as redis-py does.
        """
        for command in commands:
            command.slot = slot_of(command.args)
        waiting: list[Routed] = list(commands)
        deadline = time.monotonic() + PATIENCE_S
        turn = 0
        while waiting:
            seen = self._topology.revision
            by_node: dict[Address, list[Routed]] = {}
            for command in waiting:
                address = command.asked or self._topology.primary(command.slot)
                if address is None:
                    command.answer = ClusterDownError("nobody serves the slot")
                else:
                    by_node.setdefault(address, []).append(command)
            await _each(
                self._send(address, some, settling, settle, is_raw=is_raw)
                for address, some in by_node.items()
            )
            broken = any(_is_broken(one.answer) for one in waiting)
            is_late = time.monotonic() > deadline
            waiting = [one for one in waiting if not is_late and self._comes_again(one)]
            # a redirection says where to go: no need to wait or to ask, unless they send it round and round
            if broken or any(not isinstance(one.answer, AskError) for one in waiting) or turn > REDIRECTIONS:
                await self._look_again(seen, PAUSES_S[min(turn, len(PAUSES_S) - 1)] if waiting else 0.0)
            turn += 1
        return [command.answer for command in commands]

    async def _send(
        self,
        address: Address,
        commands: Sequence[Routed],
        settling: Sequence[Command],
        settle: Settle | None,
        *,
        is_raw: bool,
    ) -> None:
        """One round trip to one node; each command has its answer, or its failure, afterwards."""
        node = self.node(address)
        try:
            exchange = _exchange_raw if is_raw else _exchange
            answers = await exchange(node, commands, settling)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                await self._prepare(node.client)  # a new node, one that took over, or one that was restarted
                answers = await exchange(node, commands, settling)
        except (RedisError, OSError) as error:
            for command in commands:
                command.answer, command.asked = error, None
            return
        for command, answer in zip(commands, answers, strict=False):
            command.answer = answer
            command.asked = named(answer.host, answer.port, address) if type(answer) is AskError else None
            if type(answer) is MovedError and command.slot is not None:
                self._topology.assign(command.slot, named(answer.host, answer.port, address))
        if settle is not None and not all(isinstance(one.answer, Exception) for one in commands):
            settle(answers[len(commands) :])

    def _comes_again(self, command: Routed) -> bool:
        answer = command.answer
        if isinstance(answer, (AskError, BusyLoadingError, NoScriptError, *_LATER)):
            return True
        if isinstance(answer, ResponseError):
            return any(text in str(answer) for text in _SCRIPT_CUT_OFF)
        return self._repeats and _is_broken(answer)

    async def _look_again(self, seen: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        try:
            await self._topology.refresh(seen)
        except (RedisError, OSError):
            return  # nobody answers now: what waits is tried again until its time is up

    async def xread(  # type: ignore[override]  # as this package asks, and as RESP2 answers
        self, streams: Mapping[str, bytes | str], count: int | None = None, block: int | None = None
    ) -> list[Any]:
        """One command a slot, those of a node in one round trip; it doesn't block."""
        if block is not None:
            raise ValueError("XREAD of several slots can't block")
        return await self._read(["XREAD", *_counted(count)], streams)

    async def xreadgroup(  # type: ignore[override]  # as above
        self,
        groupname: str,
        consumername: str,
        streams: Mapping[str, bytes | str],
        count: int | None = None,
        block: int | None = None,
    ) -> list[Any]:
        """Of several slots: one command a slot that doesn't block; where nothing is there, it waits for a ring (`StreamSignals`)."""
        verb = ["XREADGROUP", "GROUP", groupname, consumername, *_counted(count)]
        if block is None:
            return await self._read(verb, streams)
        if len(_by_slot(streams)) == 1:
            return await self._read([*verb, "BLOCK", block], streams)

        async def look(some: Iterable[str]) -> list[Any]:
            return await self._read(verb, {stream: streams[stream] for stream in some})

        return await self._rings.read(list(streams), look, count=count or 1, wait_s=block / 1000)

    async def _read(self, verb: Sequence[Any], streams: Mapping[str, bytes | str]) -> list[Any]:
        """The rows of all of them: a stream and its entries; none for a stream that has none."""
        pipe = self.pipeline(transaction=False)
        for some in _by_slot(streams):
            pipe.execute_command(*verb, "STREAMS", *some.keys(), *some.values())
        return [row for rows in await pipe.execute() for row in rows or ()]


class RoutedPipeline(_Commands):
    """Queues commands; `execute` sends them."""

    def __init__(self, client: RoutedClient) -> None:
        self._client = client
        self._queued: list[Routed] = []

    def execute_command(self, *args: Any, **options: Any) -> Self:
        self._queued.append(Routed(args, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        queued, self._queued = self._queued, []
        answers = await self._client.run(queued)
        for answer in answers if raise_on_error else ():
            if isinstance(answer, Exception):
                raise answer
        return answers


async def _exchange(node: Node, commands: Sequence[Routed], settling: Sequence[Command]) -> list[Any]:
    """The answers to the commands, then those to the settling ones, all on one connection."""
    if len(commands) == 1 and not settling and commands[0].asked is None:
        try:
            return [await node.client.execute_command(*commands[0].args, **commands[0].options)]  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        except ResponseError as error:
            return [error]
    pipe = node.client.pipeline(transaction=False)
    permissions = []
    for command in commands:
        if command.asked is not None:
            permissions.append(len(pipe))
            pipe.execute_command("ASKING")  # holds for the next command of this connection only
        pipe.execute_command(*command.args, **command.options)
    for args in settling:
        pipe.execute_command(*args)
    answers = await pipe.execute(raise_on_error=False)
    return [answer for n, answer in enumerate(answers) if n not in permissions]


async def _exchange_raw(node: Node, commands: Sequence[Routed], settling: Sequence[Command]) -> list[Any]:
    """The same, as the node answers it."""
    sent: list[Command] = []
    permissions = []
    for command in commands:
        if command.asked is not None:
            permissions.append(len(sent))
            sent.append(("ASKING",))
        sent.append(command.args)
    answers = await node.pipeliner.exchange([*sent, *settling], repeats=False)
    return [answer for n, answer in enumerate(answers) if n not in permissions]


def _is_broken(answer: object) -> bool:
    """Whether the connection failed, so that nobody knows if the command was carried out."""
    return isinstance(answer, RedisError | OSError) and not isinstance(
        answer, ResponseError | MaxConnectionsError
    )


async def _each(sending: Iterable[Awaitable[None]]) -> None:
    """All of them at once; where it is only one, without a task. Raises what the first of them raised, when all have ended."""
    some = list(sending)
    if len(some) == 1:
        await some[0]
        return
    for result in await asyncio.gather(*some, return_exceptions=True):
        if result is not None:
            raise result


def _counted(count: int | None) -> list[Any]:
    return [] if count is None else ["COUNT", count]


def _by_slot(streams: Mapping[str, bytes | str]) -> list[dict[str, bytes | str]]:
    groups: dict[int, dict[str, bytes | str]] = {}
    for stream, position in streams.items():
        groups.setdefault(slot_of_key(stream), {})[stream] = position
    return list(groups.values())
