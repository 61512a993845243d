"""Builds what looks after the data of the store in every process with the role `match`: the housekeeper, and
the sampler of backlogs.
"""

from collections.abc import Awaitable, Callable, Mapping

from broker.app.parts import Parts, milliseconds
from broker.store.attempts import AttemptAges
from broker.store.backlogs import BacklogSample
from broker.store.memory_sample import MemorySample
from broker.store.registry import RegistryFollower
from broker.store.retention import Limits, Retention
from broker.workers.audit_upkeep import AuditTrimmer
from broker.workers.backlog_sampler import BacklogSampler
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
        _trimmers(parts),
    )


def build_backlog_sampler(parts: Parts) -> BacklogSampler:
    return BacklogSampler(BacklogSample(parts.store, parts.settings.metrics_top), parts.stop)


def _trimmers(parts: Parts) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """The jobs that trim the logs of attempts, and audit trails unless they are kept forever."""
    settings = parts.settings
    ages = AttemptAges(
        milliseconds(settings.attempt_retention),
        milliseconds(settings.failed_attempt_retention),
        milliseconds(settings.retention),
    )
    jobs: dict[str, Callable[[], Awaitable[None]]] = {"attempts": lambda: parts.attempts.trim(ages)}
    if settings.audit_retention is not None:
        keep_ms = milliseconds(settings.audit_retention)
        trimmer = AuditTrimmer(parts.audit_trail, parts.audit_journal, parts.clock, keep_ms)
        jobs["audit"] = trimmer.trim
    return jobs
