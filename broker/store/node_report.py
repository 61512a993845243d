"""How a server of the store is: its version, clock, memory, and what came of its last writes to disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class NodeReport:
    """From the server's INFO. `clock_ms` is its time when it answered; memory in bytes, a limit of 0 is none.

    `writes_file` is False after a failed write of the append-only file, `rewrites_file` after a failed
    rewrite.
    """

    version: str
    clock_ms: int
    memory: int
    memory_limit: int
    writes_file: bool
    rewrites_file: bool

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Self:
        return cls(
            str(info.get("valkey_version") or info["redis_version"]),
            int(info["server_time_usec"]) // 1_000,
            int(info["used_memory"]),
            int(info["maxmemory"]),
            info.get("aof_last_write_status", "ok") == "ok",
            info.get("aof_last_bgrewrite_status", "ok") == "ok",
        )
