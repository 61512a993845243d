"""Moves audit entries from the journals into the chain, in every process that records any.

An entry that a killed process has left in a journal is chained when the next process starts, when any process
records for the tenant, or when the trail is read.
"""

import asyncio

import structlog

from broker.errors import StoreUnavailable
from broker.model.change import Tenant
from broker.store.audit_journal import AuditJournal
from broker.store.audit_trail import AuditTrail
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
CHAIN_S = 10.0
"""How long an entry may be in a journal: a block that holds more entries takes fewer bytes for each."""
_BUSY_S = 1.0
_BUSY_ENTRIES = 1_000
"""From so many entries on, the next turn comes sooner."""
_TURN_MS = 900
_HEAD_EVERY = 360
"""Turns after which the head of a trail is logged, so that a copy exists outside of the store."""


class AuditChainer:
    """`run` returns after `stop` is set."""

    def __init__(self, trail: AuditTrail, journal: AuditJournal, stop: asyncio.Event) -> None:
        self._trail = trail
        self._journal = journal
        self._stop = stop
        self._before: set[Tenant] = set()
        self._turn = 0

    async def run(self) -> None:
        rest_s = 0.0
        while not await sleep_unless(self._stop, rest_s):
            rest_s = CHAIN_S
            try:
                if not self._turn:
                    self._before = set(await self._trail.tenants())
                if await self._chain_all() >= _BUSY_ENTRIES:
                    rest_s = _BUSY_S
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("audit entries not chained; it is tried again", error=str(error))

    async def _chain_all(self) -> int:
        """One turn; returns how many entries of the busiest trail were chained."""
        seen = self._journal.take_tenants()
        # twice: an entry that was noted may not have been in its journal in the turn before
        tenants, self._before = seen | self._before, seen
        most = 0
        for tenant in sorted(tenants):
            await self._trail.add_tenant(tenant)
            if await self._trail.take_turn(tenant, _TURN_MS):
                most = max(most, await self._trail.chain(tenant))
            if self._turn % _HEAD_EVERY == 0:
                _log.info("head of the audit trail", tenant=tenant, head=str(await self._trail.head(tenant)))
        self._turn += 1
        return most
