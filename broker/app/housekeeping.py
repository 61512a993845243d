"""Builds the housekeeper: retention, which runs in every process with the role `match`."""

from broker.app.parts import Parts, milliseconds
from broker.store.memory_sample import MemorySample
from broker.store.registry import RegistryFollower
from broker.store.retention import Limits, Retention
from broker.workers.housekeeper import Housekeeper, interval_of


def build_housekeeper(parts: Parts) -> Housekeeper:
    settings = parts.settings
    limits = Limits(
        keep_ms=milliseconds(settings.retention),
        types={name: milliseconds(kept) for name, kept in settings.kept_types.items()},
        refused=settings.max_refused,
        dead_letters=settings.max_dead_letters,
    )
    registry = RegistryFollower(parts.store)
    return Housekeeper(
        Retention(parts.store, limits),
        registry,
        MemorySample(parts.store),
        interval_of(settings.retention),
        parts.stop,
    )
