"""The matcher's loop: reads accepted changes of the partitions it holds and passes them to the batch
processor.

A partition has one matcher at a time, under a lease. Whoever takes a partition over first processes what was
read and not acknowledged before. After the store was unavailable, nothing is numbered until the rollback
detector has verified that the store still has everything this matcher knows of.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import structlog

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.store.changes import Changes
from broker.store.leases import RENEW_S
from broker.store.outbox import Fenced, StoreRolledBack
from broker.store.protocol import GroupReader, Store
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
        self._is_verified = False

    @property
    def state(self) -> str:
        """`ok` when it knows every subscription; before, changes wait for the rest of them."""
        return "ok" if self._index.is_loaded else "reads the subscriptions"

    async def run(self) -> None:
        reader = self._store.group_reader(timeout_s=BLOCK_MS / 1000 + 10)
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

    async def _step(self, reader: GroupReader) -> None:
        """One batch. After an error, what was read of any partition is processed before anything newer."""
        try:
            if not self._is_verified:
                await self._verify_store()
            await self._process_next(reader)
        except StoreUnavailable as error:
            metrics.store_errors.inc()
            _log.warning("store unavailable", worker="matcher", error=str(error))
            self._partitions.forget_recovered()
            self._is_verified = False
            await sleep_unless(self._stop, RETRY_S)
        except StoreRolledBack as error:
            _log.error("store rolled back", reason=str(error))
            self._partitions.forget_recovered()
            self._is_verified = False
        except Fenced as error:
            _log.info("partition lost", reason=str(error))
            self._partitions.forget_recovered()

    async def _verify_store(self) -> None:
        """Verifies that the store has forgotten nothing.

        Each matcher verifies what it alone knows, all at the same time; so each waits a moment for the
        others.
        """
        if await self._rollback_detector.verify():
            await self._changes.prepare()
            self._index.start_over()
        if self._leases.matchers > 1:
            await sleep_unless(self._stop, OTHERS_VERIFY_S)
        self._is_verified = True

    async def _process_next(self, reader: GroupReader) -> None:
        """Recovers partitions if any needs it; otherwise waits for new changes and processes them."""
        self._leases.changed.clear()
        self._partitions.update(self._leases.tokens)
        self._partitions.recheck()
        held = list(self._partitions) if self._leases.are_certain else []
        rests_s = {partition.number: partition.poison.rest_s() for partition in held}
        readable = [partition for partition in held if not rests_s[partition.number]]
        next_retry_s = min(filter(None, rests_s.values()), default=None)
        unrecovered = [partition for partition in readable if not partition.is_recovered]
        if unrecovered:
            await self._recover(reader, unrecovered)
        elif readable:
            block_ms = BLOCK_MS if next_retry_s is None else min(BLOCK_MS, 1 + int(next_retry_s * 1000))
            await self._read(reader, readable, block_ms)
        else:
            wait_s = RENEW_S if next_retry_s is None else next_retry_s
            await first_of(asyncio.sleep(wait_s), self._stop, self._leases.changed)

    async def _read(self, reader: GroupReader, partitions: Sequence[Partition], block_ms: int) -> None:
        by_number = {partition.number: partition for partition in partitions}
        entries = await first_of(
            self._changes.read_new(reader, list(by_number), count=BATCH, block_ms=block_ms),
            self._stop,
            self._leases.changed,
        )
        if entries is None:  # interrupted: entries that the read had taken are pending
            self._partitions.forget_recovered()
            return
        if not entries:
            return
        failpoints.hit("matcher.after-read")
        # after the read and before matching: a subscription activated before a change was accepted is known
        # by then
        completed, updated = await asyncio.gather(
            self._changes.load(entries), self._index.update(), return_exceptions=True
        )
        if isinstance(completed, BaseException):
            raise completed
        if isinstance(updated, BaseException):
            raise updated
        for number in completed.out_of_order:
            _log.info("a reader without lease took changes; the partition is recovered", partition=number)
            by_number[number].is_recovered = False
        own = [change for change in completed.changes if change.partition not in completed.out_of_order]
        if own:
            self._rollback_detector.record_read(own)
            self._lag.started(completed.age_s)
            try:
                await self._processor.process(own, by_number)
            finally:
                self._lag.ended()

    async def _recover(self, reader: GroupReader, partitions: Sequence[Partition]) -> None:
        """Processes what a former holder, or this matcher before, read and did not acknowledge."""
        for partition in partitions:
            by_number: Mapping[int, Partition] = {partition.number: partition}
            recovered = 0
            while not self._stop.is_set():
                pending = await self._changes.read(
                    reader, {partition.number: "0"}, count=BATCH, block_ms=None
                )
                if not pending:
                    partition.is_recovered = True
                    log = _log.info if recovered else _log.debug
                    log("partition recovered", partition=partition.number, changes=recovered)
                    break
                failpoints.hit("matcher.after-read")
                await self._index.update()
                await self._processor.process(pending, by_number)
                recovered += len(pending)
                if partition.poison.rest_s():
                    break

    async def _renew_leases(self) -> None:
        while not self._stop.is_set():
            try:
                await self._leases.renew()
                await self._rollback_detector.save()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("leases not renewed", error=str(error))
            await sleep_unless(self._stop, self._leases.renew_in_s)
