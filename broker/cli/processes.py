"""`serve`, `api`, `match` and `dispatch`: the broker's processes. Settings come from the environment (docs/configuration.md)."""

import asyncio
import os
import socket
import sys
from typing import Annotated

import structlog
import typer

from broker.app import ALL_ROLES, Role, bind, embedded_store, placed, running
from broker.cli import loop, supervisor
from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.telemetry import logs

_log = structlog.get_logger(__name__)


def _settings() -> Settings:
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_level, json=False)
    return settings


def _run(settings: Settings, roles: frozenset[Role], listening: socket.socket | None = None) -> None:
    async def until_stopped(stop: asyncio.Event) -> None:
        if listening is not None:
            _stop_without_supervisor(stop)
        async with running(settings, roles, listening=listening) as broker:
            _log.info(
                "ready", roles=",".join(sorted(roles)), base_url=broker.settings.base_url, pid=os.getpid()
            )
            http = asyncio.ensure_future(stop.wait())
            await asyncio.wait([http, broker.tasks["http"]], return_when=asyncio.FIRST_COMPLETED)
            http.cancel()
            _log.info("stopping", pid=os.getpid())
        _log.info("stopped", pid=os.getpid())

    loop.run(until_stopped)


def _stop_without_supervisor(stop: asyncio.Event) -> None:
    """The supervisor holds the other end of standard input; it closes when that process ends, however it ends."""
    events = asyncio.get_running_loop()

    def gone() -> None:
        events.remove_reader(sys.stdin)
        stop.set()

    events.add_reader(sys.stdin, gone)


def serve(
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the port and the work; about one a core.")
    ] = 1,
    socket_fd: Annotated[
        int | None, typer.Option(hidden=True, help="The listening socket a supervisor hands over.")
    ] = None,
) -> None:
    """Run everything: API, matcher, dispatcher, and, without BROKER_REDIS_URL, the embedded store.

    Ready when http://127.0.0.1:8080/readyz answers 200. SIGTERM and Ctrl-C drain it.

    Examples:

        fhir-broker serve

        BROKER_PORT=9090 BROKER_DATA_DIR=/var/lib/broker fhir-broker serve --workers 4
    """
    settings = _settings()
    if socket_fd is not None:
        _run(settings, ALL_ROLES, socket.socket(fileno=socket_fd))
        return
    if workers == 1:
        _run(settings, ALL_ROLES)
        return
    settings.refuse_open()
    with bind(settings) as listening:
        settings = placed(settings, listening)
        if settings.redis_url is not None:
            supervisor.supervise(workers, listening, settings.redis_url, settings)
            return
        with embedded_store(settings) as url:
            supervisor.supervise(workers, listening, url, settings)


def _alone(role: Role) -> None:
    settings = _settings()
    if settings.redis_url is None:
        raise ConfigurationError(
            f"`{role}` alone works on a shared store: set BROKER_REDIS_URL, or run `fhir-broker serve`"
        )
    _run(settings, frozenset({role}))


def api() -> None:
    """Run the HTTP face alone (and the reader of the inbox stream), on the store of BROKER_REDIS_URL.

    Example:

        BROKER_REDIS_URL=redis://localhost:6379/0 fhir-broker api
    """
    _alone(Role.API)


def match() -> None:
    """Run a matcher alone, on the store of BROKER_REDIS_URL; several share the partitions.

    It answers /readyz and /metrics on BROKER_PORT.

    Example:

        BROKER_REDIS_URL=redis://localhost:6379/0 BROKER_PORT=8081 fhir-broker match
    """
    _alone(Role.MATCH)


def dispatch() -> None:
    """Run a dispatcher alone, on the store of BROKER_REDIS_URL; several share the work.

    It answers /readyz and /metrics on BROKER_PORT.

    Example:

        BROKER_REDIS_URL=redis://localhost:6379/0 BROKER_PORT=8082 fhir-broker dispatch
    """
    _alone(Role.DISPATCH)
