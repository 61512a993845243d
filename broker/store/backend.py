"""What `RedisStore` is composed over: a connection to one server (`server.py`) or a router of a Cluster
(`cluster.py`).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from broker.store.durability import DurabilityWait, SafetyCheck
from broker.store.protocol import Command, ScanPlace, StreamReader, StreamRow


class Backend(Protocol):
    """Carries commands. Raises `RedisError` and `OSError`, which `RedisStore` translates."""

    is_spread: bool
    """Whether the keys lie on several nodes. Then one node may lose a write that preceded a write which
    another node keeps.
    """

    async def check(self, safety: SafetyCheck) -> bool:
        """Connects and checks every node. True when durable writes must wait for the disk of a node."""

    async def load_scripts(self) -> None: ...

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order, with the commands of other callers in one pipeline where possible; raises the
        first error.
        """

    async def execute(self, commands: Sequence[Command], wait: DurabilityWait | None = None) -> list[Any]:
        """The replies in order, errors among them, from an own pipeline. `wait` follows at each node."""

    async def read_streams(self, positions: Mapping[str, bytes], count: int) -> list[StreamRow]: ...

    async def await_entries(self, positions: Mapping[str, bytes], /, wait_s: float) -> None:
        """`wait_s` is below the timeout of a command."""

    def stream_reader(self, *, timeout_s: float, group: str | None = None) -> StreamReader: ...

    def subscribe(self, channel: str) -> AsyncGenerator[str | None]: ...

    async def ping(self) -> None: ...

    async def usage(self) -> list[Mapping[str, Any]]:
        """INFO memory and persistence of every primary."""

    async def reports(self) -> list[Mapping[str, Any]]:
        """INFO server, memory and persistence of every primary."""

    async def sample_keys(self, count: int) -> tuple[int, list[bytes]]: ...

    async def scan_keys(self, pattern: str, place: ScanPlace) -> tuple[ScanPlace | None, list[bytes]]: ...

    async def close(self) -> None: ...
