"""`serve`, `api`, `match` and `dispatch`: the broker's processes. Settings come from the environment (docs/configuration.md)."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Annotated

import structlog
import typer

from broker import failpoints
from broker.app import ALL_ROLES, Role, Running, bind, embedded_store, running, with_bound_port
from broker.cli import loop, supervisor
from broker.errors import ConfigurationError, StoreUnavailable
from broker.settings import Settings
from broker.tasks import first_of
from broker.telemetry import logs

_log = structlog.get_logger(__name__)


def _settings() -> Settings:
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_level, json=False)
    failpoints.arm(settings.failpoint)
    return settings


def _run(settings: Settings, roles: frozenset[Role], listening: socket.socket | None = None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are topics to read again

    async def until_stopped(stop: asyncio.Event) -> None:
        if listening is not None:
            _stop_without_supervisor(stop)
        async with running(settings, roles, listening=listening) as broker:
            _settle()
            stop_reloading = _reload_on_hangup(broker)
            _log.info(
                "ready", roles=",".join(sorted(roles)), base_url=broker.settings.base_url, pid=os.getpid()
            )
            await first_of(asyncio.shield(broker.tasks["http"]), stop)
            stop_reloading()
            _log.info("stopping", pid=os.getpid())
        _log.info("stopped", pid=os.getpid())

    loop.run(until_stopped)


def _settle() -> None:
    """What is loaded by now lives as long as the process: collections pass over it, and come less often (docs/performance.md)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _reload_on_hangup(broker: Running) -> Callable[[], object]:
    """SIGHUP has every process on the store read its topics folder again; gives what ends that."""
    events = asyncio.get_running_loop()
    asked: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await broker.reload_topics()
        except StoreUnavailable as error:
            _log.warning("topics not reloaded", error=str(error))

    def hung_up() -> None:
        task = asyncio.create_task(reload())
        asked.add(task)
        task.add_done_callback(asked.discard)

    events.add_signal_handler(signal.SIGHUP, hung_up)
    return lambda: events.remove_signal_handler(signal.SIGHUP)


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

    Ready when http://127.0.0.1:8080/readyz answers 200. SIGTERM and Ctrl-C drain it; SIGHUP reads the topics folder again.

    Examples:

        fhir-broker serve

        BROKER_PORT=9090 BROKER_DATA_DIR=/var/lib/broker fhir-broker serve --workers 4
    """
    settings = _settings()
    if socket_fd is not None:
        try:
            _run(settings, ALL_ROLES, socket.socket(fileno=socket_fd))
        except StoreUnavailable as error:  # it may come back: not the exit code that ends the supervisor too
            _log.error("the store is away", error=str(error))
            raise typer.Exit(os.EX_TEMPFAIL) from error
        return
    if workers == 1:
        _run(settings, ALL_ROLES)
        return
    settings.refuse_open()
    with bind(settings) as listening:
        settings = with_bound_port(settings, listening)
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
