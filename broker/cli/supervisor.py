"""`serve --workers N`: keeps N worker processes running on one listening socket, and stops all on request.

Standard input of each worker is a pipe that nothing is written to. It closes when the supervisor ends, even
if it was killed; the worker then stops too, so that no worker keeps the port.

The workers share a temporary directory for the metrics that each process counts on its own, so that any of
them can report the sums (`broker/telemetry/metrics.py`). It is new at each start and deleted at the end.
"""

import asyncio
import functools
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import structlog
import typer

from broker.app import allowed_networks, check
from broker.cli import loop
from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.tasks import first_of, sleep_unless
from broker.telemetry.metrics import SHARED_DIRECTORY, forget_process

_log = structlog.get_logger(__name__)
_GRACE_S = 10.0
_RESTART_AFTER_S = 1.0
_CONFIGURATION_ERROR = 2
"""The exit code of a worker that found what the operator has to correct: no restart helps."""


def supervise(
    workers: int,
    listening: socket.socket,
    store_url: str,
    server: EmbeddedServer | None,
    settings: Settings,
) -> None:
    """Returns when every worker has ended after a stop was requested. Exits with code 2 if a worker did."""

    async def run_workers(stop: asyncio.Event) -> bool:
        # so that an error is reported once, not by each worker
        await check(settings, store_url, server)
        with tempfile.TemporaryDirectory(prefix="fhir-broker-metrics-") as metrics_directory:
            supervisor = _Supervisor(
                listening.fileno(),
                _environment(settings, store_url, metrics_directory),
                settings.drain.total_seconds() + _GRACE_S,
                stop,
            )
            return await supervisor.run(workers)

    if not loop.run(run_workers):
        raise typer.Exit(_CONFIGURATION_ERROR)


def _environment(settings: Settings, store_url: str, metrics_directory: str) -> dict[str, str]:
    environment = {
        **os.environ,
        "BROKER_REDIS_URL": store_url,
        "BROKER_PORT": str(settings.port),
        "BROKER_BASE_URL": settings.base_url,
        SHARED_DIRECTORY: metrics_directory,
    }
    # the workers have a store URL, and cannot know that it is embedded
    if allowed := allowed_networks(settings):
        environment["BROKER_EGRESS_ALLOW"] = " ".join(map(str, allowed))
    if settings.high_water_path:
        environment["BROKER_HIGH_WATER_FILE"] = str(settings.high_water_path)
    if settings.key_ring_path:
        environment["BROKER_KEY_RING"] = str(settings.key_ring_path)
    return environment


class _Supervisor:
    """The workers of one `serve`. A worker that does not end within `deadline_s` after a stop is killed."""

    def __init__(
        self, descriptor: int, environment: Mapping[str, str], deadline_s: float, stop: asyncio.Event
    ) -> None:
        self._descriptor = descriptor
        self._environment = environment
        self._deadline_s = deadline_s
        self._stop = stop
        self._running: set[asyncio.subprocess.Process] = set()

    async def run(self, workers: int) -> bool:
        """Returns when all workers have ended; False if one found, and reported, a configuration error."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._forward_hangup)
        async with asyncio.TaskGroup() as tasks:
            supervised = [tasks.create_task(self._supervise(number)) for number in range(workers)]
        return all(task.result() for task in supervised)

    def _forward_hangup(self) -> None:
        """To one worker: it makes all processes on the store read topics, profiles and clients again."""
        for process in list(self._running)[:1]:
            process.send_signal(signal.SIGHUP)

    async def _supervise(self, number: int) -> bool:
        while not self._stop.is_set():
            process = await self._start()
            ended = asyncio.ensure_future(process.wait())
            ended.add_done_callback(functools.partial(self._forget, process))
            if await first_of(asyncio.shield(ended), self._stop) is None:
                await self._terminate(number, process, ended)
                return True
            if process.returncode == _CONFIGURATION_ERROR:
                self._stop.set()
                return False
            _log.error("worker ended; it will be restarted", worker=number, exit_code=process.returncode)
            await sleep_unless(self._stop, _RESTART_AFTER_S)
        return True

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "broker",
            "serve",
            "--socket-fd",
            str(self._descriptor),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[self._descriptor],
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which asks the workers to drain
        )
        self._running.add(process)
        return process

    async def _terminate(
        self, number: int, process: asyncio.subprocess.Process, ended: "asyncio.Future[int]"
    ) -> None:
        process.terminate()
        try:
            async with asyncio.timeout(self._deadline_s):
                await asyncio.shield(ended)
        except TimeoutError:
            _log.warning("worker did not drain in time; it is killed", worker=number)
            process.kill()
            await ended

    def _forget(self, process: asyncio.subprocess.Process, _ended: object) -> None:
        self._running.discard(process)
        forget_process(process.pid, Path(self._environment[SHARED_DIRECTORY]))
