"""Turns the subscriptions off whose owners have lost access, also those to which nothing is sent.

Each delivery asks for itself; this worker makes `$status` and searches show the same, and ends open
connections. It runs in every process with the role `match`: when the registered clients may have changed (at
the start, and when it is announced), and again when every process and cache has the change.
"""

import asyncio

import structlog

from broker.clock import Clock
from broker.delivery.owner_access import SETTLING_MS, AccessLost, DeliveryAccess
from broker.errors import StoreUnavailable
from broker.model.subscription import SubscriptionStatus
from broker.store.client_changes import ClientChanges
from broker.store.subscriptions import Subscriptions
from broker.tasks import sleep_unless, work_until
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
REPEAT_MS = (0, 1_000, SETTLING_MS, 2 * SETTLING_MS)
"""The delays of the reviews after a change: a registry may answer as before for five seconds, and what was
registered in this time has to settle.
"""
_RETRY_S = 0.5
_ENDED = frozenset({SubscriptionStatus.OFF, SubscriptionStatus.ENTERED_IN_ERROR})


class AccessReview:
    """One a process, with access control."""

    def __init__(
        self, subscriptions: Subscriptions, access: DeliveryAccess, changes: ClientChanges, clock: Clock
    ) -> None:
        self._subscriptions = subscriptions
        self._access = access
        self._changes = changes
        self._clock = clock
        self._has_changed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work_until(stop, self._follow()))
            tasks.create_task(work_until(stop, self._review()))

    async def _follow(self) -> None:
        while True:
            try:
                async for _ in self._changes.follow():
                    self._has_changed.set()
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="access review", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _review(self) -> None:
        while True:
            await self._has_changed.wait()
            passed_ms = 0
            for delay_ms in REPEAT_MS:
                self._has_changed.clear()
                if await sleep_unless(self._has_changed, (delay_ms - passed_ms) / 1000):
                    break
                passed_ms = delay_ms
                try:
                    await self._review_all()
                except StoreUnavailable as error:
                    metrics.store_errors.inc()
                    _log.warning("store unavailable", worker="access review", error=str(error))
                    await asyncio.sleep(_RETRY_S)
                    self._has_changed.set()
                    break

    async def _review_all(self) -> None:
        ended = 0
        async for record in self._subscriptions.of_all_tenants():
            subscription = record.subscription
            if subscription.status in _ENDED:
                continue
            try:
                await self._access.check(subscription)
            except AccessLost as lost:
                ended += await self._access.end(subscription, record.revision, lost, self._clock.now_ms())
        if ended:
            _log.warning("subscriptions turned off: their owners have lost access", number=ended)
