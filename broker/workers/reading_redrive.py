"""Processes quarantined readings again when what they wait for was written: the association of their device,
the Device or the Patient that they name.

One process does so at a time, under a lease, so that the readings of a device are processed in the order of
their effective times. A message names what was written; a sweep finds what a message that was lost named.
Every process follows the messages, because each drops what it knows of the resource.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable

import structlog

from broker.errors import StoreUnavailable
from broker.ingest.readings.devices import Devices
from broker.ingest.readings.identities import Identities
from broker.ingest.readings.redrive import ReadingRedrive
from broker.model.change import Tenant
from broker.store.awaited import Awaited, Written
from broker.store.leases import LEASE_MS, READINGS, RENEW_S, Leases
from broker.store.protocol import Store
from broker.tasks import first_of, sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
SWEEP_S = 30.0
_SWEEP_SHARE = 10
"""A sweep takes at most this part of the time: readings may wait for months."""
_RETRY_S = 0.5
_MAX_NAMES = 10_000
"""Names that are remembered at once; what is above is left to a sweep."""


class KnownResources:
    """What a process knows of Devices and Patients, dropped as they are written."""

    def __init__(self, identities: Identities, devices: Devices) -> None:
        self._identities = identities
        self._devices = devices

    def drop(self, written: Written) -> None:
        """What was written may be different now."""
        if written.tenant is None or not written.names:
            self._identities.forget_all()
            self._devices.forget_all()
            return
        for name in written.names:
            self._identities.forget(written.tenant, name)
            self._devices.forget(written.tenant, name)


class ReadingRedriveWorker:
    """`run` returns after `stop` is set."""

    def __init__(
        self,
        store: Store,
        awaited: Awaited,
        redrive: ReadingRedrive,
        known: KnownResources,
        stop: asyncio.Event,
    ) -> None:
        self._awaited = awaited
        self._redrive = redrive
        self._known = known
        self._stop = stop
        self._leases = Leases(store, uuid.uuid4().hex)
        self._names: dict[tuple[Tenant, str], None] = {}
        self._is_holder = False
        self._sweep_at_s = 0.0
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(self._follow))
                tasks.create_task(self._repeat(self._work))
                tasks.create_task(self._repeat(self._renew))
        finally:
            with contextlib.suppress(StoreUnavailable):
                await self._leases.release_named(READINGS)

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while not self._stop.is_set():
            try:
                await first_of(work(), self._stop)
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("store unavailable", worker="reading redrive", error=str(error))
                self._is_holder = False
                await sleep_unless(self._stop, _RETRY_S)

    async def _follow(self) -> None:
        async for written in self._awaited.follow():
            self._known.drop(written)
            if written.tenant is None or not written.names or len(self._names) > _MAX_NAMES:
                self._sweep_at_s = 0.0
            else:
                self._names.update(dict.fromkeys((written.tenant, name) for name in written.names))
            self._arrived.set()

    async def _renew(self) -> None:
        """Takes the lease, or keeps it. A new holder sweeps: it does not know what the last one did."""
        was_holder = self._is_holder
        self._is_holder = await self._leases.acquire_named(READINGS, LEASE_MS) == 0
        if self._is_holder and not was_holder:
            self._sweep_at_s = 0.0
            self._arrived.set()
        await sleep_unless(self._stop, RENEW_S)

    async def _work(self) -> None:
        self._arrived.clear()
        names, self._names = list(self._names), {}
        if self._is_holder:
            if time.monotonic() >= self._sweep_at_s:
                await self._sweep()
            else:
                for tenant, name in names:
                    await self._redrive.redrive_waiting(tenant, name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_RETRY_S, self._sweep_at_s - time.monotonic())):
                await self._arrived.wait()

    async def _sweep(self) -> None:
        started_s = time.monotonic()
        self._sweep_at_s = started_s + SWEEP_S
        await self._redrive.redrive_all_waiting()
        taken_s = time.monotonic() - started_s
        if self._sweep_at_s:  # else something unknown was written meanwhile
            self._sweep_at_s = started_s + max(SWEEP_S, taken_s * _SWEEP_SHARE)
