"""Builds the housekeeper: retention, which runs in every process with the role `match`."""

from broker.app.parts import Parts, milliseconds
from broker.store.registry import RegistryFollower
from broker.store.retention import Limits, Retention
from broker.workers.housekeeper import Housekeeper


def build_housekeeper(parts: Parts) -> Housekeeper:
    settings = parts.settings
    limits = Limits(
        keep_ms=milliseconds(settings.retention),
        changes=settings.max_changes,
        refused=settings.max_refused,
        dead_letters=settings.max_dead_letters,
    )
    return Housekeeper(Retention(parts.store, limits), RegistryFollower(parts.store), parts.stop)
