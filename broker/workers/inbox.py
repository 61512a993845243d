"""Reads the inbox stream and passes its entries to the intake.

One process reads at a time, under a lease. An entry leaves the stream once it was accepted or refused, so a
crash repeats entries and loses none; their idempotency keys keep a repeated entry from being accepted twice.
"""

import asyncio
import contextlib
import uuid

import structlog

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.ingest.inbox import InboxIntake
from broker.store.inbox import Inbox, InboxEntry
from broker.store.leases import LEASE_MS, RENEW_S, Leases
from broker.store.protocol import Store, StreamReader
from broker.tasks import first_of, sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
BLOCK_MS = 5_000
BATCH = 64
_RETRY_S = 0.5


class InboxWorker:
    """`run` returns after `stop` is set and the current batch is finished."""

    def __init__(self, store: Store, inbox: Inbox, intake: InboxIntake, stop: asyncio.Event) -> None:
        self._inbox = inbox
        self._intake = intake
        self._stop = stop
        self._leases = Leases(store, uuid.uuid4().hex)
        self._is_reader = False
        self._is_recovered = False

    async def run(self) -> None:
        reader = self._inbox.reader(timeout_s=BLOCK_MS / 1000 + 10)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._renew_lease())
                while not self._stop.is_set():
                    try:
                        await self._step(reader)
                    except StoreUnavailable as error:
                        metrics.store_errors.inc()
                        _log.warning("store unavailable", worker="inbox", error=str(error))
                        self._is_recovered = False
                        await sleep_unless(self._stop, _RETRY_S)
        finally:
            await reader.close()
            with contextlib.suppress(StoreUnavailable):
                await self._leases.release_inbox()

    async def _step(self, reader: StreamReader) -> None:
        """One batch. Entries that a former reader read and did not finish come first."""
        free_in_ms = await self._leases.acquire_inbox(LEASE_MS)
        self._is_reader = free_in_ms == 0
        if not self._is_reader:
            self._is_recovered = False
            await sleep_unless(self._stop, (free_in_ms + 1) / 1000)
            return
        entries = await self._read(reader, ">" if self._is_recovered else "0")
        if entries:
            await self._process(entries)
        else:
            self._is_recovered = True

    async def _renew_lease(self) -> None:
        """Keeps the lease while a read waits or a batch takes long."""
        while not await sleep_unless(self._stop, RENEW_S):
            if self._is_reader:
                with contextlib.suppress(StoreUnavailable):
                    await self._leases.acquire_inbox(LEASE_MS)

    async def _read(self, reader: StreamReader, position: str) -> list[InboxEntry]:
        """Waits until there are entries or `stop` is set. Entries that a cancelled read has taken are
        pending.
        """
        block_ms = BLOCK_MS if position == ">" else None
        reading = self._inbox.read(reader, position, count=BATCH, block_ms=block_ms)
        return await first_of(reading, self._stop) or []

    async def _process(self, entries: list[InboxEntry]) -> None:
        failpoints.hit("inbox.after-read")
        accepted, refused = await self._intake.admit(entries)
        failpoints.hit("inbox.before-finish")
        await self._inbox.finish(accepted, refused)
        for refusal in refused:
            # without the reason, which may quote the entry: the dead letter has it
            _log.warning("inbox entry refused", entry=refusal.entry.id)
