"""What a process records in the audit trail about itself, and the retention of the trails."""

import contextlib
from collections.abc import AsyncIterator

import structlog

from broker.clock import Clock
from broker.errors import StoreUnavailable
from broker.model.audit import AuditAction, AuditEntry
from broker.model.change import DEFAULT_TENANT
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def recorded_start(journal: AuditJournal, roles: str) -> AsyncIterator[None]:
    """The start of a process, and its stop on the way out. They concern all tenants: the default trail."""
    await journal.record(DEFAULT_TENANT, AuditEntry(AuditAction.START, detail=roles))
    try:
        yield
    finally:
        try:
            await journal.record(DEFAULT_TENANT, AuditEntry(AuditAction.STOP, detail=roles))
        except StoreUnavailable as error:
            metrics.store_errors.inc()
            _log.warning("the stop is not in the audit trail", error=str(error))


class AuditTrimmer:
    """Removes entries older than `keep_ms` from every trail. The housekeeper calls `trim`."""

    def __init__(self, trail: AuditTrail, journal: AuditJournal, clock: Clock, keep_ms: int) -> None:
        self._trail = trail
        self._journal = journal
        self._clock = clock
        self._keep_ms = keep_ms

    async def trim(self) -> None:
        """What it removes, it records: the entry names the last one that is gone."""
        for tenant in await self._trail.tenants():
            last = await self._trail.trim(tenant, self._clock.now_ms() - self._keep_ms)
            if last:
                entry = AuditEntry(AuditAction.TRIM, detail=f"entries up to {last}")
                await self._journal.record(tenant, entry)
