"""The matcher's loop: reads accepted changes of the partitions it holds and passes them to the batch
processor.

A partition has one matcher at a time, under a lease. It reads from the position up to which the partition is
matched, which the store keeps (`store/matched_positions.py`): so does whoever takes the partition over. After
the store was unavailable, nothing is numbered until the rollback detector has verified that the store still
has everything this matcher knows of.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.store.changes import Changes
from broker.store.leases import RENEW_S
from broker.store.matched_positions import MatchedPositions
from broker.store.outbox import Fenced, StoreRolledBack
from broker.store.protocol import Store, StreamReader
from broker.store.rollback import RollbackDetector
from broker.tasks import end, first_of, sleep_unless
from broker.telemetry import metrics
from broker.telemetry.lag import MatcherLag
from broker.workers.batch_processor import BatchProcessor
from broker.workers.partition_leases import PartitionLeases
from broker.workers.partitions import Partition, Partitions
from broker.workers.subscription_index import SubscriptionIndexUpdater

_log = structlog.get_logger(__name__)
BLOCK_MS = 5_000
BATCH = 128
RETRY_S = 0.5
OTHERS_VERIFY_S = 1.0
"""After the store was unavailable: longer than another matcher takes to notice it (`RETRY_S`) and to verify.
"""


class MatcherWorker:
    """One matcher. `run` returns after `stop` is set and the current batch is processed."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        rollback_detector: RollbackDetector,
        leases: PartitionLeases,
        index: SubscriptionIndexUpdater,
        processor: BatchProcessor,
        lag: MatcherLag,
        stop: asyncio.Event,
    ) -> None:
        self._store = store
        self._changes = changes
        self._rollback_detector = rollback_detector
        self._leases = leases
        self._index = index
        self._processor = processor
        self._lag = lag
        self._stop = stop
        self._partitions = Partitions()
        self._positions = MatchedPositions(store)
        self._verified_at: int | None = None
        """`Store.outages` when the store was verified; None if it has to be verified anyway."""

    @property
    def state(self) -> str:
        """`ok` when it knows every subscription; before, changes wait for the rest of them."""
        return "ok" if self._index.is_loaded else "reads the subscriptions"

    async def run(self) -> None:
        reader = self._store.stream_reader(timeout_s=BLOCK_MS / 1000 + 10)
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(self._renew_leases())
                following = tasks.create_task(self._index.follow())
                while not self._stop.is_set():
                    await self._step(reader)
                await end([following])
                await renewing  # to its end: a lease that it takes after the release would be waited out
        finally:
            await self._rollback_detector.save()
            await reader.close()
            with contextlib.suppress(StoreUnavailable):
                await self._leases.release()

    async def _step(self, reader: StreamReader) -> None:
        """One batch. After an error, each partition is read again from where the store says it is matched."""
        try:
            if not self._is_verified():
                self._partitions.forget_positions()
                await self._verify_store()
            await self._process_next(reader)
        except StoreUnavailable as error:
            metrics.store_errors.inc()
            _log.warning("store unavailable", worker="matcher", error=str(error))
            self._verified_at = None
            await sleep_unless(self._stop, RETRY_S)
        except StoreRolledBack as error:
            _log.error("store rolled back", reason=str(error))
            self._verified_at = None
        except Fenced as error:
            _log.info("partition lost", reason=str(error))
            self._partitions.forget_positions()

    def _is_verified(self) -> bool:
        """False after any outage that this process noticed, even where this loop itself asked for nothing."""
        return self._verified_at == self._store.outages

    async def _verify_store(self) -> None:
        """Verifies that the store has forgotten nothing.

        Each matcher verifies what it alone knows, all at the same time; so each waits a moment for the
        others.
        """
        outages = self._store.outages
        if await self._rollback_detector.verify():
            self._index.start_over()
        if self._leases.matchers > 1:
            await sleep_unless(self._stop, OTHERS_VERIFY_S)
        self._verified_at = outages

    async def _process_next(self, reader: StreamReader) -> None:
        """Waits for changes of the partitions that do not rest, and processes them."""
        self._leases.changed.clear()
        self._partitions.update(self._leases.tokens)
        held = list(self._partitions) if self._leases.are_certain else []
        rests_s = {partition.number: partition.poison.rest_s() for partition in held}
        readable = [partition for partition in held if not rests_s[partition.number]]
        next_retry_s = min(filter(None, rests_s.values()), default=None)
        if readable:
            block_ms = BLOCK_MS if next_retry_s is None else min(BLOCK_MS, 1 + int(next_retry_s * 1000))
            await self._read(reader, readable, block_ms)
        else:
            wait_s = RENEW_S if next_retry_s is None else next_retry_s
            await first_of(asyncio.sleep(wait_s), self._stop, self._leases.changed)

    async def _read(self, reader: StreamReader, partitions: Sequence[Partition], block_ms: int) -> None:
        positions = await self._load_positions(partitions)
        entries = await first_of(
            self._changes.read(reader, positions, count=BATCH, block_ms=block_ms),
            self._stop,
            self._leases.changed,
        )
        if not entries:
            return
        failpoints.hit("matcher.after-read")
        # after the read and before matching: a subscription activated before a change was accepted is known
        # by then
        loaded, updated = await asyncio.gather(
            self._changes.load(entries), self._index.update(), return_exceptions=True
        )
        if isinstance(loaded, BaseException):
            raise loaded
        if isinstance(updated, BaseException):
            raise updated
        if not self._is_verified():
            return  # they are read again, from the store that was verified
        self._rollback_detector.record_read(loaded.changes)
        self._lag.started(loaded.age_s)
        try:
            await self._processor.process(
                loaded.changes, {partition.number: partition for partition in partitions}
            )
        finally:
            self._lag.ended()

    async def _load_positions(self, partitions: Sequence[Partition]) -> dict[int, str]:
        """Where each partition is read from. Those that this matcher does not know come from the store, now
        that the lease keeps former holders from moving them.
        """
        unknown = [partition.number for partition in partitions if partition.position is None]
        stored = await self._positions.load(unknown)
        positions = {}
        for partition in partitions:
            if partition.position is None:
                partition.position = stored[partition.number]
            positions[partition.number] = partition.position
        return positions

    async def _renew_leases(self) -> None:
        while not self._stop.is_set():
            try:
                await self._leases.renew()
                await self._rollback_detector.save()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("leases not renewed", error=str(error))
            await sleep_unless(self._stop, self._leases.renew_in_s)
