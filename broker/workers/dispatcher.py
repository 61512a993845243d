"""Finds what is due and has the engine deliver it. Any dispatcher may claim in any shard; nothing is owned for long.

Nothing polls: a dispatcher sleeps until the next due time it knows, or until a wake-up message says that something became due.
Messages may be lost with a connection, so a new connection looks everywhere, and so does each shard every `RESCAN_S`.
"""

import asyncio
import contextlib
import time
from datetime import timedelta

import structlog

from broker.delivery.engine import LEASE_MS, Carried, Engine
from broker.delivery.wakeups import WakeupListener
from broker.errors import StoreUnavailable
from broker.store.outbox import SubscriptionKey
from broker.store.schedule import Claim, Schedule
from broker.tasks import end
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
RENEW_S = LEASE_MS / 3000
RESCAN_S = 60.0
IN_FLIGHT = 1_000
AT_ONCE = 64
GIVE_BACK_S = 2.0


class Dispatcher:
    """One dispatcher. `run` returns after `stop` is set and what was in flight has ended, within `drain`."""

    def __init__(
        self,
        schedule: Schedule,
        engine: Engine,
        wakeups: WakeupListener,
        stop: asyncio.Event,
        *,
        drain: timedelta,
    ) -> None:
        self._schedule = schedule
        self._wakeups = wakeups
        self._engine = engine
        self._stop = stop
        self._drain_s = drain.total_seconds()
        self._woken = {shard: asyncio.Event() for shard in schedule.shards}
        self._looks: dict[int, asyncio.TimerHandle] = {}
        self._in_flight: dict[asyncio.Task[None], Carried] = {}
        self._sending: dict[SubscriptionKey, asyncio.Task[None]] = {}
        self._room = asyncio.Event()

    async def run(self) -> None:
        with self._wakeups.setting(self._woken):
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self._keep_claims())]
            shards = [tasks.create_task(self._serve(shard, tasks)) for shard in self._schedule.shards]
            await self._stop.wait()
            self._engine.is_draining = True
            for event in self._woken.values():
                event.set()
            self._room.set()
            await asyncio.wait(shards)
            if self._in_flight:
                await asyncio.wait(self._in_flight, timeout=self._drain_s)
            for task in self._in_flight:
                task.cancel()
            if self._in_flight:  # each gives its claim back
                await asyncio.wait(self._in_flight, timeout=GIVE_BACK_S)
            await end([*self._in_flight, *background])

    async def _serve(self, shard: int, tasks: asyncio.TaskGroup) -> None:
        woken = self._woken[shard]
        while not self._stop.is_set():
            woken.clear()
            self._look_in(shard, RESCAN_S * 1000, instead=True)
            limit = min(AT_ONCE, IN_FLIGHT - len(self._in_flight))
            if limit <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            try:
                claimed = await self._schedule.claim(shard, limit)
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("store unavailable", worker="dispatcher", shard=shard, error=str(error))
                self._look_in(shard, 500)
                await woken.wait()
                continue
            for claim in claimed.claims:
                self._give_up(claim)
                carried = Carried(claim, time.monotonic())
                task = tasks.create_task(self._carry(carried))
                self._in_flight[task] = carried
                self._sending[claim.tenant, claim.id] = task
                task.add_done_callback(self._ended)
            if len(claimed.claims) == limit:
                continue
            if claimed.next_in_ms is not None:
                self._look_in(shard, claimed.next_in_ms)
            await woken.wait()

    def _look_in(self, shard: int, ms: float, *, instead: bool = False) -> None:
        """Something of the shard is due in `ms`: look again then, if no earlier look is planned, or `instead` of what is.

        One look is planned a shard: each claim brings a due time, that of its own lease at least.
        """
        loop = asyncio.get_running_loop()
        # a millisecond more, so that Redis's clock has reached the due time when we look
        at = loop.time() + (ms + 1) / 1000
        planned = self._looks.get(shard)
        if planned is not None:
            if planned.when() <= at and not instead:
                return
            planned.cancel()
        self._looks[shard] = loop.call_at(at, self._woken[shard].set)

    async def _carry(self, carried: Carried) -> None:
        try:
            next_in_ms = await self._engine.carry(carried)
        except StoreUnavailable as error:
            # the claim runs out by itself; whoever takes it then sends the same again
            metrics.store_errors.inc()
            _log.warning("claim dropped", subscription=carried.claim.id, error=str(error))
            self._look_in(carried.claim.shard, LEASE_MS)
        except asyncio.CancelledError:
            self._woken[carried.claim.shard].set()  # it was given back: due at once
            raise
        else:
            if next_in_ms is not None:
                self._look_in(carried.claim.shard, next_in_ms)

    def _give_up(self, newer: Claim) -> None:
        """Ends an attempt whose claim ran out (the store was away) before the same subscription is sent to again."""
        task = self._sending.get((newer.tenant, newer.id))
        if task is not None:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        claim = self._in_flight.pop(task).claim
        if self._sending.get((claim.tenant, claim.id)) is task:
            del self._sending[claim.tenant, claim.id]
        self._room.set()

    async def _keep_claims(self) -> None:
        """Renews the leases of attempts that take long; one that was lost (deleted, or taken over) is given up."""
        while True:
            await asyncio.sleep(RENEW_S)
            old = time.monotonic() - RENEW_S / 2
            lasting = {
                task: carried.claim for task, carried in self._in_flight.items() if carried.since < old
            }
            if not lasting:
                continue
            with contextlib.suppress(StoreUnavailable):
                lost = set(await self._schedule.extend(list(lasting.values())))
                for task, claim in lasting.items():
                    carried = self._in_flight.get(task)
                    # it may have gone on to its next claim meanwhile, and that one isn't lost
                    if claim in lost and carried is not None and carried.claim is claim:
                        task.cancel()
