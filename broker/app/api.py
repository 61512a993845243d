"""Builds the role `api`: the FHIR interface over HTTP, the worker of the inbox stream, and the intake that
both share.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from broker.api.asgi import Application
from broker.api.auditing import Auditor
from broker.api.clients import ClientParts
from broker.api.cors import allow_origins
from broker.api.handlers import handlers
from broker.api.interactions import interaction_table
from broker.api.jwks import KeySets
from broker.api.local_requests import LocalRequests
from broker.api.login_audit import LoginAudit
from broker.api.metadata import ServerFacts
from broker.api.request_log import RequestLog
from broker.api.routes import HEALTH, OAUTH, ROUTES, HttpRoute, build_routes_app
from broker.api.websockets import WebsocketParts
from broker.app.access import build_oauth
from broker.app.dead_letters import build_dead_letters
from broker.app.parts import Parts, milliseconds
from broker.app.profiles import build_intake_validator, build_validator
from broker.app.readings import Readings, build_reading_parts, build_readings, build_redrive_worker
from broker.app.roles import Role
from broker.app.search import SearchParts, build_exports, build_indexed_types, build_resource_search
from broker.delivery.following import Following
from broker.delivery.rendering import NotificationRenderer
from broker.fhir.device_associations import device_references
from broker.fhir.device_context import context_elements, context_references
from broker.fhir.validation import prepare
from broker.ingest.conditions import Conditions
from broker.ingest.fhir_decoder import FhirDecoder
from broker.ingest.group import GroupCommit
from broker.ingest.inbox import InboxIntake
from broker.ingest.intake import Intake
from broker.ingest.readings.written import WrittenResources
from broker.mapping.reading import PayloadMapper
from broker.matching.restrictions import Restrictions
from broker.matching.search_index import SearchIndex
from broker.model.release import Release
from broker.security.broker_keys import BrokerKeys
from broker.services.adoption import AdoptionService
from broker.services.application import ApplicationServices
from broker.services.attempts import AttemptService
from broker.services.audit import AuditService
from broker.services.business_events import BusinessEventService
from broker.services.changes import ChangeService
from broker.services.conditional_subscriptions import ConditionalSubscriptions
from broker.services.delivery_control import DeliveryControl
from broker.services.delivery_progress import DeliveryProgressReader
from broker.services.device_context import DeviceContextService
from broker.services.dry_run import DryRunService
from broker.services.ends import EndRule
from broker.services.events import EventService
from broker.services.explain import ExplainService
from broker.services.health import Health
from broker.services.history import HistoryService
from broker.services.last_observations import LastObservationsService
from broker.services.registration import RegistrationRules
from broker.services.signing_secrets import SigningSecretService
from broker.services.subscription_listing import SubscriptionListing
from broker.services.subscription_quota import SubscriptionQuota
from broker.services.subscriptions import SubscriptionService
from broker.services.topic_trial import TopicTrialService
from broker.services.topics import TopicService
from broker.services.type_history import TypeHistoryService
from broker.services.validation import ValidationService
from broker.services.websocket_tokens import WebsocketTokenService
from broker.settings import Settings
from broker.settings.consistency import is_loopback
from broker.store.id_claims import IdClaims
from broker.store.outbox import Outboxes
from broker.store.sealed_secrets import SealedSecrets
from broker.store.tokens import Tokens
from broker.workers.inbox import InboxWorker
from broker.workers.topic_sync import TopicSync

_FREQUENT_TYPES = ("Observation", "Subscription")


def build_intake(parts: Parts, group: GroupCommit, search: SearchIndex) -> Intake:
    return Intake(
        parts.changes,
        parts.resources,
        group,
        Conditions(parts.resources, IdClaims(parts.store)),
        build_intake_validator(parts),
        lambda release, resource_type, resource: (
            *parts.reverse_references.references(release, resource_type, resource),
            *device_references(resource_type, resource),
            *context_references(resource_type, resource),
        ),
        parts.audit_journal,
        WrittenResources(parts.awaited.announce).report,
        search.entries,
    )


def build_intakes(
    parts: Parts, group: GroupCommit, mapper: Callable[[], PayloadMapper], search: SearchIndex
) -> tuple[Intake, Readings]:
    """The ways in for changes and for readings."""
    intake = build_intake(parts, group, search)
    return intake, build_readings(parts, intake, mapper)


def intake_loops(
    parts: Parts, intake: Intake, readings: Readings, roles: frozenset[Role]
) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """The loops that feed the intake, by name. The inbox belongs to the role `api`."""

    def inbox() -> InboxWorker:
        inbox_intake = InboxIntake(intake, FhirDecoder(), readings.intake, parts.clock, parts.tracer)
        return InboxWorker(parts.store, parts.inbox, inbox_intake, parts.stop)

    loops: dict[str, Callable[[], Awaitable[None]]] = {
        "reading redrive": lambda: build_redrive_worker(parts, readings).run()
    }
    if Role.API in roles:
        loops["inbox"] = lambda: inbox().run()
    return loops


def build_services(
    parts: Parts, intake: Intake, topic_sync: TopicSync, readings: Readings, search: SearchParts
) -> ApplicationServices:
    catalog, base_url, outboxes = parts.catalog, parts.settings.base_url, Outboxes(parts.store)
    ends = EndRule(parts.clock, ignores_past_ends=parts.settings.past_end == "ignore")
    rules = RegistrationRules(catalog, parts.search_context, parts.channels, base_url, ends)
    subscriptions = SubscriptionService(
        parts.subscriptions,
        parts.schedule,
        rules,
        parts.secrets,
        parts.sealing_keys,
        _quota(parts),
        parts.audit_journal,
    )
    restrictions = Restrictions(parts.search_context)
    changes = ChangeService(intake, parts.resources, restrictions)
    dry_run = DryRunService(
        subscriptions, parts.change_log, parts.resources, catalog, parts.search_context, restrictions
    )
    topics = TopicService(catalog, parts.topics, parts.subscriptions, IdClaims(parts.store), topic_sync.sync)
    return ApplicationServices(
        audit=AuditService(parts.audit_trail),
        changes=changes,
        histories=HistoryService(parts.resources, restrictions),
        searches=build_resource_search(parts, search),
        exports=build_exports(parts, search),
        last_observations=LastObservationsService(
            build_indexed_types(parts, search), parts.resources, restrictions
        ),
        type_histories=TypeHistoryService(build_indexed_types(parts, search), restrictions),
        business_events=BusinessEventService(intake),
        subscriptions=subscriptions,
        listing=SubscriptionListing(parts.subscriptions, parts.schedule),
        conditional_subscriptions=ConditionalSubscriptions(subscriptions, IdClaims(parts.store)),
        events=EventService(
            subscriptions, outboxes, parts.schedule, parts.composer, rules, parts.clock, parts.access
        ),
        attempts=AttemptService(subscriptions, parts.attempts, outboxes, parts.access),
        delivery_control=DeliveryControl(
            subscriptions,
            parts.schedule,
            parts.composer,
            NotificationRenderer(base_url),
            parts.channels,
            parts.clock,
            parts.access,
            parts.secrets,
            parts.attempt_log,
            max_timeout_s=parts.settings.max_timeout.total_seconds(),
        ),
        signing_secrets=SigningSecretService(
            subscriptions,
            SealedSecrets(parts.store),
            parts.sealing_keys,
            parts.secrets,
            parts.channels,
            parts.clock,
            overlap_ms=milliseconds(parts.settings.secret_overlap),
        ),
        adoption=AdoptionService(subscriptions, parts.subscriptions, parts.clients, rules, _quota(parts)),
        explain=ExplainService(
            subscriptions,
            parts.resources,
            DeliveryProgressReader(parts.change_log, outboxes, parts.schedule),
            catalog,
            parts.search_context,
            parts.clock,
        ),
        dry_run=dry_run,
        topics=topics,
        topic_trials=TopicTrialService(topics, dry_run),
        dead_letters=build_dead_letters(parts, readings),
        websocket_tokens=WebsocketTokenService(subscriptions, Tokens(parts.store)),
        following=Following(
            parts.subscriptions,
            outboxes,
            parts.composer,
            parts.wakeups,
            parts.channels,
            parts.clock,
            parts.access,
            NotificationRenderer(base_url),
            parts.attempt_log,
            parts.audit_journal,
        ),
        device_contexts=DeviceContextService(
            changes,
            parts.resources,
            restrictions,
            parts.clock,
            context_elements(parts.settings.context_elements),
        ),
        validation=ValidationService(intake, build_validator(parts)),
    )


def _quota(parts: Parts) -> SubscriptionQuota:
    settings = parts.settings
    return SubscriptionQuota(
        parts.subscriptions,
        settings.max_subscriptions,
        settings.max_tenant_subscriptions,
        settings.limit_open,
    )


def build_api_app(
    parts: Parts,
    services: ApplicationServices,
    readings: Readings,
    health: Health,
    login: LoginAudit,
    mounts: Sequence[HttpRoute] = (),
) -> ASGIApp:
    """The ASGI application: the FHIR bases, websockets, health, metrics and `mounts`."""
    settings, clock = parts.settings, parts.clock
    is_smart = settings.auth == "smart"
    facts = ServerFacts(clock.now_ms(), list(parts.channels), is_smart)
    other = build_routes_app([*ROUTES, *(OAUTH if is_smart else ()), *mounts], login)
    other.state.oauth = build_oauth(parts, login) if is_smart else None
    other.state.key_sets = KeySets(BrokerKeys(settings.keys_dir), clock)
    other.state.clients = ClientParts(parts.clients, parts.audit_journal, settings.base_url)
    other.state.health = health
    limits = parts.client_limits
    other.state.websockets = WebsocketParts(
        services.websocket_tokens, services.following, clock, login, limits
    )
    other.state.readings = build_reading_parts(parts, readings, limits)
    fhir_handlers = handlers(services, facts, limits, max_entries=settings.max_entries)
    table = interaction_table(fhir_handlers, Auditor(parts.audit_journal))
    app = Application(
        table.dispatch,
        table.is_public,
        other,
        login,
        limits,
        base_url=settings.base_url,
        max_body_bytes=settings.max_body,
    )
    return RequestLog(_kept_local(allow_origins(app, settings.cors_origins), settings), parts.tracer)


def _kept_local(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application for this machine only, where nothing else protects it."""
    if settings.auth != "off" or settings.allow_open or not settings.is_loopback:
        return app
    own = urlsplit(settings.base_url).hostname
    return LocalRequests(
        app,
        lambda name: name == own or is_loopback(name) or name.endswith(".localhost"),
        settings.cors_origins,
    )


async def prepare_requests() -> None:
    """Loads the tables of frequent types, between other work, so that their first request does not wait for
    them. The commands call it when the process is ready.
    """
    for release in (Release.R4, Release.R5):
        for name in _FREQUENT_TYPES:
            prepare(release, [name])
            await asyncio.sleep(0)


def build_health_app(health: Health, login: LoginAudit) -> ASGIApp:
    """The ASGI application of a process without the role `api`: health and metrics alone."""
    app = build_routes_app(HEALTH, login)
    app.state.health = health
    return RequestLog(app)
