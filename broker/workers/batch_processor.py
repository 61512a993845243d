"""Turns a batch of changes into events: match, resolve included resources, append to the outboxes, move the
positions up to which the partitions are matched.

Within a partition, changes keep their order, up to the first one whose matching fails; the appends of
different partitions run concurrently. A repeated batch adds nothing: the outboxes skip changes they already
have. So each change is matched at least once and numbered exactly once.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from broker import failpoints
from broker.delivery.owner_access import DeliveryAccess
from broker.errors import StoreUnavailable
from broker.matching.matcher import Match, Matcher
from broker.model.change import Change
from broker.model.subscription import SubscriptionKey
from broker.store.changes import Changes
from broker.store.matched_positions import START, MatchedPositions
from broker.store.outbox import Context, Outboxes
from broker.store.resources import Resources
from broker.store.scripts.matching import Step
from broker.tasks import Slices
from broker.telemetry import tracing
from broker.telemetry.logs import log_fields
from broker.telemetry.tracing import NO_SPAN, Span, SpanKind, Tracer
from broker.workers.includes import IncludeResolver, Targets
from broker.workers.large_changes import run_aside
from broker.workers.partitions import Partition
from broker.workers.poison import MAX_ATTEMPTS, UnreadableChange
from broker.workers.subscription_index import SubscriptionIndexUpdater

_log = structlog.get_logger(__name__)
_YIELD_EVERY = 32


class MatchedChange(NamedTuple):
    """A change, the subscriptions it is an event of, and the resources their topics include.

    `is_poison`: its matching failed for the last time, so it becomes a dead letter. The trace of the change
    is that of `span`, which is open until the events are in the outboxes.
    """

    change: Change
    matches: Sequence[Match]
    targets: Targets
    is_poison: bool = False
    span: Span = NO_SPAN


@dataclass(slots=True)
class _PartitionEvents:
    """The events of one partition in a batch, and what goes with each (by subscription and change id)."""

    matched: dict[SubscriptionKey, list[Change]] = field(default_factory=dict)
    contexts: dict[tuple[SubscriptionKey, str], Context] = field(default_factory=dict)


class BatchProcessor:
    """Processes the batches of one matcher, one at a time.

    `expiring_types`: types whose current versions are not kept for ever.
    """

    def __init__(
        self,
        changes: Changes,
        positions: MatchedPositions,
        outboxes: Outboxes,
        resources: Resources,
        matcher: Matcher,
        includes: IncludeResolver,
        index: SubscriptionIndexUpdater,
        access: DeliveryAccess,
        *,
        expiring_types: Collection[str],
        tracer: Tracer = tracing.OFF,
    ) -> None:
        self._tracer = tracer
        self._changes = changes
        self._positions = positions
        self._outboxes = outboxes
        self._resources = resources
        self._matcher = matcher
        self._includes = includes
        self._index = index
        self._access = access
        self._expiring_types = expiring_types

    async def process(self, changes: Sequence[Change], partitions: Mapping[int, Partition]) -> None:
        """The index must have been updated since the changes were read.

        The position stays before a change whose matching failed: the partition rests, and the change is read
        again with those behind it. Raises `Fenced`, `StoreRolledBack` and `StoreUnavailable`: the whole batch
        is then read again.
        """
        failpoints.hit("matcher.after-follow")
        async with self._index.matching():
            batch, resting = await self._match_all(changes, partitions)
        await self._append(batch, partitions)
        for matched in batch:
            matched.span.end()
        failpoints.hit("matcher.before-ack")
        await self._advance(batch, partitions)
        failpoints.hit("matcher.after-ack")
        for number in resting:
            partitions[number].poison.rest()

    async def _match_all(
        self, changes: Sequence[Change], partitions: Mapping[int, Partition]
    ) -> tuple[list[MatchedChange], set[int]]:
        """What is to be appended, and the partitions that have to rest."""
        batch: list[MatchedChange] = []
        resting: set[int] = set()
        slices = Slices()
        for n, change in enumerate(changes):
            partition = partitions[change.partition]
            # also behind a failed change, so that the attempts of both count at the same time
            matched = await self._match(change, partition, slices)
            if matched is None and not partition.poison.is_exhausted(change.id):
                resting.add(change.partition)
            elif change.partition not in resting:
                batch.append(matched or MatchedChange(change, (), {}, is_poison=True))
            if n % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)  # lets the other loops of this process run
        return batch, resting

    async def _match(self, change: Change, partition: Partition, slices: Slices) -> MatchedChange | None:
        """None if the matching failed."""
        span = self._tracer.start("match", SpanKind.CONSUMER, change.trace)
        if span.traceparent != change.trace:
            change = change._replace(trace=span.traceparent)
        try:
            _check_readable(change)
            for _ in self._matcher.prepare(change):
                await slices.pause()
            targets = await run_aside(change, self._matcher.needs, change)
            related = (
                await self._resources.current_many(change.current.key.tenant, targets) if targets else {}
            )
            matches = await run_aside(change, self._matcher.match, change, related)
            matches = await self._events(change, matches)
            included = await self._includes.targets(change, {match.topic_canonical for match in matches})
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 one poison message must not stop the changes behind it
            attempts = partition.poison.record(change.id, error)
            # a traceback costs time, so only the last attempt logs it
            log = _log.exception if attempts == MAX_ATTEMPTS else _log.warning
            log(
                "matching failed",
                change=change.id,
                focus=change.current.key.reference,
                error=type(error).__name__,
                attempts=attempts,
                **log_fields(change.trace),
            )
            _describe(span, change, 0)
            span.fail(type(error).__name__)
            span.end()
            return None
        partition.poison.forget(change.id)
        for problem in self._matcher.drain_problems():
            # `$explain` gives the reason to who may read the resource
            _log.warning(
                "evaluation failed", change=change.id, place=problem.place, **log_fields(change.trace)
            )
        _describe(span, change, len(matches))
        return MatchedChange(change, matches, included, span=span)

    async def _events(self, change: Change, matches: Sequence[Match]) -> list[Match]:
        """The matches that are events: the state of the subscription allows it, and its owner may see the
        change.
        """
        eligible = [match for match in matches if self._index.is_event(match, change)]
        seeing = await self._access.seeing(change, {self._index.owner(match) for match in eligible})
        return [match for match in eligible if self._index.owner(match) in seeing]

    async def _append(self, batch: Sequence[MatchedChange], partitions: Mapping[int, Partition]) -> None:
        """Appends to all outboxes. One failed partition does not interrupt the appends of the others."""
        contexts = await self._includes.contexts([(matched.change, matched.targets) for matched in batch])
        await self._hold_included(batch, contexts)
        by_partition: dict[int, _PartitionEvents] = {}
        for (change, matches, *_), by_topic in zip(batch, contexts, strict=True):
            for match in matches:
                events = by_partition.setdefault(change.partition, _PartitionEvents())
                key = (match.tenant, match.subscription_id)
                events.matched.setdefault(key, []).append(change)
                events.contexts[key, change.id] = by_topic[match.topic_canonical]
        appends = [
            self._append_partition(partitions[number], events) for number, events in by_partition.items()
        ]
        for result in await asyncio.gather(*appends, return_exceptions=True):
            if result is not None:
                raise result

    async def _hold_included(
        self, batch: Sequence[MatchedChange], contexts: Sequence[Mapping[str, Context]]
    ) -> None:
        """Keeps what the events include as long as the events, although it may be older."""
        since_ms = {
            included.key: matched.change.current.at_ms
            for matched, by_topic in zip(batch, contexts, strict=True)
            for context in by_topic.values()
            for included in context.included
            if included.key.type in self._expiring_types
        }
        if since_ms:
            await self._changes.hold(since_ms)

    async def _append_partition(self, partition: Partition, events: _PartitionEvents) -> None:
        await self._outboxes.append(partition.number, partition.token, events.matched, events.contexts)
        failpoints.hit("matcher.between-appends")

    async def _advance(self, batch: Sequence[MatchedChange], partitions: Mapping[int, Partition]) -> None:
        """Moves the position of each partition behind its changes, whose events are in the outboxes."""
        done: dict[int, list[MatchedChange]] = {}
        for matched in batch:
            done.setdefault(matched.change.partition, []).append(matched)
        steps = []
        for number, changes in done.items():
            partition, count = partitions[number], 0
            for matched in changes:
                count += 1
                if matched.is_poison:
                    await self._make_dead_letter(matched.change, partition, count)
                    count = 0
            if count:
                steps.append(_step(partition, changes[-1].change, count))
        await self._positions.advance(steps)
        for step in steps:
            partitions[step.partition].position = step.last

    async def _make_dead_letter(self, change: Change, partition: Partition, count: int) -> None:
        reason = partition.poison.reason(change.id)
        await self._positions.move_to_dead_letters(change, _step(partition, change, count), reason)
        partition.position = change.id
        partition.poison.forget(change.id)
        _log.error(
            "change became a dead letter",
            change=change.id,
            focus=change.current.key.reference,
            **log_fields(change.trace),
        )


def _step(partition: Partition, last: Change, count: int) -> Step:
    return Step(partition.number, partition.token, partition.position or START, last.id, count)


def _describe(span: Span, change: Change, matches: int) -> None:
    span.set("fhir_broker.tenant", change.current.key.tenant)
    span.set("fhir_broker.resource.type", change.current.key.type)
    span.set("fhir_broker.interaction", change.interaction)
    span.set("fhir_broker.events", matches)


def _check_readable(change: Change) -> None:
    if change.problem:
        raise UnreadableChange(change.problem)
