"""Whether each part of this process works. `/readyz` and the console's overview show it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from broker.errors import StoreUnavailable
from broker.store.change_log import ChangeLog
from broker.store.counters import Counters
from broker.store.disk_space import read_disk_space
from broker.store.protocol import Store

_TIMEOUT_S = 1.5


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of each part, "ok" or what is wrong with it, and warnings, which change no readiness."""

    parts: Mapping[str, str]
    warnings: Mapping[str, str]

    @property
    def is_ready(self) -> bool:
        return all(state == "ok" for state in self.parts.values())


@dataclass(slots=True)
class Health:
    """What readiness and metrics look at.

    A process that `takes_changes` is ready only while there is room for them. `workers` gives the state of
    each loop of this process, "ok" or what is wrong with it.
    """

    store: Store
    change_log: ChangeLog
    counters: Counters
    takes_changes: bool
    workers: dict[str, Callable[[], str]] = field(default_factory=dict)

    async def report(self) -> HealthReport:
        """What there is to report now. It waits for the store for a moment only."""
        parts, warnings = {"store": "ok"}, {}
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if not await self.store.has_room():
                    parts["store"] = "out of memory: it accepts no more writes"
                if self.takes_changes:
                    parts["intake"] = await self._intake()
                if (disk := await read_disk_space(self.store)) and disk.is_low:
                    warnings["disk"] = (
                        f"{disk.free} bytes are free, and a rewrite of the store's file needs {disk.needed}; "
                        "free space on the disk"
                    )
        except (StoreUnavailable, TimeoutError):
            parts["store"] = "does not answer"
        parts |= {name: state() for name, state in self.workers.items()}
        return HealthReport(parts, warnings)

    async def _intake(self) -> str:
        partition = await self.change_log.fullest()
        if partition is None:
            return "ok"
        return f"full: too many changes of partition {partition} wait to be matched"
