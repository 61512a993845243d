"""Starts and stops a process: `running` builds what its roles need, and stops it in the opposite order.

Stopping drains the process: the HTTP server accepts no more requests, the workers finish or give back what
they hold, the group commit writes what was accepted, and then the channels and the store are closed.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp

from broker.api.authentication import Authenticate
from broker.api.login_audit import LoginAudit
from broker.api.routes import HttpRoute
from broker.app.access import (
    build_access_review,
    build_authenticate,
    build_client_reload,
    load_clients,
    load_issuers,
)
from broker.app.api import (
    build_api_app,
    build_health_app,
    build_intakes,
    build_services,
    intake_loops,
)
from broker.app.channels import document_client, open_channels
from broker.app.console import build_console_rows, open_issuer_logins
from broker.app.dead_letters import build_dead_letter_runner
from broker.app.dispatcher import build_dispatcher
from broker.app.flow import build_activity_recorder, build_lag_reporter, build_throttle
from broker.app.housekeeping import build_backlog_sampler, build_housekeeper
from broker.app.http import serving
from broker.app.listening import bind, with_bound_port
from broker.app.mappings import check_mappings, watched_mappings
from broker.app.matcher import MatcherLoop
from broker.app.outbound import load_outbound_rules
from broker.app.parts import Parts
from broker.app.profiles import profile_loops
from broker.app.readings import Readings
from broker.app.roles import ALL_ROLES, Role
from broker.app.search import SearchParts, build_export_checker, build_search_builder, open_search
from broker.app.secrets import open_key_ring, resource_bodies
from broker.app.stores import claimed_server, joined, open_store, store_url
from broker.app.tls import ListenerTls, listener_tls
from broker.app.topics import build_topic_sync, load_catalog
from broker.app.tracing import check_traces, open_tracer
from broker.app.writes import load_write_targets
from broker.ingest.group import GroupCommit
from broker.ingest.intake import Intake
from broker.mapping.reading import PayloadMapper
from broker.matching.catalog import Catalog
from broker.model.audit import AuditAction, AuditEntry
from broker.model.change import DEFAULT_TENANT
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.services.health import Health
from broker.services.login_failures import LoginFailures
from broker.services.tour import TourStage
from broker.settings import Settings
from broker.store.embedded import EmbeddedServer
from broker.tasks import SupervisedTask
from broker.telemetry.loop_lag import measured_lag
from broker.workers.audit_chainer import AuditChainer
from broker.workers.audit_upkeep import recorded_start
from broker.workers.process_announcer import ProcessAnnouncer
from broker.workers.topic_sync import TopicSync

_Loop = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Running:
    """A broker that has started. `settings` hold the port and base URL it really has."""

    settings: Settings
    store_url: str
    tasks: Mapping[str, "asyncio.Task[None]"]
    """By name: the supervised tasks, and `http`. None of them ends before the process stops, unless the HTTP
    server fails.
    """
    app: ASGIApp
    """What the HTTP server serves, for callers within the process."""
    reload: Callable[[], Awaitable[None]]
    """Makes every process on the same store read its topics, profiles and clients again, and this one its
    TLS files. Raises `StoreUnavailable`.
    """


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    roles: frozenset[Role] = ALL_ROLES,
    *,
    listening: socket.socket | None = None,
    authenticate: Authenticate | None = None,
    mounts: Sequence[HttpRoute] = (),
    mapper: Callable[[], PayloadMapper] | None = None,
    catalog: Catalog | None = None,
    tour: TourStage | None = None,
) -> AsyncIterator[Running]:
    """A process with these roles, ready when entered; `listening` is closed on the way out.

    `mounts` are applications beside the FHIR bases, each with its access. `authenticate` replaces the one
    that the settings ask for, `mapper` the mappings, `catalog` the topics of the folder. `tour` is the
    stage of the console's guided tour.

    Raises `ConfigurationError` for what the operator has to correct, and `StoreUnavailable`.
    """
    if Role.API in roles:
        settings.refuse_open()
    takes_changes = bool(roles & {Role.API, Role.MQTT})
    async with contextlib.AsyncExitStack() as stack:
        # first: a process that may not use the data directory should hear that, not that the port is in use
        server = stack.enter_context(claimed_server(settings))
        listening = listening or bind(settings)
        stack.callback(listening.close)
        settings = with_bound_port(settings, listening)
        tls = listener_tls(settings)
        if server is not None:
            server.launch()  # it loads its data while the topics are read
        catalog, clients, issuers = (
            catalog or load_catalog(settings),
            load_clients(settings),
            load_issuers(settings),
        )
        url = stack.enter_context(store_url(settings, server))
        store = await stack.enter_async_context(open_store(settings, url))
        register = await stack.enter_async_context(joined(settings, store, server))
        ring = await open_key_ring(settings, store)
        documents, bodies = (
            stack.enter_context(document_client(settings)),
            resource_bodies(settings, store, ring),
        )
        channels = await stack.enter_async_context(open_channels(settings, store, ring, documents, bodies))
        parts = Parts(
            settings,
            store,
            catalog,
            channels,
            clients,
            issuers,
            SubscriptionSecrets(ring),
            documents,
            bodies,
            tour=tour,
            tracer=await stack.enter_async_context(open_tracer(settings, roles)),
        )
        authenticate = authenticate or build_authenticate(parts)
        topic_sync = build_topic_sync(parts, validates=Role.MATCH in roles)
        await parts.inbox.prepare()
        await topic_sync.sync()

        health = Health(store, parts.change_log, parts.counters, takes_changes=takes_changes)
        matcher = MatcherLoop(parts, topic_sync)
        loops = _worker_loops(parts, topic_sync, matcher, roles) | {
            "processes": lambda: ProcessAnnouncer(register, parts.stop).run(),
            "activity": lambda: build_activity_recorder(parts, roles, health).run(),
        }
        if tls is not None:
            loops["TLS files"] = functools.partial(tls.watch, parts.stop)
        tasks: dict[str, SupervisedTask] = {}
        intakes = await _open_intakes(stack, parts, roles, mapper) if takes_changes else None
        if intakes is not None:
            loops |= intakes.loops
            tasks["group commit"] = intakes.group_commit
        app = await _open_app(
            stack, parts, topic_sync, intakes if Role.API in roles else None, health, authenticate, mounts
        )
        tasks |= await stack.enter_async_context(_supervised(loops, parts.stop))
        health.workers = {name: task.state for name, task in tasks.items()}
        health.workers |= intakes.states if intakes is not None else {}
        if Role.MATCH in roles:
            health.workers["subscription index"] = matcher.state
        stack.enter_context(measured_lag())
        http = await stack.enter_async_context(
            serving(
                app,
                listening,
                has_websockets=Role.API in roles,
                drain_s=settings.drain.total_seconds(),
                tls=None if tls is None else tls.context,
            )
        )
        stack.callback(parts.draining.set)
        by_name = {name: task.task for name, task in tasks.items()}
        await stack.enter_async_context(recorded_start(parts.audit_journal, " ".join(sorted(roles))))
        yield Running(settings, url, by_name | {"http": http}, app, functools.partial(_reload, parts, tls))


async def check(settings: Settings, store_url: str, server: EmbeddedServer | None) -> None:
    """Raises what `running` would raise for topics, mappings, clients or the store, and takes over what
    processes that ended held in the embedded store; starts nothing.
    """
    load_catalog(settings)
    load_clients(settings)
    load_outbound_rules(settings)
    load_write_targets(settings)
    check_mappings(settings)
    listener_tls(settings)
    load_issuers(settings)
    check_traces(settings)
    async with open_store(settings, store_url) as store, joined(settings, store, server):
        await open_key_ring(settings, store)


async def _reload(parts: Parts, tls: ListenerTls | None) -> None:
    if tls is not None:
        tls.reload()
    await parts.topics.announce_folders()
    await parts.client_changes.announce()
    detail = "topics, profiles, clients and certificates are read again"
    entry = AuditEntry(AuditAction.ADMINISTER, detail=detail)
    await parts.audit_journal.record(DEFAULT_TENANT, entry)


@dataclass(frozen=True, slots=True)
class _Intakes:
    """What takes changes and readings in, the loops that feed it, and the states of what they depend on."""

    intake: Intake
    readings: Readings
    search: SearchParts
    group_commit: SupervisedTask
    loops: Mapping[str, _Loop]
    states: dict[str, Callable[[], str]]


async def _open_intakes(
    stack: contextlib.AsyncExitStack,
    parts: Parts,
    roles: frozenset[Role],
    mapper: Callable[[], PayloadMapper] | None,
) -> _Intakes:
    search = await open_search(parts)
    throttle = build_throttle(parts, roles)
    group = GroupCommit(parts.changes.append, throttle)
    group_commit = await stack.enter_async_context(_committing(group))
    loops: dict[str, _Loop] = {"search indexes": lambda: build_search_builder(parts, search).run()}
    mapper = mapper or watched_mappings(parts.settings, parts.stop, loops)
    intake, readings = build_intakes(parts, group, mapper, search.index)
    loops |= intake_loops(parts, intake, readings, roles)
    loops |= profile_loops(parts, roles)
    if Role.API in roles:
        loops["exports"] = lambda: build_export_checker(parts, search).run()
        loops["dead letter runs"] = lambda: build_dead_letter_runner(parts, readings).run()
    loops["throttle"] = lambda: throttle.follow(parts.stop)
    if Role.MQTT not in roles:
        return _Intakes(intake, readings, search, group_commit, loops, {})
    # other roles do without its library
    from broker.app.mqtt import build_mqtt_source  # noqa: PLC0415

    source = build_mqtt_source(parts, readings.intake)
    loops["mqtt"] = source.run
    return _Intakes(intake, readings, search, group_commit, loops, {"mqtt server": source.state})


async def _open_app(
    stack: contextlib.AsyncExitStack,
    parts: Parts,
    topic_sync: TopicSync,
    intakes: _Intakes | None,
    health: Health,
    authenticate: Authenticate,
    mounts: Sequence[HttpRoute],
) -> ASGIApp:
    """What the HTTP server serves; without `intakes` it has no API."""
    failures = LoginFailures(parts.audit_journal)
    login = LoginAudit(authenticate, failures)
    if intakes is None:
        return build_health_app(health, login)
    services = build_services(parts, intakes.intake, topic_sync, intakes.readings, intakes.search)
    issuer = await stack.enter_async_context(open_issuer_logins(parts))
    console = build_console_rows(parts, services, intakes.intake, intakes.readings, health, failures, issuer)
    return build_api_app(parts, services, intakes.readings, health, login, [*mounts, *console])


def _worker_loops(
    parts: Parts, topic_sync: TopicSync, matcher: MatcherLoop, roles: frozenset[Role]
) -> dict[str, _Loop]:
    """The loops by name. Those that hold state build a new worker each time, so that a restart begins with
    none.
    """
    loops: dict[str, _Loop] = {"topics": lambda: topic_sync.run(parts.stop)}
    if parts.settings.auth == "smart":
        loops["clients"] = lambda: build_client_reload(parts).run(parts.stop)
    if parts.settings.audit:
        loops["audit chainer"] = AuditChainer(parts.audit_trail, parts.audit_journal, parts.stop).run
    if roles & {Role.API, Role.DISPATCH}:
        loops["wakeups"] = lambda: parts.wakeups.run(parts.stop)
    if roles & {Role.MATCH, Role.DISPATCH}:
        loops["lag reporter"] = lambda: build_lag_reporter(parts, roles).run()
    if Role.MATCH in roles:
        loops["matcher"] = matcher.run
        if parts.settings.auth == "smart":
            loops["access review"] = lambda: build_access_review(parts).run(parts.stop)
        loops["housekeeper"] = lambda: build_housekeeper(parts).run()
        if parts.settings.metrics_top:
            loops["backlogs"] = lambda: build_backlog_sampler(parts).run()
    if Role.DISPATCH in roles:
        loops["dispatcher"] = lambda: build_dispatcher(parts).run()
    return loops


@contextlib.asynccontextmanager
async def _supervised(
    loops: Mapping[str, _Loop], stop: asyncio.Event
) -> AsyncIterator[dict[str, SupervisedTask]]:
    tasks = {name: SupervisedTask(name, loop, stop) for name, loop in loops.items()}
    try:
        yield tasks
    finally:
        stop.set()
        await asyncio.wait([task.task for task in tasks.values()])


@contextlib.asynccontextmanager
async def _committing(group: GroupCommit) -> AsyncIterator[SupervisedTask]:
    """The group commit has a stop event of its own: it ends after all who submit to it."""
    closed = asyncio.Event()
    task = SupervisedTask("group commit", group.run, closed)
    try:
        yield task
    finally:
        closed.set()
        group.close()
        await asyncio.wait([task.task])
