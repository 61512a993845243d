"""The parts that several roles share: each is built once, when the first role asks for it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from broker.app.channels import allowed_networks
from broker.channels.base import Channel
from broker.clock import Clock, SystemClock
from broker.delivery.attempt_log import AttemptLog
from broker.delivery.cached_clients import CachedClients
from broker.delivery.composing import Composer
from broker.delivery.owner_access import DeliveryAccess, OpenAccess, OwnerAccess
from broker.delivery.wakeups import WakeupListener
from broker.egress.addresses import Allowance, check_url
from broker.egress.documents import DocumentClient
from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.fhirpath import compile_invariant
from broker.matching.shapes import ReverseReferences
from broker.model.release import Release
from broker.profiles.catalog import ProfileCatalog, ProfileHolder
from broker.security.client_directory import ClientDirectory
from broker.security.issuers import IssuerFile
from broker.security.subscription_secrets import SubscriptionSecrets
from broker.services.access_tokens import TokenAuthenticator
from broker.services.client_limits import ClientLimits
from broker.services.clients import ClientService
from broker.services.tour import TourStage
from broker.settings import Settings
from broker.store.access_tokens import AccessTokens
from broker.store.attempt_records import AttemptLimits
from broker.store.attempts import Attempts
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.store.awaited import Awaited
from broker.store.bodies import Bodies
from broker.store.change_log import ChangeLog
from broker.store.changes import Changes
from broker.store.client_changes import ClientChanges
from broker.store.counters import Counters
from broker.store.dead_letters import DeadLetters
from broker.store.inbox import Inbox
from broker.store.protocol import Store
from broker.store.quarantine import Quarantine
from broker.store.registered_clients import RegisteredClients
from broker.store.resources import Resources
from broker.store.schedule import Schedule
from broker.store.sealing_keys import SealingKeys
from broker.store.subscriptions import Subscriptions
from broker.store.topics import Topics
from broker.telemetry import tracing
from broker.telemetry.lag import DispatcherLag, MatcherLag
from broker.telemetry.tracing import Tracer
from broker.workers.dispatcher import LEASE_MS


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds of a setting."""
    return round(duration.total_seconds() * 1000)


@dataclass
class Parts:
    """What the builders of the roles take their arguments from.

    More attributes than other classes may have: it has one for each shared part and no behaviour.
    """

    settings: Settings
    store: Store
    catalog: Catalog
    channels: Mapping[str, Channel]
    client_files: ClientDirectory
    issuers: IssuerFile
    secrets: SubscriptionSecrets
    documents: DocumentClient
    bodies: Bodies
    tour: TourStage | None = None
    """The stage of the console's guided tour, in a demo."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process stops: every supervised task then returns."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set before that, when the HTTP server is about to wait for its requests: streams for people end."""
    clock: Clock = field(default_factory=SystemClock)
    tracer: Tracer = tracing.OFF

    @cached_property
    def profiles(self) -> ProfileHolder:
        """Raises as `load_profiles`."""
        return ProfileHolder(self.load_profiles())

    def load_profiles(self) -> ProfileCatalog:
        """Raises `ConfigurationError` for a file of BROKER_PROFILES_DIR that cannot be read."""
        settings = self.settings
        return ProfileCatalog.load(
            settings.profiles_dir, compile_invariant, is_strict=settings.profile_strict
        )

    @cached_property
    def target_lag(self) -> timedelta:
        """Zero on a Cluster: the lags would compare the clocks of its nodes."""
        return timedelta() if self.store.append_channel else self.settings.target_lag

    @cached_property
    def matcher_lag(self) -> MatcherLag:
        return MatcherLag()

    @cached_property
    def dispatcher_lag(self) -> DispatcherLag:
        return DispatcherLag()

    @cached_property
    def base_urls(self) -> frozenset[str]:
        return frozenset(f"{self.settings.base_url}/{release}" for release in Release)

    @cached_property
    def client_changes(self) -> ClientChanges:
        return ClientChanges(self.store)

    @cached_property
    def clients(self) -> ClientService:
        allowance = Allowance(allowed_networks(self.settings))
        stored = RegisteredClients(self.store)
        return ClientService(
            self.client_files,
            stored,
            self.issuers,
            self.client_changes,
            lambda url: check_url(url, allowance),
            self.clock,
        )

    @cached_property
    def token_authenticator(self) -> TokenAuthenticator:
        return TokenAuthenticator(AccessTokens(self.store), self.clients, self.clock)

    @cached_property
    def client_limits(self) -> ClientLimits:
        return ClientLimits(
            request_rate=self.settings.request_rate,
            max_connections=self.settings.max_connections,
            limits_open=self.settings.limit_open,
        )

    @cached_property
    def changes(self) -> Changes:
        keep_ms = milliseconds(self.settings.retention)
        return Changes(self.store, keep_ms=keep_ms, max_changes=self.settings.max_changes, bodies=self.bodies)

    @cached_property
    def change_log(self) -> ChangeLog:
        return ChangeLog(self.store, max_changes=self.settings.max_changes, bodies=self.bodies)

    @cached_property
    def audit_journal(self) -> AuditJournal:
        return AuditJournal(self.store, is_on=self.settings.audit)

    @cached_property
    def audit_trail(self) -> AuditTrail:
        return AuditTrail(self.store)

    @cached_property
    def counters(self) -> Counters:
        return Counters(self.store)

    @cached_property
    def resources(self) -> Resources:
        return Resources(self.store, self.bodies)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        return Subscriptions(self.store, keep_deleted_ms=milliseconds(self.settings.retention))

    @cached_property
    def sealing_keys(self) -> SealingKeys:
        return SealingKeys(self.store)

    @cached_property
    def inbox(self) -> Inbox:
        return Inbox(self.store)

    @cached_property
    def topics(self) -> Topics:
        return Topics(self.store)

    @cached_property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.store, keep_ms=milliseconds(self.settings.retention), bodies=self.bodies)

    @cached_property
    def awaited(self) -> Awaited:
        return Awaited(self.store)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        return DeadLetters(self.store, self.bodies)

    @cached_property
    def schedule(self) -> Schedule:
        return Schedule(
            self.store,
            lease_ms=LEASE_MS,
            max_bytes=self.settings.max_notification,
            resume=self.settings.resume,
            bodies=self.bodies,
            attempts=self.attempt_limits,
        )

    @cached_property
    def attempt_limits(self) -> AttemptLimits:
        settings = self.settings
        has_texts = int(settings.attempt_bodies != "off")
        return AttemptLimits(settings.max_attempts, settings.max_failed_attempts, has_texts)

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self.store, self.attempt_limits, self.bodies)

    @cached_property
    def attempt_log(self) -> AttemptLog:
        settings = self.settings
        return AttemptLog(
            self.attempts,
            self.bodies,
            self.clock,
            is_on=settings.attempt_log,
            texts=settings.attempt_bodies,
        )

    @cached_property
    def search_context(self) -> SearchContext:
        return self.catalog.search_context(self.base_urls)

    @cached_property
    def reverse_references(self) -> ReverseReferences:
        return ReverseReferences(self.search_context)

    @cached_property
    def wakeups(self) -> WakeupListener:
        return WakeupListener(self.schedule)

    @cached_property
    def cached_clients(self) -> CachedClients:
        return CachedClients(self.clients)

    @cached_property
    def access(self) -> DeliveryAccess:
        """What the owners of subscriptions may see."""
        if self.settings.auth == "off":
            return OpenAccess()
        return OwnerAccess(
            self.cached_clients, self.subscriptions, self.resources, self.catalog, self.search_context
        )

    @cached_property
    def composer(self) -> Composer:
        return Composer(self.resources, self.catalog)
