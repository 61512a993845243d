"""Keeps N worker processes of `serve` alive on one listening socket; a stop asks all of them to drain.

Each worker's standard input is a pipe that nothing is written to: its end tells the worker that the supervisor is gone, even one
that was killed, so that no worker stays behind on the port.
"""

import asyncio
import functools
import os
import signal
import socket
import sys

import structlog
import typer

from broker.app import check
from broker.cli import loop
from broker.settings import Settings
from broker.tasks import first_of, sleep_unless

_log = structlog.get_logger(__name__)
_GRACE_S = 10.0
_RESTART_S = 1.0


def supervise(workers: int, listening: socket.socket, store_url: str, settings: Settings) -> None:
    """Returns when every worker has ended after a stop was asked for. Exit code 2 if a worker found what the operator must mend."""
    environment = {
        **os.environ,
        "BROKER_REDIS_URL": store_url,
        "BROKER_PORT": str(settings.port),
        "BROKER_BASE_URL": settings.base_url,
        **({"BROKER_HIGH_WATER_FILE": str(settings.high_water_path)} if settings.high_water_path else {}),
    }
    deadline_s = settings.drain.total_seconds() + _GRACE_S

    async def keep_all(stop: asyncio.Event) -> bool:
        await check(settings, store_url)  # said once here, not by each worker
        running: set[asyncio.subprocess.Process] = set()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _pass_on, running)
        async with asyncio.TaskGroup() as tasks:
            kept = [
                tasks.create_task(_keep(n, listening.fileno(), environment, stop, deadline_s, running))
                for n in range(workers)
            ]
        return all(one.result() for one in kept)

    if not loop.run(keep_all):
        raise typer.Exit(2)


def _forget(running: set[asyncio.subprocess.Process], process: asyncio.subprocess.Process, _: object) -> None:
    running.discard(process)


def _pass_on(running: set[asyncio.subprocess.Process]) -> None:
    """One worker tells all processes on the store."""
    for process in list(running)[:1]:
        process.send_signal(signal.SIGHUP)


async def _keep(
    number: int,
    descriptor: int,
    environment: dict[str, str],
    stop: asyncio.Event,
    deadline_s: float,
    running: set[asyncio.subprocess.Process],
) -> bool:
    """False if the worker ended for what a restart can't mend; it has said so."""
    while not stop.is_set():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "broker",
            "serve",
            "--socket-fd",
            str(descriptor),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=[descriptor],
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone; it asks the workers to drain
        )
        running.add(process)
        ended = asyncio.ensure_future(process.wait())
        ended.add_done_callback(functools.partial(_forget, running, process))
        if await first_of(asyncio.shield(ended), stop) is None:
            process.terminate()
            try:
                async with asyncio.timeout(deadline_s):
                    await asyncio.shield(ended)
            except TimeoutError:
                _log.warning("worker did not drain in time", worker=number)
                process.kill()
                await ended
            return True
        if process.returncode == 2:
            stop.set()
            return False
        _log.error("worker ended; it starts again", worker=number, code=process.returncode)
        await sleep_unless(stop, _RESTART_S)
    return True
