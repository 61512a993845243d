"""Keeps N worker processes of `serve` alive on one listening socket; a stop asks all of them to drain."""

import asyncio
import os
import socket
import sys

import structlog

from broker.cli import loop
from broker.settings import Settings

_log = structlog.get_logger(__name__)
_GRACE_S = 10.0
_RESTART_S = 1.0


def supervise(workers: int, listening: socket.socket, store_url: str, settings: Settings) -> None:
    """Returns when every worker has ended after a stop was asked for."""
    environment = {
        **os.environ,
        "BROKER_REDIS_URL": store_url,
        "BROKER_PORT": str(settings.port),
        "BROKER_BASE_URL": settings.base_url,
    }
    deadline_s = settings.drain.total_seconds() + _GRACE_S

    async def keep_all(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for n in range(workers):
                tasks.create_task(_keep(n, listening.fileno(), environment, stop, deadline_s))

    loop.run(keep_all)


async def _keep(
    number: int, descriptor: int, environment: dict[str, str], stop: asyncio.Event, deadline_s: float
) -> None:
    while not stop.is_set():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "broker",
            "serve",
            "--socket-fd",
            str(descriptor),
            pass_fds=[descriptor],
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone; it asks the workers to drain
        )
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            process.terminate()
            try:
                await asyncio.wait_for(asyncio.shield(ended), deadline_s)
            except TimeoutError:
                _log.warning("worker did not drain in time", worker=number)
                process.kill()
                await ended
            return
        if process.returncode == 2:
            stop.set()  # a setting is wrong: it has said so, and a restart would only say it again
            return
        _log.error("worker ended; it starts again", worker=number, code=process.returncode)
        await asyncio.sleep(_RESTART_S)
