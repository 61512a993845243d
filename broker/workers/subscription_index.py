"""Keeps a matcher's index of subscriptions in step with the registry log and the topics.

The batch processor calls `update` after each read and before matching, so a change that was accepted after a
subscription became active is always matched against it.
"""

from collections.abc import Sequence

import structlog

from broker.matching.catalog import Catalog
from broker.matching.matcher import Match, Matcher
from broker.model.change import Change
from broker.model.eligibility import Activation, Eligibility, eligibility
from broker.model.subscription import SubscriptionKey
from broker.model.topic import Topic
from broker.store.registry import RegistryFollower
from broker.store.subscriptions import Record, Subscriptions
from broker.workers.topic_sync import TopicSync
from broker.workers.topic_validation import unserved

_log = structlog.get_logger(__name__)


class SubscriptionIndexUpdater:
    """Puts subscriptions that count events into the index, and removes the others."""

    def __init__(
        self,
        registry: RegistryFollower,
        subscriptions: Subscriptions,
        catalog: Catalog,
        topic_sync: TopicSync,
        index: Matcher,
    ) -> None:
        self._registry = registry
        self._subscriptions = subscriptions
        self._catalog = catalog
        self._topic_sync = topic_sync
        self._index = index
        self._catalog_revision = catalog.revision
        self._activations: dict[SubscriptionKey, Activation] = {}

    def start_over(self) -> None:
        """The next update reads the whole registry: the store may have lost what was read."""
        self._registry.start_over()

    async def update(self) -> None:
        """Applies what changed since the last call; after a change of topics, every subscription is indexed
        again.
        """
        if self._catalog_revision != self._catalog.revision:
            self._catalog_revision = self._catalog.revision
            self._registry.start_over()
        changed = await self._registry.changes()
        try:
            await self._apply(changed)
        except BaseException:
            # the follower would not return the changes behind the failed one again
            self._registry.start_over()
            raise

    def is_event(self, match: Match, change: Change) -> bool:
        """Whether the state of the subscription lets the change be its event (`model/eligibility.py`)."""
        activation = self._activations[match.tenant, match.subscription_id]
        return eligibility(activation, change.current.at_ms) is Eligibility.ELIGIBLE

    async def _apply(self, changed: Sequence[tuple[SubscriptionKey, Record | None]]) -> None:
        has_synced = False
        for key, record in changed:
            if record is None or not record.activation.counts_events:
                self._index.remove(*key)
                self._activations.pop(key, None)
                continue
            topic = self._bound_topic(record)
            if topic is None and not has_synced:  # another process may have received the topic a moment ago
                has_synced = True
                await self._topic_sync.sync()
                topic = self._bound_topic(record)
            if topic is None:
                await self._fail(key, record)
                continue
            self._activations[key] = record.activation
            self._index.put(record.subscription, topic)

    def _bound_topic(self, record: Record) -> Topic | None:
        return self._catalog.bound(record.subscription.topic_canonical)

    async def _fail(self, key: SubscriptionKey, record: Record) -> None:
        reason = unserved(record.subscription)
        _log.error("topic of a subscription is unknown", subscription=key[1], reason=reason)
        self._index.remove(*key)
        await self._subscriptions.fail(record, reason)
