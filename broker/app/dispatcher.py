"""Builds the worker of the role `dispatch`."""

from broker.app.parts import Parts, milliseconds
from broker.delivery.building import NotificationBuilder
from broker.delivery.engine import DeliveryEngine
from broker.delivery.handshake_pace import HandshakePace
from broker.delivery.policy import RetryPolicy
from broker.delivery.rendering import NotificationRenderer
from broker.delivery.subscription_cache import SubscriptionCache
from broker.workers.dispatcher import Dispatcher


def build_dispatcher(parts: Parts) -> Dispatcher:
    """A dispatcher with no claims."""
    settings = parts.settings
    engine = DeliveryEngine(
        schedule=parts.schedule,
        subscriptions=SubscriptionCache(parts.subscriptions, parts.secrets),
        builder=NotificationBuilder(parts.composer, NotificationRenderer(settings.base_url)),
        channels=parts.channels,
        policy=RetryPolicy(
            base_ms=milliseconds(settings.retry_base),
            max_ms=milliseconds(settings.retry_max),
            budget_ms=milliseconds(settings.retry_budget),
            handshake_grace_ms=milliseconds(settings.handshake_grace),
        ),
        clock=parts.clock,
        lag=parts.dispatcher_lag,
        handshake_pace=HandshakePace(settings.handshakes_per_host),
        stop=parts.stop,
        max_timeout_s=settings.max_timeout.total_seconds(),
        access=parts.access,
        log=parts.attempt_log,
        audit=parts.audit_journal,
        tracer=parts.tracer,
    )
    return Dispatcher(parts.schedule, engine, parts.wakeups, parts.stop, drain=settings.drain)
