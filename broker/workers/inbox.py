"""Reads the inbox stream into the intake. One reader at a time, under a lease; entries leave the stream when
they are settled.
"""

import asyncio
import contextlib
import uuid

import structlog

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.ingest.inbox import InboxIntake
from broker.store.inbox import Inbox, InboxEntry
from broker.store.leases import Leases
from broker.store.protocol import GroupReader, Store
from broker.tasks import first_of, sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
LEASE_MS = 11_000
BLOCK_MS = 5_000
BATCH = 64


class InboxWorker:
    """One reader. `run` returns after `stop` is set and the batch under way is settled."""

    def __init__(self, store: Store, inbox: Inbox, intake: InboxIntake, stop: asyncio.Event) -> None:
        self._store = store
        self._inbox = inbox
        self._intake = intake
        self._stop = stop
        self._leases = Leases(store, uuid.uuid4().hex)

    async def run(self) -> None:
        client = self._store.group_reader(timeout_s=BLOCK_MS / 1000 + 10)
        is_fresh = True
        try:
            while not self._stop.is_set():
                try:
                    if not await self._leases.acquire_inbox(LEASE_MS):
                        is_fresh = True
                        await sleep_unless(self._stop, LEASE_MS / 2000)
                        continue
                    # what a predecessor read and did not settle comes first
                    entries = await self._read(client, "0" if is_fresh else ">")
                    is_fresh = is_fresh and bool(entries)
                    if entries:
                        await self._settle(entries)
                except StoreUnavailable as error:
                    metrics.store_errors.inc()
                    _log.warning("store unavailable", worker="inbox", error=str(error))
                    is_fresh = True
                    await sleep_unless(self._stop, 0.5)
        finally:
            await client.close()
            with contextlib.suppress(StoreUnavailable):
                await self._leases.release_inbox()

    async def _read(self, client: GroupReader, position: str) -> list[InboxEntry]:
        """Waits for entries, but not beyond `stop`: what a cancelled read had taken is pending, for whoever
        reads next.
        """
        block_ms = BLOCK_MS if position == ">" else None
        reading = self._inbox.read(client, position, count=BATCH, block_ms=block_ms)
        return await first_of(reading, self._stop) or []

    async def _settle(self, entries: list[InboxEntry]) -> None:
        failpoints.hit("inbox.after-read")
        accepted, refused = await self._intake.admit(entries)
        failpoints.hit("inbox.before-finish")
        await self._inbox.finish(accepted, refused)
        for refusal in refused:
            _log.warning("inbox entry refused", entry=refusal.entry.id, reason=refusal.reason[:500])
