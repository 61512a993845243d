"""Builds the worker of the role `match`, each time that it starts."""

from broker.app.parts import Parts
from broker.matching.index import IndexedMatcher
from broker.matching.matcher import Matcher
from broker.store.matched_positions import MatchedPositions
from broker.store.outbox import Outboxes
from broker.store.registry import RegistryFollower
from broker.store.rollback import RollbackDetector
from broker.workers.batch_processor import BatchProcessor
from broker.workers.includes import IncludeResolver
from broker.workers.matcher import MatcherWorker
from broker.workers.partition_leases import PartitionLeases
from broker.workers.subscription_index import SubscriptionIndexUpdater
from broker.workers.topic_sync import TopicSync


def build_matcher(
    parts: Parts,
    topic_sync: TopicSync,
    *,
    matcher: Matcher | None = None,
    outboxes: Outboxes | None = None,
) -> MatcherWorker:
    """A matcher with an empty index: it reads the subscriptions when it runs.

    Tests replace `matcher` and `outboxes` by some that fail.
    """
    settings = parts.settings
    matcher = matcher or IndexedMatcher(parts.search_context)
    index = SubscriptionIndexUpdater(
        RegistryFollower(parts.store), parts.subscriptions, parts.catalog, topic_sync, matcher
    )
    rollback_detector = RollbackDetector(parts.store, settings.high_water_path)
    processor = BatchProcessor(
        parts.changes,
        MatchedPositions(parts.store),
        outboxes
        or Outboxes(parts.store, max_events=settings.max_outbox, rollback_detector=rollback_detector),
        parts.resources,
        matcher,
        IncludeResolver(parts.catalog, parts.search_context, parts.resources),
        index,
        parts.access,
        expiring_types=settings.kept_types.keys(),
        tracer=parts.tracer,
    )
    return MatcherWorker(
        parts.store,
        parts.changes,
        rollback_detector,
        PartitionLeases(parts.store),
        index,
        processor,
        parts.matcher_lag,
        parts.stop,
    )


class MatcherLoop:
    """Runs a new matcher with each call of `run`, so that a restart begins with no state."""

    def __init__(self, parts: Parts, topic_sync: TopicSync) -> None:
        self._parts = parts
        self._topic_sync = topic_sync
        self._worker: MatcherWorker | None = None

    async def run(self) -> None:
        self._worker = build_matcher(self._parts, self._topic_sync)
        await self._worker.run()

    def state(self) -> str:
        """What /readyz shows of its index."""
        return "is started" if self._worker is None else self._worker.state
