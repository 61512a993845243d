"""Reads accepted changes, matches them, and puts the matches into outboxes.

A partition has one matcher at a time, under a lease; whoever takes it over reads again what was read and not acknowledged,
and the outboxes pass over what they hold already. So each change is matched at least once and numbered exactly once.
"""

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import Awaitable, Sequence
from typing import Literal, TypeVar

import structlog

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.matching.catalog import Catalog
from broker.matching.matcher import Match, Matcher
from broker.model.change import Change
from broker.model.eligibility import Activation, Eligibility, eligibility
from broker.store.changes import Changes
from broker.store.outbox import Context, Fenced, Outboxes, StoreRolledBack, SubscriptionKey
from broker.store.protocol import GroupReader, Store
from broker.store.resources import Resources
from broker.store.rollback import RollbackDetector
from broker.store.subscriptions import Record, RegistryFollower, Subscriptions
from broker.tasks import end, sleep_unless
from broker.telemetry import metrics
from broker.workers.includes import IncludeResolver, Targets
from broker.workers.poison import TRIES, Poison
from broker.workers.topic_sync import TopicSync, unserved

T = TypeVar("T")
_log = structlog.get_logger(__name__)
LEASE_MS = 4_000
RENEW_S = 1.9
SURE_S = 3.5
"""A lease renewed that long ago may run out before a read is answered."""
BLOCK_MS = 5_000
LOOK_AGAIN_S = 60.0
ROLL_CALL_S = 1.0
"""After the store was away: longer than another matcher takes to notice and to look (`run` waits half of it)."""
BATCH = 128


class MatcherWorker:
    """One matcher. `run` returns after `stop` is set and the batch under way is done."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        outboxes: Outboxes,
        rollback_detector: RollbackDetector,
        catalog: Catalog,
        matcher: Matcher,
        includes: IncludeResolver,
        topic_sync: TopicSync,
        stop: asyncio.Event,
    ) -> None:
        self._store = store
        self._changes = changes
        self._outboxes = outboxes
        self._rollback_detector = rollback_detector
        self._is_in_doubt = True
        self._matchers = 1
        self._resources = Resources(store)
        self._follower = RegistryFollower(store)
        self._catalog = catalog
        self._matcher = matcher
        self._includes = includes
        self._topic_sync = topic_sync
        self._subscriptions = Subscriptions(store)
        self._topics_seen = catalog.revision
        self._activations: dict[SubscriptionKey, Activation] = {}
        self._stop = stop
        self._owner = uuid.uuid4().hex
        self._tokens: dict[int, int] = {}
        self._recovered: dict[int, int] = {}
        self._renewed_at = 0.0
        self._look_again_at: dict[int, tuple[int, float]] = {}
        self._poison = Poison()
        self._lease_changed = asyncio.Event()
        self._interrupts: dict[asyncio.Event, asyncio.Task[Literal[True]]] = {}

    async def run(self) -> None:
        client = self._store.group_reader(timeout_s=BLOCK_MS / 1000 + 10)
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(self._keep_leases())
                while not self._stop.is_set():
                    try:
                        if self._is_in_doubt:
                            await self._clear_doubt()
                        await self._turn(client)
                    except StoreUnavailable as error:
                        metrics.store_errors.inc()
                        _log.warning("store unavailable", worker="matcher", error=str(error))
                        self._recovered.clear()
                        self._is_in_doubt = True
                        await sleep_unless(self._stop, 0.5)
                    except StoreRolledBack as error:
                        _log.error("store forgot events", reason=str(error))
                        self._recovered.clear()
                        self._is_in_doubt = True
                    except Fenced as error:
                        _log.info("partition lost", reason=str(error))
                        # what was read of the other partitions comes again before anything newer
                        self._recovered.clear()
                await end([renewing, *self._interrupts.values()])
        finally:
            await client.close()
            with contextlib.suppress(StoreUnavailable):
                await self._changes.unlease(list(self._tokens), self._owner)
                await self._changes.presence(self._owner, 0)

    async def _turn(self, client: GroupReader) -> None:
        """One read and what follows from it."""
        # this process may have stood still: its leases may have run out, and what it would read is another's
        is_sure = time.monotonic() - self._renewed_at < SURE_S
        held = dict(self._tokens) if is_sure else {}
        self._lease_changed.clear()
        self._look_again(held)
        self._poison.keep(held)
        resting = self._poison.resting()
        awake = [partition for partition in held if partition not in resting]
        fresh = [partition for partition in awake if self._recovered.get(partition) != held[partition]]
        next_try_s = self._poison.next_try_s()
        if fresh:
            await self._recover(client, fresh, held)
        elif awake:
            block_ms = BLOCK_MS if next_try_s is None else min(BLOCK_MS, 1 + int(next_try_s * 1000))
            await self._read(client, awake, held, block_ms)
        else:
            wait_s = RENEW_S if next_try_s is None else next_try_s
            await self._unless_interrupted(asyncio.sleep(wait_s))

    async def _read(
        self, client: GroupReader, partitions: Sequence[int], held: dict[int, int], block_ms: int
    ) -> None:
        entries = await self._unless_interrupted(
            self._changes.take(client, partitions, count=BATCH, block_ms=block_ms)
        )
        if not entries:
            return
        failpoints.hit("matcher.after-read")
        # after the read and before matching: a subscription activated before a change was accepted is known by then
        completed, followed = await asyncio.gather(
            self._changes.completed(entries), self.follow(), return_exceptions=True
        )
        if isinstance(completed, BaseException):
            raise completed
        if isinstance(followed, BaseException):
            raise followed
        changes, strange = completed
        for partition in strange:
            _log.info("changes taken by a reader without lease", partition=partition)
            self._recovered.pop(partition, None)  # they are read again, in order, with those of this read
        own = [change for change in changes if change.partition not in strange]
        if own:
            self._rollback_detector.saw_read(own)
            await self._process(own, held)

    def _look_again(self, held: dict[int, int]) -> None:
        """Has partitions recovered once more when a reader that lost them can't read any longer, and now and then.

        What it took last is followed by nothing that would tell of it (`Changes.completed`).
        """
        now = time.monotonic()
        for partition, token in held.items():
            known, at = self._look_again_at.get(partition, (-1, 0.0))
            if known != token:
                self._look_again_at[partition] = token, now + BLOCK_MS / 1000 + 1
            elif now >= at:
                self._look_again_at[partition] = token, now + LOOK_AGAIN_S
                self._recovered.pop(partition, None)

    async def _clear_doubt(self) -> None:
        """The store was away, or this process: nothing is numbered before it is known that the store has forgotten nothing.

        The other matchers find out at the same time, each what it alone knows; so all of them wait a moment for the others.
        """
        if await self._rollback_detector.verify():
            await self._changes.prepare()
            self._follower.start_over()
        if self._matchers > 1:
            await sleep_unless(self._stop, ROLL_CALL_S)
        self._is_in_doubt = False

    async def _recover(self, client: GroupReader, partitions: Sequence[int], held: dict[int, int]) -> None:
        """What a predecessor, or this process before it was interrupted, read and did not finish."""
        for partition in partitions:
            while not self._stop.is_set():
                pending = await self._changes.read(client, {partition: "0"}, count=BATCH, block_ms=None)
                if not pending:
                    self._recovered[partition] = held[partition]
                    break
                failpoints.hit("matcher.after-read")
                await self.follow()
                if partition in await self._process(pending, held):
                    break

    async def _process(self, changes: Sequence[Change], tokens: dict[int, int]) -> set[int]:
        """Numbers and acknowledges them, in the order of each partition up to a change that broke the matcher. The registry was
        followed since they were read.

        Answers the partitions in which one is tried again: it and what stands behind it stay pending.
        """
        failpoints.hit("matcher.after-follow")
        matched: dict[int, dict[SubscriptionKey, list[Change]]] = {}
        done: dict[int, list[str]] = {}
        contexts: dict[tuple[SubscriptionKey, str], Context] = {}
        found: list[tuple[Change, Sequence[Match], Targets]] = []
        resting: set[int] = set()
        for n, change in enumerate(changes):
            match = await self._match(
                change
            )  # also behind one that failed: its tries count together with those
            if match is not None and change.partition not in resting:
                found.append((change, *match))
                done.setdefault(change.partition, []).append(change.id)
            elif match is None and not self._poison.is_spent(change):
                resting.add(change.partition)
            elif match is None and change.partition not in resting:
                await self._set_aside(change, tokens[change.partition])
            if n % 32 == 31:
                await asyncio.sleep(0)  # other loops of this process get their turn
        attached = await self._includes.contexts([(change, targets) for change, _, targets in found])
        for (change, matches, _), by_topic in zip(found, attached, strict=True):
            for one in matches:
                key = (one.tenant, one.subscription_id)
                matched.setdefault(change.partition, {}).setdefault(key, []).append(change)
                contexts[key, change.id] = by_topic[one.topic_canonical]
        for partition, some in matched.items():
            added = await self._outboxes.append(partition, tokens[partition], some, contexts)
            metrics.events_appended.inc(added)
            failpoints.hit("matcher.between-appends")
        failpoints.hit("matcher.before-ack")
        await self._changes.acknowledge(done)
        failpoints.hit("matcher.after-ack")
        metrics.changes_matched.inc(len(found))
        for partition in resting:
            self._recovered.pop(partition, None)
            self._poison.rest(partition)
        return resting

    async def _set_aside(self, change: Change, token: int) -> None:
        if not await self._changes.set_aside(change, token, self._poison.reason(change)):
            raise Fenced(f"partition {change.partition} is matched by another process now")
        self._poison.settled(change)
        _log.error("change set aside", change=change.id, focus=change.current.key.reference)

    async def _match(self, change: Change) -> tuple[Sequence[Match], Targets] | None:
        """The subscriptions it is an event of, and what goes with it there; None if it broke the matcher."""
        try:
            _check_readable(change)
            wanted = self._matcher.needs(change)
            related = await self._resources.current_many(change.current.key.tenant, wanted) if wanted else {}
            matches = self._matcher.match(change, related)
            targets = await self._includes.targets(change, {match.topic_canonical for match in matches})
        except StoreUnavailable:
            raise  # the batch comes again
        except Exception as error:  # noqa: BLE001 one poisonous change must not stop those behind it
            tries = self._poison.failed(change, error)
            # a trace takes time that others wait for: once is enough
            log = _log.exception if tries == TRIES else _log.warning
            reference = change.current.key.reference
            log("matching failed", change=change.id, focus=reference, error=type(error).__name__, tries=tries)
            return None
        self._poison.settled(change)
        for problem in self._matcher.drain_errors():
            _log.warning("evaluation failed", change=change.id, problem=str(problem))
        accepted_ms = change.current.at_ms
        eligible = [
            match
            for match in matches
            if eligibility(self._activations[match.tenant, match.subscription_id], accepted_ms)
            is Eligibility.ELIGIBLE
        ]
        return eligible, targets

    async def follow(self) -> None:
        """Brings the matcher in step with the registry, and with the topics where they changed."""
        if self._topics_seen != self._catalog.revision:
            self._topics_seen = self._catalog.revision
            self._follower.start_over()
        changed = await self._follower.changes()
        try:
            await self._apply(changed)
        except BaseException:
            self._follower.start_over()  # it would not tell what stands behind the one that failed again
            raise

    async def _apply(self, changed: Sequence[tuple[SubscriptionKey, Record | None]]) -> None:
        has_asked = False
        for key, record in changed:
            if record is None or not record.activation.counts_events:
                self._matcher.remove(*key)
                self._activations.pop(key, None)
                continue
            topic = self._catalog.bound(record.subscription.topic_canonical)
            if topic is None and not has_asked:  # it may have been given to another process a moment ago
                has_asked = True
                await self._topic_sync.sync()
                topic = self._catalog.bound(record.subscription.topic_canonical)
            if topic is None:
                reason = unserved(record.subscription)
                _log.error("subscription of an unknown topic", subscription=key[1], reason=reason)
                self._matcher.remove(*key)
                await self._subscriptions.fail(record, reason)
                continue
            self._activations[key] = record.activation
            self._matcher.put(record.subscription, topic)

    async def _keep_leases(self) -> None:
        """Holds a fair share of the partitions: what is free is taken, what is too many given back."""
        while not self._stop.is_set():
            try:
                await self._renew()
                await self._rollback_detector.note()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("leases not renewed", error=str(error))
            await sleep_unless(self._stop, RENEW_S)

    async def _renew(self) -> None:
        total = self._store.layout.partitions
        self._matchers = await self._changes.presence(self._owner, LEASE_MS)
        share = math.ceil(total / self._matchers)
        mine = sorted(self._tokens)
        excess = mine[share:]
        if excess:
            for partition in excess:
                self._tokens.pop(partition)
            await self._changes.unlease(excess, self._owner)
        wanted = mine[:share]
        if len(wanted) < share:
            # ask for all that might be free, keep no more than the share
            wanted += [partition for partition in range(total) if partition not in mine]
        asked_at = time.monotonic()
        tokens = await self._changes.lease(wanted, self._owner, LEASE_MS)
        self._renewed_at = asked_at
        surplus = [partition for partition in tokens if partition not in mine][
            max(0, share - len(mine[:share])) :
        ]
        if surplus:
            await self._changes.unlease(surplus, self._owner)
        held = {partition: token for partition, token in tokens.items() if partition not in surplus}
        if held != self._tokens:
            self._tokens = held
            self._lease_changed.set()

    async def _unless_interrupted(self, reading: Awaitable[T]) -> T | None:
        """Waits, but not beyond `stop` or a change of leases: then None; what a cancelled read had taken is pending and comes again."""
        task = asyncio.ensure_future(reading)
        for event in (self._stop, self._lease_changed):
            waiting = self._interrupts.get(event)
            if waiting is None or waiting.done():  # one is kept from read to read: most end without it
                self._interrupts[event] = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([task, *self._interrupts.values()], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self._recovered.clear()
            return None
        finally:
            if not task.done():
                await end([task])


def _check_readable(change: Change) -> None:
    if change.problem:
        raise ValueError(change.problem)
