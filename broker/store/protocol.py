"""The store as its users see it: one small protocol, implemented over one server or over a Cluster.

`Store` runs scripts, sends plain commands, reads streams and subscribes to channels. Every method raises
`StoreUnavailable` (or its subclass `StoreFull`) when the store fails; no error of the client library reaches
a caller. Replies are RESP2 values as the server sends them: bytes, integers, lists and None (`replies.py`
turns flat lists into mappings).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from broker.store.keys import Layout

Argument = str | bytes | int
Command = Sequence[Argument]
Entries = list[tuple[bytes, dict[bytes, bytes]]]
"""Entries of a stream: each its id and its fields, which are empty for an entry that was deleted."""
StreamRow = tuple[bytes, Entries]
"""A stream's name and its entries."""


class ScriptCall(NamedTuple):
    """One run of the script `lua/<script>.lua`. All keys lie in one slot. Scripts are idempotent: a call may
    be repeated.
    """

    script: str
    keys: Sequence[str]
    arguments: Sequence[Argument]


class WriteConcern(Enum):
    """What a script call waits for before it returns."""

    REPLY = auto()
    """The server executed the script."""
    ORDERED = auto()
    """No later write of the caller can survive a failure that this one does not survive."""
    REPLICATED = auto()
    """Where the broker waits for replicas, they have everything the reply reports. Use it before a
    notification is sent: a failover then never loses an event number that a subscriber has seen.
    """
    DURABLE = auto()
    """The write is on disk, and on as many replicas as the settings ask for."""


class ScanPlace(NamedTuple):
    """How far the keys were listed: the primary, in a fixed order, and its cursor."""

    node: int = 0
    cursor: int = 0


class StoreUsage(NamedTuple):
    """Bytes of memory that all primaries use, their limit (0: none), bytes of their append-only files."""

    memory: int
    memory_limit: int
    file: int


class StreamReader(Protocol):
    """Reads streams on connections of its own, so that a blocking read delays nobody else.

    A failed read is not repeated: the caller has to learn that the store was unavailable, and the entries
    that a consumer group lost with a reply are pending, so that a repetition would continue behind them.
    """

    async def read(
        self, positions: Mapping[str, str], *, count: int, block_ms: int | None
    ) -> list[StreamRow]:
        """Up to `count` entries of each stream after its position; waits up to `block_ms` for one, or not at
        all for None.
        """

    async def close(self) -> None: ...


class Store(Protocol):
    """Redis, Valkey, or a Cluster of them."""

    @property
    def layout(self) -> Layout: ...

    @property
    def append_channel(self) -> str:
        """Channel on which a script that appends to a changes stream publishes the partition's number.

        Empty where readers block in the server and need no message.
        """

    @property
    def outages(self) -> int:
        """How often this process found that the store does not answer, on any of its connections. A store may
        come back with older data, and not every caller was waiting for it meanwhile.
        """

    def can_run(self, call: ScriptCall) -> bool:
        """Whether one node holds all keys of the call, so that the script can touch them together."""

    async def run(self, call: ScriptCall, concern: WriteConcern = WriteConcern.REPLY) -> Any:
        """The reply of one script, which may travel in one pipeline with the commands of other callers."""

    async def run_many(
        self, calls: Sequence[ScriptCall], concern: WriteConcern = WriteConcern.REPLY
    ) -> list[Any]:
        """The replies of several script calls, sent in one round trip to each node.

        Raises when any of them failed; others may have been executed.
        """

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies of plain commands in order. Send only commands that may be repeated after a lost
        connection.
        """

    async def read_streams(self, positions: Mapping[str, bytes], *, count: int) -> list[StreamRow]:
        """Up to `count` entries of each stream after its position, for streams that have any. Does not wait
        for entries.
        """

    async def await_entries(self, positions: Mapping[str, bytes], *, wait_s: float) -> None:
        """Returns when one of the streams has an entry after its position, or after `wait_s`.

        It may return before: the caller reads, and waits again.
        """

    async def create_group(self, stream: str, group: str) -> None:
        """Creates the consumer group at the beginning of the stream, and the stream, unless they exist."""

    def stream_reader(self, *, timeout_s: float, group: str | None = None) -> StreamReader:
        """A reader of entries by their ids, or for a consumer group and its one consumer of the same name."""

    def subscribe(self, channel: str) -> AsyncGenerator[str | None]:
        """The messages of a channel; None after each connection, because messages may have been missed before
        it.
        """

    async def ping(self) -> None:
        """Raises `StoreUnavailable` unless every primary answers."""

    async def has_room(self) -> bool:
        """Whether the store accepts writes: it has no memory limit, or has not reached it."""

    async def usage(self) -> StoreUsage: ...

    async def sample_keys(self, count: int) -> tuple[int, list[bytes]]:
        """The number of all keys, and up to `count` random ones of each primary; keys may repeat."""

    async def scan_keys(self, pattern: str, place: ScanPlace) -> tuple[ScanPlace | None, list[bytes]]:
        """Some of the keys that match, and where to go on; None after the last. A key may come twice."""

    async def close(self) -> None: ...
