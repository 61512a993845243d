"""Runs a soak: a broker with an embedded store and a short retention under load, measured while it lasts and
when nothing happens, before and after.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import redis.asyncio as redis

from broker.store.embedded import url_of
from broker.testing.subscriber import SimulatedSubscriber
from tests.ports import free_port
from tests.soak.flatness import Trend, second_half, trend_of
from tests.soak.holdings import Holdings, Levels, Probe
from tests.soak.lifetimes import Lifetimes
from tests.soak.load import Load
from tests.soak.probed_broker import MEMORY, REPORT
from tests.spawning import dies_with_parent

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 60.0
_LOOKS = 6
"""How often the broker is looked at before the load: a moment alone does not show what it holds at rest."""
TOLERATED_BYTES_PER_HOUR = 1024.0**2
"""Beyond what it uses, a process takes a little more from the system with each new peak: of a small process
this is more than 3 % in the first hour.
"""


class _Series(NamedTuple):
    value: Callable[[Levels], int]
    tolerance_per_hour: float = 0.0


_SERIES: Mapping[str, _Series] = {
    "broker: own memory (USS)": _Series(lambda levels: levels.broker_unique, TOLERATED_BYTES_PER_HOUR),
    "broker: memory with its share of shared pages (PSS)": _Series(
        lambda levels: levels.broker_proportional, TOLERATED_BYTES_PER_HOUR
    ),
    "broker: blocks of Python objects": _Series(lambda levels: levels.broker_blocks),
    "broker: memory allocated from C": _Series(lambda levels: levels.broker_malloc),
    "store: own memory (USS)": _Series(lambda levels: levels.store_unique, TOLERATED_BYTES_PER_HOUR),
    "store: memory with its share of shared pages (PSS)": _Series(
        lambda levels: levels.store_proportional, TOLERATED_BYTES_PER_HOUR
    ),
    "store: memory of the data": _Series(lambda levels: levels.store_data),
    "store: keys": _Series(lambda levels: levels.keys),
}
SWEEPS_S = 10.0
"""How long entries may stay after their lifetime: a sweep comes 20 times in a retention and takes a while."""


@dataclass(frozen=True, slots=True)
class Size:
    """`warm_s` of load precede the first look at what is held; `load_s` lie between that and the second."""

    load_s: float
    warm_s: float
    sample_s: float
    retention_s: int
    per_s: float
    partitions: int = 16


@dataclass(frozen=True, slots=True)
class Result:
    """`left_over` is what is held in addition afterwards, `log` what the broker logged as errors. `lifetimes`
    has the entries of the store that stayed too long.
    """

    seconds: float
    done: Mapping[str, int]
    failed: Sequence[str]
    levels: Sequence[Levels]
    left_over: Mapping[str, int]
    lifetimes: Lifetimes
    log: str

    @property
    def is_clean(self) -> bool:
        """Whether every step succeeded, nothing is left over and nothing stayed too long."""
        return not self.failed and not self.left_over and not self.lifetimes.overdue

    @property
    def trends(self) -> Mapping[str, Trend]:
        """Raises `ValueError` if there are too few measurements: a slow machine makes few in a short soak."""
        return {
            name: trend_of(
                second_half([(each.at_s, float(series.value(each))) for each in self.levels]),
                series.tolerance_per_hour,
            )
            for name, series in _SERIES.items()
        }

    @property
    def collections(self) -> int:
        """How often the broker collected all of its garbage."""
        return self.levels[-1].broker_collections - self.levels[0].broker_collections

    @property
    def is_flat(self) -> bool:
        return all(trend.is_flat for trend in self.trends.values())


async def run(folder: Path, size: Size, progress: Callable[[str, float], None]) -> Result:
    """`progress` gets what happens and the share of the load that is done."""
    async with contextlib.AsyncExitStack() as stack:
        log = folder / "broker.log"
        base, pid = await stack.enter_async_context(_broker(folder, log, size))
        # one connection, so that it never counts as a connection more
        pool = redis.BlockingConnectionPool.from_url(
            url_of(folder / "data"), protocol=2, socket_timeout=30, max_connections=1
        )
        store = redis.Redis.from_pool(pool)
        stack.push_async_callback(store.aclose)
        probe = Probe(pid, store, folder / REPORT, folder / MEMORY)
        lifetimes = Lifetimes(store, size.retention_s + SWEEPS_S)
        progress("warming up", 0.0)
        _, failed_early = await _work(base, store, size, size.warm_s)
        progress("waiting until what is old is removed", 0.0)
        before = await _quiet(probe, size)
        for _ in range(_LOOKS):
            await asyncio.sleep(0.5)
            before = before.highest(await probe.holdings())
        started = time.monotonic()
        levels: list[Levels] = []

        async def sample() -> None:
            while True:
                at_s = time.monotonic() - started
                levels.append(await probe.levels(at_s))
                progress("load", min(1.0, at_s / size.load_s))
                await asyncio.sleep(size.sample_s)

        observers = [asyncio.create_task(sample()), asyncio.create_task(lifetimes.run())]
        done, failed = await _work(base, store, size, size.load_s)
        for observer in observers:
            observer.cancel()
        for ended in await asyncio.gather(*observers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
        await lifetimes.begin()
        progress("waiting until what is old is removed", 1.0)
        after = await _quiet(probe, size, before)
        await lifetimes.compare()
    return Result(
        size.load_s,
        done,
        failed_early + failed,
        levels,
        after.beyond(before),
        lifetimes,
        log.read_text(),
    )


async def _work(base: str, store: redis.Redis, size: Size, seconds: float) -> tuple[Counter[str], list[str]]:
    headers = {"Content-Type": "application/fhir+json"}
    limits = httpx.Limits(max_connections=200)
    async with (
        SimulatedSubscriber() as subscriber,
        httpx.AsyncClient(
            base_url=base, headers=headers, timeout=60, trust_env=False, limits=limits
        ) as client,
    ):
        load = Load(client, subscriber, store, size.per_s)
        async with load.running():
            await asyncio.sleep(seconds)
        await load.clean()
    return load.done, load.failed


async def _quiet(probe: Probe, size: Size, before: Holdings | None = None) -> Holdings:
    """Waits until everything that passes has gone, or the time is up. The first look has nothing to compare
    with: it counts keys that passing things have left as if there had been none.
    """
    deadline = time.monotonic() + 3 * size.retention_s + 30
    while True:
        keys = await probe.passing_keys()
        held = await probe.holdings()
        is_quiet = not keys if before is None else not held.beyond(before)
        if is_quiet or time.monotonic() > deadline:
            return Holdings({k: n for k, n in held.counts.items() if before or k not in keys})
        await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def _broker(folder: Path, log: Path, size: Size) -> AsyncIterator[tuple[str, int]]:
    port = free_port()
    settings = {
        "PORT": str(port),
        "DATA_DIR": str(folder / "data"),
        "LOG_LEVEL": "error",
        "PARTITIONS": str(size.partitions),
        "SHARDS": str(size.partitions),
        "RETENTION": f"{size.retention_s}s",
        "AUDIT_RETENTION": f"{size.retention_s}s",
        "RETRY_BUDGET": f"{max(1, size.retention_s // 5)}s",
        "RETRY_BASE": "100ms",
        "RETRY_MAX": "1s",
        "HANDSHAKE_GRACE": "1s",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    environment |= {f"BROKER_{name}": value for name, value in settings.items()}
    environment |= {name: str(folder / name) for name in (REPORT, MEMORY)}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 our own module, before anything is measured
            [sys.executable, "-m", "tests.soak.probed_broker", "serve"],
            env=environment,
            cwd=_ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509 one system call, looked up before the fork
        )
    base = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(_START_S), httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while not await _is_ready(client, base):
                assert process.poll() is None, f"the broker ended; {log} says why"
                await asyncio.sleep(0.1)
        yield base, process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _is_ready(client: httpx.AsyncClient, base: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get(f"{base}/readyz")).status_code == 200
    return False
