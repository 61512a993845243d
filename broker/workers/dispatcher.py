"""Claims due subscriptions and has the engine deliver them.

Any dispatcher may claim in any shard; a claim is a lease, and nothing is owned for longer. A dispatcher does
not poll the store for work: it waits for a wakeup message or for the next due time it knows of. As a safety
net against lost messages, a new connection to the store looks in all shards, and so does each shard every
`RESCAN_S` seconds.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from broker.delivery.concurrency import MAX_ATTEMPTS_PER_KEY, ConcurrencyBudget
from broker.delivery.engine import DeliveryEngine
from broker.delivery.wakeups import WakeupListener
from broker.errors import StoreUnavailable
from broker.store.claims import Claim
from broker.store.schedule import Schedule
from broker.tasks import end
from broker.telemetry import metrics
from broker.workers.active_claims import ActiveClaims
from broker.workers.shard_alarms import ShardAlarms

_log = structlog.get_logger(__name__)
LEASE_MS = 3_000
"""How long a claim lasts: what the loss of a process costs its subscriptions. Longer than a lease on a
partition, because a claim that is lost to another dispatcher by mistake sends a notification twice
(decision 176).
"""
RENEW_S = LEASE_MS / 4000
LATE_S = 2 * RENEW_S
"""After so long without a renewal, the claims of this process may have run out or are about to."""
RESCAN_S = 60.0
RELEASE_TIMEOUT_S = 2.0
_RETRY_MS = 500


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """What one dispatcher does at a time."""

    active_claims: int = 1_000
    claims_per_call: int = 64
    attempts_per_key: int = MAX_ATTEMPTS_PER_KEY


class Dispatcher:
    """Owns the loop over the shards, the leases of its claims, and the concurrency budget.

    `run` returns after `stop` is set and the attempts under way have ended. Attempts that last longer than
    `drain` are cancelled, and their claims are released.
    """

    def __init__(
        self,
        schedule: Schedule,
        engine: DeliveryEngine,
        wakeups: WakeupListener,
        stop: asyncio.Event,
        *,
        drain: timedelta,
        limits: DispatchLimits | None = None,
    ) -> None:
        limits = limits or DispatchLimits()
        self._schedule = schedule
        self._engine = engine
        self._wakeups = wakeups
        self._stop = stop
        self._drain_s = drain.total_seconds()
        self._claims_per_call = limits.claims_per_call
        self._budget = ConcurrencyBudget(limits.attempts_per_key)
        self._active = ActiveClaims(limits.active_claims)
        self._alarms = ShardAlarms(schedule.shards)
        self._renewed_at_s = time.monotonic()

    async def run(self) -> None:
        with self._wakeups.of_shards(self._alarms.events):
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(self._renew_leases())
                shards = [tasks.create_task(self._serve(shard, tasks)) for shard in self._schedule.shards]
                await self._stop.wait()
                self._alarms.ring_all()
                self._active.interrupt()
                await asyncio.wait(shards)
                await self._drain()
                await end([renewing])

    async def _drain(self) -> None:
        if self._active.tasks:
            await asyncio.wait(self._active.tasks, timeout=self._drain_s)
        attempts = self._active.tasks
        for task in attempts:
            task.cancel()
        if attempts:  # each releases its claim
            await asyncio.wait(attempts, timeout=RELEASE_TIMEOUT_S)
        await end(self._active.tasks)

    async def _serve(self, shard: int, tasks: asyncio.TaskGroup) -> None:
        """Claims what is due in one shard, until `stop` is set."""
        woken = self._alarms.events[shard]
        while not self._stop.is_set():
            woken.clear()
            self._alarms.set_alarm(shard, RESCAN_S * 1000)
            limit = min(self._claims_per_call, self._active.free)
            if limit <= 0:
                await self._active.wait_until_free()
                continue
            try:
                await self._renew_if_late(shard)
                claimed = await self._schedule.claim(shard, limit)
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("store unavailable", worker="dispatcher", shard=shard, error=str(error))
                self._alarms.advance_alarm(shard, _RETRY_MS)
                await woken.wait()
                continue
            for claim in claimed.claims:
                self._active.add(claim, tasks.create_task(self._deliver(claim)))
            if len(claimed.claims) == limit:
                continue
            if claimed.next_in_ms is not None:
                self._alarms.advance_alarm(shard, claimed.next_in_ms)
            await woken.wait()

    async def _deliver(self, claim: Claim) -> None:
        """Delivers until the subscription has nothing to send, then sets the shard's alarm to its next due
        time.
        """
        try:
            next_in_ms = await self._attempts(claim)
        except StoreUnavailable as error:
            # the lease runs out; whoever claims the subscription next sends the same notification
            metrics.store_errors.inc()
            _log.warning("attempt abandoned: store unavailable", subscription=claim.id, error=str(error))
            next_in_ms = LEASE_MS
        except asyncio.CancelledError:
            self._alarms.ring(claim.shard)  # the claim was released, so the subscription is due now
            raise
        if next_in_ms is not None:
            self._alarms.advance_alarm(claim.shard, next_in_ms)

    async def _attempts(self, claim: Claim) -> int | None:
        """One attempt after the other; returns in how many ms the subscription is due again, None if it is
        not.
        """
        task = asyncio.current_task()
        while True:
            try:
                committed = await self._engine.attempt(claim, self._budget)
            except asyncio.CancelledError:
                await asyncio.shield(self._engine.release(claim))
                raise
            if committed.is_stale:
                _log.info("claim lost", subscription=claim.id, fence=claim.token)
                return LEASE_MS  # the holder of the newer claim may fail too
            if committed.next_claim is None:
                return committed.next_in_ms
            claim = committed.next_claim
            if task is not None:
                self._active.replace(task, claim)

    async def _renew_leases(self) -> None:
        """Renews the leases of long attempts; cancels those whose claim was lost (deleted, or taken over)."""
        while True:
            await asyncio.sleep(RENEW_S)
            requested_at_s = time.monotonic()
            with contextlib.suppress(StoreUnavailable):
                await self._renew(self._active.older_than(RENEW_S / 2))
                self._renewed_at_s = requested_at_s

    async def _renew_if_late(self, shard: int) -> None:
        """If this process or the store stood still, claims whose attempts are under way may have run out, but
        nobody has taken them. Claiming would take them, and send their notifications twice.
        """
        if time.monotonic() - self._renewed_at_s > LATE_S:
            lasting = self._active.older_than(0)
            await self._renew({task: claim for task, claim in lasting.items() if claim.shard == shard})

    async def _renew(self, lasting: Mapping[asyncio.Task[None], Claim]) -> None:
        """Raises `StoreUnavailable`."""
        lost = set(await self._schedule.extend(list(lasting.values()))) if lasting else set()
        for task, claim in lasting.items():
            if claim in lost and self._active.is_current(task, claim):
                _log.info("claim lost", subscription=claim.id, fence=claim.token)
                task.cancel()
