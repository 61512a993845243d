"""From the start of a broker to its first delivery, after the one before was killed with SIGKILL.

Each round posts readings for a silent endpoint, so that a claim is under way, and kills the broker; the
endpoint is prompt again before the next one starts. With the embedded store the next process
takes over at once; on a store that it shares, what the killed one held runs out first. The time to readiness
is part of each figure.
"""

import asyncio
import contextlib
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench.figures import Figure
from bench.rig import SETTINGS, Program, bodies, free_port, fresh_store, register, start_ready
from bench.segments import listening
from bench.wire import PROMPT, Behaviour, Producer

BENCH = "restart"
GOAL_S = 1.5
_SILENT = Behaviour(is_silent=True)
_NAME = "ana"
_READINGS = 20
_TIMEOUT_S = 60.0


async def measure(*, is_quick: bool) -> AsyncIterator[Figure]:
    rounds = 2 if is_quick else 7
    for store in ("embedded", "shared"):
        ready_s, delivered_s = [], []
        for ready, delivered in await _rounds(rounds, is_embedded=store == "embedded"):
            ready_s.append(ready)
            delivered_s.append(delivered)
        at_most = GOAL_S if store == "embedded" else None
        yield Figure(BENCH, f"start to ready, {store} store", statistics.median(ready_s), "s")
        yield Figure(
            BENCH,
            f"start to first delivery, {store} store",
            statistics.median(delivered_s),
            "s",
            at_most=at_most,
        )
        waits_s = [delivered - ready for ready, delivered in zip(ready_s, delivered_s, strict=True)]
        yield Figure(BENCH, f"ready to first delivery, {store} store", statistics.median(waits_s), "s")


async def _rounds(rounds: int, *, is_embedded: bool) -> list[tuple[float, float]]:
    """Of each round, the seconds from the start to readiness and to the first delivery."""
    measured = []
    async with contextlib.AsyncExitStack() as stack:
        sink = await listening(stack)
        broker = _restartable(stack, free_port(), is_embedded=is_embedded)
        program = await broker.start()
        await register(program, sink, [_NAME])
        for _ in range(rounds):
            sink.behave(_NAME, _SILENT)
            messages = [program.message(body) for body in bodies([_NAME], _READINGS)]
            await Producer(program.port).as_fast_as_answered(messages, 4)
            await asyncio.sleep(0.5)  # until the first notification is under way
            broker.kill()
            sink.behave(_NAME, PROMPT)
            sink.reset()
            started = time.perf_counter()
            program = await broker.start()
            ready = time.perf_counter()
            await sink.until_events(_NAME, _READINGS, _TIMEOUT_S)
            first: Mapping[str, float] = sink.first_at
            measured.append((ready - started, first[_NAME] - started))
    return measured


class _Restartable:
    """`serve`, which a measurement kills and starts again on the same data."""

    def __init__(self, port: int, folder: Path, store_url: str, settings: Mapping[str, str]) -> None:
        self._port = port
        self._folder = folder
        self._store_url = store_url
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Program:
        self._process = await start_ready(["broker", "serve"], self._settings, self._port, self._folder)
        return Program(self._port, "/r4/Observation", self._store_url, {"serve": self._process.pid})

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _restartable(stack: contextlib.AsyncExitStack, port: int, *, is_embedded: bool) -> _Restartable:
    """A broker with a store of its own, or on one that it could share. Both end with the stack."""
    folder, server = fresh_store(stack)
    if is_embedded:
        server.stop()
        own = {"data_dir": str(server.data_dir)}
    else:
        own = {"redis_url": server.url}
    settings = SETTINGS | own | {"port": str(port), "base_url": f"http://127.0.0.1:{port}"}
    broker = _Restartable(
        port, folder, server.url, {f"BROKER_{name.upper()}": value for name, value in settings.items()}
    )
    stack.callback(broker.kill)
    return broker
