"""Builds the worker of the role `dispatch`."""

from broker.app.parts import Parts, milliseconds
from broker.delivery.engine import Engine
from broker.delivery.policy import RetryPolicy
from broker.fhir.release import adapter
from broker.model.notification import Notification
from broker.workers.dispatcher import Dispatcher


def build_dispatcher(parts: Parts) -> Dispatcher:
    """A dispatcher with no claims."""
    settings = parts.settings

    def render(notification: Notification) -> bytes:
        base = f"{settings.base_url}/{notification.release}"
        return adapter(notification.release).render_notification(notification, base=base)

    engine = Engine(
        schedule=parts.schedule,
        subscriptions=parts.subscriptions,
        composer=parts.composer,
        channels=parts.channels,
        render=render,
        policy=RetryPolicy(
            base_ms=milliseconds(settings.retry_base),
            max_ms=milliseconds(settings.retry_max),
            budget_ms=milliseconds(settings.retry_budget),
        ),
        clock=parts.clock,
        max_timeout_s=settings.max_timeout.total_seconds(),
    )
    return Dispatcher(parts.schedule, engine, parts.wakeups, parts.stop, drain=settings.drain)
