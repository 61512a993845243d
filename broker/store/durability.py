"""How the broker knows that a write is durable: what it asks of a server at start, and what it waits for
after a write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis.asyncio as redis
from redis.exceptions import ResponseError

from broker.errors import ConfigurationError, StoreUnavailable
from broker.store.protocol import Command

Durability = Literal["fsync", "everysec"]
WAIT_MS = 5_000
"""How long a server may take to write to disk or to reach its replicas."""


@dataclass(frozen=True, slots=True)
class DurabilityWait:
    """WAITAOF and WAIT, which follow durable writes on the same connection. Empty where the server needs
    neither.
    """

    fsync: bool = False
    replicas: int = 0

    @property
    def commands(self) -> list[Command]:
        sync: list[Command] = [("WAITAOF", 1, 0, WAIT_MS)] if self.fsync else []
        return [*sync, ("WAIT", self.replicas, WAIT_MS)] if self.replicas else sync

    def check(self, replies: Sequence[Any]) -> None:
        """Raises `StoreUnavailable` when the replies to `commands` report fewer copies than required."""
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        if self.fsync and replies[0][0] < 1:
            raise StoreUnavailable(f"the store did not write to disk within {WAIT_MS // 1000} s")
        if self.replicas and replies[-1] < self.replicas:
            raise StoreUnavailable(
                f"{replies[-1]} of {self.replicas} replicas had it after {WAIT_MS // 1000} s"
            )


@dataclass(frozen=True, slots=True)
class SafetyCheck:
    """Refuses a server that may lose what it acknowledged, unless the operator allows it."""

    durability: Durability
    allow_unsafe: bool

    async def needs_fsync_wait(self, node: redis.Redis, server: Mapping[str, Any]) -> bool:
        """Whether durable writes must wait for the disk (WAITAOF). `server` is the node's INFO server.

        Raises `ConfigurationError` for a version that is too old and for an unsafe configuration.
        """
        version = str(server.get("valkey_version") or server["redis_version"])
        major, minor = (int(part) for part in version.split(".")[:2])
        if major < 7:
            raise ConfigurationError(
                f"the store is version {version}; use Redis 7.0 or Valkey 7.2, or a later version"
            )
        try:
            config = cast(
                "dict[str, str]",
                await node.config_get("maxmemory-policy", "appendonly", "appendfsync", "maxmemory"),
            )
        except ResponseError:
            if self.allow_unsafe:
                return False
            raise ConfigurationError(
                "the store refuses CONFIG GET, so the broker cannot check that it keeps its data; "
                "set BROKER_ALLOW_UNSAFE_STORE=true if it does"
            ) from None
        if self.allow_unsafe:
            return False
        if config.get("maxmemory-policy", "noeviction") != "noeviction":
            raise ConfigurationError(
                f"the store evicts data (maxmemory-policy {config['maxmemory-policy']}); set it to noeviction"
            )
        if config.get("appendonly") != "yes":
            raise ConfigurationError(
                "the store keeps no append-only file (appendonly no); set appendonly yes"
            )
        if self.durability == "everysec" or config.get("appendfsync") == "always":
            return False
        if (major, minor) < (7, 2):
            raise ConfigurationError(
                f"the store ({version}) syncs to disk once a second "
                f"(appendfsync {config.get('appendfsync')}); "
                "set appendfsync always, or BROKER_DURABILITY=everysec"
            )
        return True
