"""The composition root: the only module that builds everything. A process runs one or more roles; each may run many times.

`running` starts what the roles need and, on the way out, drains it: no request is taken any more, what was accepted is written,
what is under way is delivered or given back.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from broker.api.health import Health
from broker.api.responses import FhirBases
from broker.api.routes import HEALTH, ROUTES, interact
from broker.api.services import Services
from broker.channels.base import Channel
from broker.channels.registry import channels
from broker.clock import SystemClock
from broker.delivery.composing import Composer
from broker.delivery.engine import LEASE_MS, Engine
from broker.delivery.following import Following
from broker.delivery.policy import RetryPolicy
from broker.delivery.wakeups import WakeupListener
from broker.egress.addresses import Allowance
from broker.egress.client import EgressClient
from broker.egress.smtp import Mailer, relay_of
from broker.errors import ConfigurationError
from broker.fhir import validation
from broker.fhir.conversion import convert
from broker.fhir.documents import split
from broker.fhir.parameters import Parameters
from broker.fhir.release import adapter
from broker.fhir.topics import parse_topic
from broker.ingest.group import GroupCommit
from broker.ingest.inbox import InboxIntake
from broker.ingest.intake import Intake
from broker.matching.catalog import Catalog
from broker.matching.index import IndexedMatcher
from broker.matching.registration import check_filters
from broker.matching.shapes import Referring
from broker.model.notification import Notification
from broker.model.release import Release
from broker.model.subscription import Subscription
from broker.model.topic import Topic
from broker.settings import Settings
from broker.store.changes import Changes
from broker.store.cluster import store_at
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.dead_letters import DeadLetters
from broker.store.embedded import EmbeddedServer
from broker.store.inbox import Inbox
from broker.store.keys import Layout
from broker.store.outbox import Outboxes
from broker.store.resources import Resources
from broker.store.retention import Limits, Retention
from broker.store.rollback import RollbackDetector
from broker.store.schedule import Schedule
from broker.store.server import Server
from broker.store.subscriptions import RegistryFollower, Subscriptions
from broker.store.tokens import Tokens
from broker.store.topics import Topics
from broker.tasks import SupervisedTask
from broker.workers.dispatcher import Dispatcher
from broker.workers.housekeeper import EVERY, Housekeeper
from broker.workers.inbox import InboxWorker
from broker.workers.includes import IncludeResolver
from broker.workers.matcher import MatcherWorker
from broker.workers.topic_sync import Rules, TopicSync

_OFTEN = ("Observation", "Subscription")
"""Resource types whose models are loaded before the first request, so that it doesn't wait for them."""


class Role(StrEnum):
    """What a process does."""

    API = "api"
    MATCH = "match"
    DISPATCH = "dispatch"


ALL_ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Running:
    """A broker that has started. `settings` are those given, with the port and base URL it really has."""

    settings: Settings
    store_url: str
    tasks: Mapping[str, "asyncio.Task[None]"]
    reload_topics: Callable[[], Awaitable[None]]
    """Has every process on the same store read its topics folder again."""


class _HttpServer(uvicorn.Server):
    """Uvicorn without signal handling: the process decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(settings: Settings) -> socket.socket:
    """The listening socket; raises `ConfigurationError` if the address can't be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # connections inherit it; without it an answer waits for the client's delayed acknowledgment, 40 ms
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"BROKER_HOST={settings.host} BROKER_PORT={settings.port}: {error.strerror}; take another port or stop what listens there"
        ) from error
    listening.listen(2048)
    listening.setblocking(False)
    return listening


def placed(settings: Settings, listening: socket.socket) -> Settings:
    """The settings with the port that was really bound."""
    port = listening.getsockname()[1]
    return replace(
        settings,
        port=port,
        base_url=settings.base_url.removesuffix(":0") + ("" if settings.port else f":{port}"),
    )


@contextlib.asynccontextmanager
async def running(
    settings: Settings, roles: frozenset[Role] = ALL_ROLES, *, listening: socket.socket | None = None
) -> AsyncIterator[Running]:
    """Starts the roles; ready when it is entered. Raises `ConfigurationError` for what the operator has to mend."""
    if Role.API in roles:
        settings.refuse_open()
    catalog = _catalog(settings)
    async with contextlib.AsyncExitStack() as stack:
        listening = listening or bind(settings)
        stack.callback(listening.close)
        settings = placed(settings, listening)
        url = settings.redis_url or stack.enter_context(embedded_store(settings))
        server = await stack.enter_async_context(_opened(settings, url))
        egress = await stack.enter_async_context(EgressClient(Allowance(settings.egress_allow)))
        mailer = Mailer(relay_of(settings.smtp_url, settings.smtp_from)) if settings.smtp_url else None
        parts = _Parts(settings, server, catalog, channels(egress, mailer, settings.base_url), roles)
        await parts.changes.prepare()
        await parts.inbox.prepare()
        await parts.topic_sync.sync()
        tasks = await stack.enter_async_context(_started(parts, roles, listening))
        yield Running(settings, url, tasks, parts.topics.announce_folder)


async def check(settings: Settings, store_url: str) -> None:
    """Raises `ConfigurationError` for topics or a store that `running` would refuse; starts nothing."""
    _catalog(settings)
    async with _opened(settings, store_url):
        pass


def _catalog(settings: Settings) -> Catalog:
    catalog = Catalog(parse_topic, Parameters())
    catalog.load(settings.topics_dir)
    return catalog


@contextlib.asynccontextmanager
async def _opened(settings: Settings, store_url: str) -> AsyncIterator[Server]:
    layout = Layout(settings.partitions, settings.shards)
    server = store_at(store_url, layout, durability=settings.durability, replicas=settings.replicas)
    try:
        await server.open(allow_unsafe=settings.allow_unsafe_store)
        yield server
    finally:
        await server.close()


@contextlib.contextmanager
def embedded_store(settings: Settings) -> Iterator[str]:
    """The embedded server's URL; the server is kept running, and started again if it dies."""
    embedded = EmbeddedServer(settings.data_dir, durability=settings.durability)
    embedded.start()
    embedded.keep()
    try:
        yield embedded.url
    finally:
        embedded.stop()


class _Parts:
    """The objects the roles are made of."""

    def __init__(
        self,
        settings: Settings,
        server: Server,
        catalog: Catalog,
        by_code: Mapping[str, Channel],
        roles: frozenset[Role],
    ) -> None:
        self.retention_ms = int(settings.retention.total_seconds() * 1000)
        self.settings = settings
        self.server = server
        self.catalog = catalog
        self.channels = by_code
        self.clock = SystemClock()
        self.stop = asyncio.Event()
        # an event waits no longer than the retention, and the next sweep after it: its resource must still be there
        versions_ms = self.retention_ms + 2 * _ms(EVERY.total_seconds())
        self.changes = Changes(server, keep_ms=versions_ms, most=settings.max_changes)
        self.resources = Resources(server)
        self.subscriptions = Subscriptions(server)
        self.inbox = Inbox(server)
        self.schedule = Schedule(
            server, lease_ms=LEASE_MS, max_bytes=settings.max_notification, resume=settings.resume
        )
        self.dead_letters = DeadLetters(server)
        self.topics = Topics(server)
        self.group = GroupCommit(self.changes.append)
        self.bases = frozenset(f"{settings.base_url}/{release}" for release in Release)
        self.referring = Referring(Parameters(), self.bases)
        self.intake = Intake(self.changes, self.resources, self.group, self.referring.references)
        self.composer = Composer(
            self.resources,
            lambda kind, source, body, release: convert(body, kind, source, release),
            lambda canonical: topic.related if (topic := catalog.bound(canonical)) else (),
        )
        self.wakeups = WakeupListener(self.schedule)
        self.topic_sync = TopicSync(
            catalog,
            self.topics,
            self.subscriptions,
            settings.topics_dir,
            Rules(
                parse_topic, lambda body, one: split(body, type="SubscriptionTopic", id=one), self._objection
            ),
            tell=lambda: self.referring.follow(catalog.all()),
            validates=Role.MATCH in roles,
        )
        self.health = Health(
            server, self.changes, self.subscriptions, self.dead_letters, takes_changes=Role.API in roles
        )

    def _objection(self, subscription: Subscription, topic: Topic) -> str | None:
        """What a topic no longer allows of a subscription it allowed before."""
        issues = check_filters(
            subscription, topic, Parameters(), base_urls=self.bases, value_sets=self.catalog.value_sets
        )
        return "; ".join(issue.text for issue in issues) or None

    def services(self) -> Services:
        return Services(
            settings=self.settings,
            clock=self.clock,
            server=self.server,
            intake=self.intake,
            changes=self.changes,
            resources=self.resources,
            subscriptions=self.subscriptions,
            outboxes=Outboxes(self.server),
            schedule=self.schedule,
            dead_letters=self.dead_letters,
            dead_letter_actions=DeadLetterActions(self.server, keep_ms=self.retention_ms),
            catalog=self.catalog,
            topics=self.topics,
            follow_topics=self.topic_sync.sync,
            parameters=Parameters(),
            channels=self.channels,
            tokens=Tokens(self.server),
            composer=self.composer,
            following=Following(
                self.subscriptions, Outboxes(self.server), self.composer, self.wakeups, self.clock
            ),
            started_ms=self.clock.now_ms(),
        )

    def matcher(self) -> MatcherWorker:
        matcher = IndexedMatcher(Parameters(), self.bases, self.catalog.value_sets)
        includes = IncludeResolver(self.catalog, Parameters(), self.resources, self.bases)
        rollback_detector = RollbackDetector(self.server, self.settings.high_water_path)
        return MatcherWorker(
            self.server,
            self.changes,
            Outboxes(self.server, most=self.settings.max_outbox, rollback_detector=rollback_detector),
            rollback_detector,
            self.catalog,
            matcher,
            includes,
            self.topic_sync,
            self.stop,
        )

    def dispatcher(self) -> Dispatcher:
        settings = self.settings

        def render(notification: Notification) -> bytes:
            base = f"{settings.base_url}/{notification.release}"
            return adapter(notification.release).render_notification(notification, base=base)

        engine = Engine(
            schedule=self.schedule,
            subscriptions=self.subscriptions,
            composer=self.composer,
            channels=self.channels,
            render=render,
            policy=RetryPolicy(
                base_ms=_ms(settings.retry_base.total_seconds()),
                max_ms=_ms(settings.retry_max.total_seconds()),
                budget_ms=_ms(settings.retry_budget.total_seconds()),
            ),
            clock=self.clock,
            max_timeout_s=settings.max_timeout.total_seconds(),
        )
        return Dispatcher(self.schedule, engine, self.wakeups, self.stop, drain=settings.drain)

    def inbox_worker(self) -> InboxWorker:
        return InboxWorker(self.server, self.inbox, InboxIntake(self.intake), self.stop)

    def housekeeper(self) -> Housekeeper:
        settings = self.settings
        limits = Limits(
            keep_ms=_ms(settings.retention.total_seconds()),
            changes=settings.max_changes,
            refused=settings.max_refused,
            dead_letters=settings.max_dead_letters,
        )
        return Housekeeper(Retention(self.server, limits), RegistryFollower(self.server), self.stop)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


@contextlib.asynccontextmanager
async def _started(
    parts: _Parts, roles: frozenset[Role], listening: socket.socket
) -> AsyncIterator[Mapping[str, "asyncio.Task[None]"]]:
    loops: dict[str, Callable[[], Awaitable[None]]] = {}
    if Role.API in roles:
        validation.prepare(Release.R4, _OFTEN)
        validation.prepare(Release.R5, _OFTEN)
        loops["inbox"] = lambda: parts.inbox_worker().run()
    if roles & {Role.API, Role.DISPATCH}:
        loops["wakeups"] = lambda: parts.wakeups.run(parts.stop)
    loops["topics"] = lambda: parts.topic_sync.run(parts.stop)
    if Role.MATCH in roles:
        loops["matcher"] = lambda: parts.matcher().run()
        loops["housekeeper"] = lambda: parts.housekeeper().run()
    if Role.DISPATCH in roles:
        loops["dispatcher"] = lambda: parts.dispatcher().run()
    committing = asyncio.create_task(parts.group.run(), name="group commit")
    kept = {name: SupervisedTask(name, loop, parts.stop) for name, loop in loops.items()}
    tasks = {name: one.task for name, one in kept.items()}
    parts.health.workers = {name: one.state for name, one in kept.items()}
    http = _HttpServer(_http_config(parts, roles))
    serving = asyncio.create_task(http.serve(sockets=[listening]), name="http")
    try:
        while not http.started:
            if serving.done():
                raise ConfigurationError("the HTTP server did not start") from serving.exception()
            await asyncio.sleep(0.005)
        yield tasks | {"http": serving}
    finally:
        http.should_exit = True
        await asyncio.wait([serving])
        parts.stop.set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        parts.group.close()
        await asyncio.gather(committing, return_exceptions=True)


def _http_config(parts: _Parts, roles: frozenset[Role]) -> uvicorn.Config:
    beside = Starlette(routes=ROUTES if Role.API in roles else HEALTH)
    beside.state.health = parts.health
    app: ASGIApp = beside
    if Role.API in roles:
        beside.state.services = parts.services()
        app = FhirBases(beside.state.services, interact, beside)
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio" if Role.API in roles else "none",
        ws_max_size=65_536,
        # longer than the pauses of a device gateway: its next reading needs no new connection
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(parts.settings.drain.total_seconds())),
    )
