"""What a broker and its embedded store hold: memory, descriptors, threads, tasks, timers, connections, keys.

`Probe` reads it from the outside: from /proc (Linux), from the store, and from the reports of
`tests/soak/probed_broker.py`.
"""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import redis.asyncio as redis

from broker.store.memory_sample import kind_of
from tests.soak.probed_broker import TIMERS

PASSING_KINDS = frozenset(
    {
        "dead-letter-index",
        "dead-letter-tenants",
        "dead-letters",
        "deleted-subscription",
        "held-versions",
        "id-claim",
        "idempotency",
        "identifiers",
        "outbox",
        "references",
        "refused",
        "resource",
        "subscription",
        "binding-token",
    }
)
"""Kinds of keys that belong to resources, subscriptions and dead letters: they go when those go."""
_REPORT_S = 60.0
_TIMERS = f"broker: {TIMERS}"
_WITH_TIMERS = ("broker: task ", "broker: descriptors of socket")


@dataclass(frozen=True, slots=True)
class Levels:
    """Memory at one moment. A process's own pages (`unique`) are what would be free without it; its share of
    the others is in `proportional`. Bytes, but for blocks, keys and collections.
    """

    at_s: float
    broker_unique: int
    broker_proportional: int
    broker_blocks: int
    broker_malloc: int
    broker_collections: int
    store_unique: int
    store_proportional: int
    store_data: int
    keys: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is held while nothing happens; each count by name."""

    counts: Mapping[str, int]

    def highest(self, other: "Holdings") -> "Holdings":
        """The higher count of each, but for keys: loops that sleep have a timer, and none while they work."""
        others = {name: count for name, count in other.counts.items() if not name.startswith("keys ")}
        return Holdings(Counter(self.counts) | Counter(others))

    def beyond(self, before: "Holdings") -> dict[str, int]:
        """What is held in addition to `before`. Timers are too many only if tasks and connections, each with
        one, cannot have so many: which of these have one differs from moment to moment.
        """
        grown = {name: count - before.counts.get(name, 0) for name, count in self.counts.items()}
        if self.counts.get(_TIMERS, 0) <= self._with_timers():
            grown.pop(_TIMERS, None)
        return {name: count for name, count in sorted(grown.items()) if count > 0}

    def _with_timers(self) -> int:
        return sum(count for name, count in self.counts.items() if name.startswith(_WITH_TIMERS))


class Probe:
    """Reads the holdings of one broker process, which writes its reports to these files, and of its store."""

    def __init__(self, broker_pid: int, store: redis.Redis, report: Path, memory: Path) -> None:
        self._broker = broker_pid
        self._store = store
        self._report = report
        self._memory = memory

    async def levels(self, at_s: float) -> Levels:
        info: Any = await self._store.info()
        memory = await self._reported(signal.SIGUSR2, self._memory)
        broker, store = _pages(self._broker), _pages(info["process_id"])
        return Levels(
            at_s,
            broker.unique,
            broker.proportional,
            memory["blocks"],
            memory["malloc"],
            memory["collections"],
            store.unique,
            store.proportional,
            info["used_memory"],
            await self._store.dbsize(),
        )

    async def passing_keys(self) -> dict[str, int]:
        """The number of keys of each kind of `PASSING_KINDS`; the refused inbox entries for their stream."""
        kinds = Counter[str]()
        async for key in self._store.scan_iter(count=1_000):
            if (kind := kind_of(key)) in PASSING_KINDS:
                kinds[f"keys {kind}"] += 1
        return dict(kinds)

    async def holdings(self) -> Holdings:
        info: Any = await self._store.info()
        counts = Counter(await self.passing_keys())
        for name, pid in (("broker", self._broker), ("store", info["process_id"])):
            counts[f"{name}: threads"] = _threads(pid)
            counts.update(f"{name}: descriptors of {kind}" for kind in _descriptors(pid))
        counts["store: connections"] = info["connected_clients"]
        reported = await self._reported(signal.SIGUSR1, self._report)
        counts.update({f"broker: {name}": count for name, count in reported.items()})
        return Holdings(counts)

    async def _reported(self, request: signal.Signals, file: Path) -> dict[str, int]:
        _remove(file)
        os.kill(self._broker, request)
        async with asyncio.timeout(_REPORT_S):
            while (text := _text_of(file)) is None:  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.02)
        return {str(name): int(count) for name, count in json.loads(text).items()}


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def _text_of(file: Path) -> str | None:
    """None as long as another process has not written it."""
    return file.read_text() if file.exists() else None


class _Pages(NamedTuple):
    unique: int
    proportional: int


def _pages(pid: int) -> _Pages:
    """Bytes."""
    sizes = Counter[str]()
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, kilobytes, *_ = line.split()
        sizes[name] = int(kilobytes) * 1024
    return _Pages(sizes["Private_Clean:"] + sizes["Private_Dirty:"], sizes["Pss:"])


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def _descriptors(pid: int) -> list[str]:
    kinds = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # closed in between
            continue
        kinds.append(target.partition(":")[0] if ":[" in target or target.startswith("anon") else "files")
    return kinds
