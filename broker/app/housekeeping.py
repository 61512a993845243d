"""Builds the housekeeper: retention, which runs in every process with the role `match`."""

from collections.abc import Awaitable, Callable, Mapping

from broker.app.parts import Parts, milliseconds
from broker.store.memory_sample import MemorySample
from broker.store.registry import RegistryFollower
from broker.store.retention import Limits, Retention
from broker.workers.audit_upkeep import AuditTrimmer
from broker.workers.housekeeper import Housekeeper, interval_of


def build_housekeeper(parts: Parts) -> Housekeeper:
    settings = parts.settings
    limits = Limits(
        keep_ms=milliseconds(settings.retention),
        types={name: milliseconds(kept) for name, kept in settings.kept_types.items()},
        refused=settings.max_refused,
        dead_letters=settings.max_dead_letters,
        quarantined=settings.max_quarantined,
    )
    registry = RegistryFollower(parts.store)
    return Housekeeper(
        Retention(parts.store, limits),
        registry,
        MemorySample(parts.store),
        interval_of(settings.retention),
        parts.stop,
        _trimmer(parts),
    )


def _trimmer(parts: Parts) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """The job that trims audit trails; none if they are kept forever."""
    retention = parts.settings.audit_retention
    if retention is None:
        return {}
    trimmer = AuditTrimmer(parts.audit_trail, parts.audit_journal, parts.clock, milliseconds(retention))
    return {"audit": trimmer.trim}
