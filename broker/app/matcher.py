"""Builds the worker of the role `match`."""

from broker.app.parts import Parts
from broker.matching.index import IndexedMatcher
from broker.store.outbox import Outboxes
from broker.store.rollback import RollbackDetector
from broker.workers.includes import IncludeResolver
from broker.workers.matcher import MatcherWorker
from broker.workers.topic_sync import TopicSync


def build_matcher(parts: Parts, topic_sync: TopicSync) -> MatcherWorker:
    """A matcher with an empty index: it reads the subscriptions when it runs."""
    settings = parts.settings
    rollback_detector = RollbackDetector(parts.store, settings.high_water_path)
    return MatcherWorker(
        parts.store,
        parts.changes,
        Outboxes(parts.store, most=settings.max_outbox, rollback_detector=rollback_detector),
        rollback_detector,
        parts.catalog,
        IndexedMatcher(parts.parameters, parts.base_urls, parts.catalog.value_sets),
        IncludeResolver(parts.catalog, parts.parameters, parts.resources, parts.base_urls),
        topic_sync,
        parts.stop,
    )
