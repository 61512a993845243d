"""Builds the role `api`: the FHIR interface over HTTP, the worker of the inbox stream, and the intake that
both share.
"""

from starlette.applications import Starlette
from starlette.types import ASGIApp

from broker.api.health import Health
from broker.api.responses import FhirBases
from broker.api.routes import HEALTH, ROUTES, interact
from broker.api.services import Services
from broker.app.parts import Parts, milliseconds
from broker.delivery.following import Following
from broker.fhir import validation
from broker.ingest.group import GroupCommit
from broker.ingest.inbox import InboxIntake
from broker.ingest.intake import Intake
from broker.model.release import Release
from broker.store.dead_letter_actions import DeadLetterActions
from broker.store.outbox import Outboxes
from broker.store.tokens import Tokens
from broker.workers.inbox import InboxWorker
from broker.workers.topic_sync import TopicSync

_FREQUENT_TYPES = ("Observation", "Subscription")
"""Their models are loaded at start, so that the first request does not wait for them."""


def build_intake(parts: Parts, group: GroupCommit) -> Intake:
    return Intake(parts.changes, parts.resources, group, parts.reverse_references.references)


def build_inbox_worker(parts: Parts, intake: Intake) -> InboxWorker:
    return InboxWorker(parts.store, parts.inbox, InboxIntake(intake), parts.stop)


def build_services(parts: Parts, intake: Intake, topic_sync: TopicSync) -> Services:
    outboxes = Outboxes(parts.store)
    return Services(
        settings=parts.settings,
        clock=parts.clock,
        store=parts.store,
        intake=intake,
        changes=parts.changes,
        resources=parts.resources,
        subscriptions=parts.subscriptions,
        outboxes=outboxes,
        schedule=parts.schedule,
        dead_letters=parts.dead_letters,
        dead_letter_actions=DeadLetterActions(parts.store, keep_ms=milliseconds(parts.settings.retention)),
        catalog=parts.catalog,
        topics=parts.topics,
        follow_topics=topic_sync.sync,
        parameters=parts.parameters,
        channels=parts.channels,
        tokens=Tokens(parts.store),
        composer=parts.composer,
        following=Following(parts.subscriptions, outboxes, parts.composer, parts.wakeups, parts.clock),
        started_ms=parts.clock.now_ms(),
    )


def build_api_app(services: Services, health: Health) -> ASGIApp:
    """The ASGI application: the FHIR bases, and beside them the websocket endpoint and the health pages."""
    for release in (Release.R4, Release.R5):
        validation.prepare(release, _FREQUENT_TYPES)
    other_routes = Starlette(routes=ROUTES)
    other_routes.state.health = health
    other_routes.state.services = services
    return FhirBases(services, interact, other_routes)


def build_health_app(health: Health) -> ASGIApp:
    """The ASGI application of a process without the role `api`: its health pages alone."""
    app = Starlette(routes=HEALTH)
    app.state.health = health
    return app
