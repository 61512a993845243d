"""`serve`, `api`, `match`, `dispatch` and `mqtt`: the processes of the broker. Settings come from the
environment (docs/configuration.md).
"""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import structlog
import typer

from broker import failpoints
from broker.app import (
    ALL_ROLES,
    Role,
    Running,
    beside_broker,
    bind,
    claimed_server,
    prepare_requests,
    running,
    store_url,
    with_bound_port,
)
from broker.cli import loop, supervisor, systemd
from broker.cli.garbage_collection import scheduled_garbage_collection
from broker.errors import ConfigurationError, StoreUnavailable
from broker.settings import Settings
from broker.tasks import first_of
from broker.telemetry import logs

_log = structlog.get_logger(__name__)
_SWITCH_S = 0.001
"""A thread that works on a large resource lets the event loop have the interpreter after so long."""


def _read_settings() -> Settings:
    settings = Settings.from_environment(os.environ)
    logs.configure(settings.log_level, json=settings.log_format == "json")
    failpoints.arm(settings.failpoint)
    return settings


def _run(settings: Settings, roles: frozenset[Role], listening: socket.socket | None = None) -> None:
    gc.freeze()  # the modules live as long as the process: no collection looks at them again
    hangups: list[int] = []
    # until files can be read again: one that comes earlier is answered then
    signal.signal(signal.SIGHUP, lambda number, _frame: hangups.append(number))

    async def until_stopped(stop: asyncio.Event) -> None:
        if listening is not None:
            _stop_with_supervisor(stop)
        async with running(settings, roles, listening=listening) as broker:
            ignore_hangup = _reload_on_hangup(broker, hangups)
            sys.setswitchinterval(_SWITCH_S)
            with scheduled_garbage_collection():
                _log.info(
                    "ready", roles=",".join(sorted(roles)), base_url=broker.settings.base_url, pid=os.getpid()
                )
                systemd.notify(systemd.READY)
                if Role.API in roles:
                    await prepare_requests()
                await first_of(asyncio.shield(broker.tasks["http"]), stop)
            ignore_hangup()
            _log.info("stopping", pid=os.getpid())
            if listening is None:  # a worker is restarted, and the others continue
                systemd.notify(systemd.STOPPING)
        _log.info("stopped", pid=os.getpid())

    loop.run(until_stopped)


def _reload_on_hangup(broker: Running, earlier: Sequence[int]) -> Callable[[], object]:
    """From now on, SIGHUP makes every process on the store read its topics, profiles and clients again; at
    once if there were `earlier` ones. Returns the function that makes SIGHUP do nothing.
    """
    events = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await broker.reload()
        except StoreUnavailable as error:
            _log.warning("topics, profiles and clients not reloaded; send SIGHUP again", error=str(error))

    def handle_hangup() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def ignore_hangup() -> None:
        events.remove_signal_handler(signal.SIGHUP)  # the default, which ends the process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    events.add_signal_handler(signal.SIGHUP, handle_hangup)
    if earlier:
        handle_hangup()
    return ignore_hangup


def _stop_with_supervisor(stop: asyncio.Event) -> None:
    """Sets `stop` when standard input closes: the supervisor, which holds the other end, has ended."""
    events = asyncio.get_running_loop()

    def handle_close() -> None:
        events.remove_reader(sys.stdin)
        stop.set()

    events.add_reader(sys.stdin, handle_close)


def serve(
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Processes that share the port and the work; about one for each core."
        ),
    ] = 1,
    socket_fd: Annotated[
        int | None, typer.Option(hidden=True, help="The listening socket that a supervisor passes on.")
    ] = None,
) -> None:
    """Run all roles: API, matcher, dispatcher and, without BROKER_REDIS_URL, the embedded store.

    The broker is ready when http://127.0.0.1:8080/readyz returns 200. SIGTERM and Ctrl-C drain
    and stop it; SIGHUP makes it read topics, profiles and clients again.

    Examples:

        fhir-broker serve

        BROKER_PORT=9090 BROKER_DATA_DIR=/var/lib/broker fhir-broker serve --workers 4
    """
    settings = _read_settings()
    if socket_fd is not None:
        _run_as_worker(settings, socket_fd)
    elif workers == 1:
        _run(settings, ALL_ROLES)
    else:
        _supervise(settings, workers)


def _run_as_worker(settings: Settings, socket_fd: int) -> None:
    try:
        _run(settings, ALL_ROLES, socket.socket(fileno=socket_fd))
    except StoreUnavailable as error:  # a restart can help: not the exit code that ends the supervisor too
        _log.error("store unavailable; the supervisor restarts this worker", error=str(error))
        raise typer.Exit(os.EX_TEMPFAIL) from error


def _supervise(settings: Settings, workers: int) -> None:
    settings.refuse_open()
    with claimed_server(settings) as server, bind(settings) as listening:
        settings = with_bound_port(settings, listening)
        with store_url(settings, server) as url:
            supervisor.supervise(workers, listening, url, server, settings)


def _run_role(role: Role) -> None:
    settings = _read_settings()
    if role is Role.MQTT:
        settings = beside_broker(settings)
    if settings.redis_url is None:
        raise ConfigurationError(
            f"`fhir-broker {role}` needs a store that it shares with the other roles. "
            "Set BROKER_REDIS_URL, or run `fhir-broker serve`."
        )
    _run(settings, frozenset({role}))


def api() -> None:
    """Run the HTTP API and the reader of the inbox stream only, on the store of BROKER_REDIS_URL.

    Example:

        BROKER_REDIS_URL=redis://localhost:6379/0 fhir-broker api
    """
    _run_role(Role.API)


def match() -> None:
    """Run a matcher only, on the store of BROKER_REDIS_URL. Several matchers share the partitions.

    It serves /readyz and /metrics on BROKER_PORT. BROKER_BASE_URL is the one of the API.

    Example:

        export BROKER_REDIS_URL=redis://localhost:6379/0 BROKER_BASE_URL=http://127.0.0.1:8080

        BROKER_PORT=8081 fhir-broker match
    """
    _run_role(Role.MATCH)


def dispatch() -> None:
    """Run a dispatcher only, on the store of BROKER_REDIS_URL. Several dispatchers share the subscriptions.

    It serves /readyz and /metrics on BROKER_PORT. BROKER_BASE_URL is the one of the API.

    Example:

        export BROKER_REDIS_URL=redis://localhost:6379/0 BROKER_BASE_URL=http://127.0.0.1:8080

        BROKER_PORT=8082 fhir-broker dispatch
    """
    _run_role(Role.DISPATCH)


def mqtt() -> None:
    """Take the messages of an MQTT server as readings. Several processes can share the topics.

    BROKER_MQTT_URL names the server and BROKER_MQTT_TOPICS the file of the topics (docs/mqtt.md). It uses the
    store of BROKER_REDIS_URL, or that of the `fhir-broker serve` with the same BROKER_DATA_DIR, and serves
    /readyz and /metrics on BROKER_PORT. BROKER_BASE_URL is the one of the API.

    Examples:

        export BROKER_MQTT_URL=mqtt://127.0.0.1:1883 BROKER_MQTT_TOPICS=topics.toml

        export BROKER_BASE_URL=http://127.0.0.1:8080

        BROKER_PORT=8083 fhir-broker mqtt

        BROKER_PORT=8084 BROKER_MQTT_CLIENT_ID=fhir-broker-2 fhir-broker mqtt
    """
    _run_role(Role.MQTT)
