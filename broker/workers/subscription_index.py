"""Keeps a matcher's index of subscriptions in step with the registry log and the topics.

`follow` applies what the log announces as it is announced, in slices between which the other tasks of the
process run. The batch processor calls `update` after each read and before matching, so a change that was
accepted after a subscription became active is always matched against it; after `follow`, hardly anything is
left to do. Nothing changes the index while a batch is matched (`matching`).

After a topic changed, its subscriptions move to the new content one by one. Until its turn comes, a
subscription is matched by the old content; none is ever missing.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import msgspec
import structlog

from broker.errors import StoreUnavailable
from broker.matching.catalog import Catalog
from broker.matching.matcher import Match, Matcher
from broker.model.change import Change
from broker.model.eligibility import Activation, Eligibility, eligibility
from broker.model.subscription import SubscriptionKey, SubscriptionStatus
from broker.model.topic import Topic
from broker.store.registry import Changed, RegistryFollower
from broker.store.subscriptions import Record, Subscriptions
from broker.tasks import BACKGROUND_REST_S, Slices, first_of
from broker.telemetry import metrics
from broker.workers.topic_sync import TopicSync
from broker.workers.topic_validation import unserved

_log = structlog.get_logger(__name__)
WAIT_S = 5.0
RETRY_S = 0.5
GATHER_S = 0.02
"""How long `follow` waits after a first log entry, so that those of a storm are applied together."""
REFILE_S = 0.05
"""How long the first batch after a change of topics waits for subscriptions that move to the new content.
`follow` moves the others.
"""


class _Filed(msgspec.Struct, frozen=True, gc=False):
    """A subscription in the index: its state, the document that was filed, and its owner."""

    activation: Activation
    revision: str
    owner: str


class SubscriptionIndexUpdater:
    """Puts subscriptions that count events into the index, and removes the others.

    `is_loaded`: the index has every subscription that was registered before it was first updated.
    """

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
        self.is_loaded = False
        self._catalog_revision = catalog.revision
        self._starts_over = False
        self._refile_s = 0.0
        self._has_work = asyncio.Event()
        self._lock = asyncio.Lock()
        self._filed: dict[SubscriptionKey, _Filed] = {}
        self._unserved: dict[SubscriptionKey, str] = {}

    def start_over(self) -> None:
        """The next update reads the whole registry: the store may have lost what was read."""
        self._starts_over = True
        self._has_work.set()

    async def follow(self) -> None:
        """Keeps the index up to date until it is cancelled."""
        while True:
            try:
                async with self._lock:
                    await self._apply_changes()
                await self._refile_all()
                await first_of(self._registry.wait(WAIT_S), self._has_work)
                await asyncio.sleep(GATHER_S)
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("store unavailable", worker="subscription index", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def update(self) -> None:
        """Applies everything that was announced before the call."""
        async with self._lock:
            await self._apply_changes()
            if self._refile_s and await self._refile_first():
                self._has_work.set()

    @contextlib.asynccontextmanager
    async def matching(self) -> AsyncIterator[None]:
        """While the block runs, the index does not change."""
        async with self._lock:
            yield

    def is_event(self, match: Match, change: Change) -> bool:
        """Whether the state of the subscription lets the change be its event (`model/eligibility.py`)."""
        filed = self._filed[match.tenant, match.subscription_id]
        return eligibility(filed.activation, change.current.at_ms) is Eligibility.ELIGIBLE

    def owner(self, match: Match) -> str:
        """The client that the subscription belongs to."""
        return self._filed[match.tenant, match.subscription_id].owner

    async def _apply_changes(self) -> None:
        slices = Slices()
        self._has_work.clear()
        if self._starts_over:
            self._starts_over = False
            self._registry.start_over()
        if self._catalog_revision != self._catalog.revision:
            await self._apply_topics(slices)
        # what was not applied when this fails comes again in the next update
        async with contextlib.aclosing(self._registry.pages()) as pages:
            async for page in pages:
                await self._apply(page, slices)
        self.is_loaded = True

    async def _apply_topics(self, slices: Slices) -> None:
        """Takes the topics that the catalog has now, and what depends on them, to the index.

        A subscription whose topic is gone stays, with the content that it has: the topic validator keeps the
        topic for it or sets it to `error`, which the registry log announces.
        """
        revision, topics = self._catalog.revision, self._catalog.all()
        self._refile_s = REFILE_S
        self._index.recompile()
        for topic in topics:
            self._index.set_topic(topic)
            await slices.pause()
        self._catalog_revision = revision
        served = {topic.canonical for topic in topics}
        self._registry.repeat([key for key, canonical in self._unserved.items() if canonical in served])

    async def _apply(self, page: Changed, slices: Slices) -> None:
        has_synced = False
        for key, record in page:
            self._unserved.pop(key, None)
            if record is None or not record.activation.counts_events:
                self._remove(key)
            elif self._is_unserved(key, record):
                self._remove(key)
                self._unserved[key] = record.subscription.topic_canonical
            elif not self._has_filed(key, record):
                topic = self._bound_topic(record)
                # another process may have received the topic just now, or this one may have replaced it
                if topic is None and not has_synced:
                    has_synced = True
                    await self._topic_sync.sync_and_validate()
                    topic = self._bound_topic(record)
                if topic is None:
                    await self._fail(key, record)
                else:
                    self._index.put(record.subscription, topic)
                    self._filed[key] = _Filed(record.activation, record.revision, record.subscription.owner)
            await slices.pause()

    def _is_unserved(self, key: SubscriptionKey, record: Record) -> bool:
        """Whether the subscription was in the index and went to `error` because its topic is gone."""
        is_in_error = record.subscription.status is SubscriptionStatus.ERROR
        return key in self._filed and is_in_error and self._bound_topic(record) is None

    def _has_filed(self, key: SubscriptionKey, record: Record) -> bool:
        """Whether the index has the document; what is announced is then no more than a new status."""
        filed = self._filed.get(key)
        if filed is None or filed.revision != record.revision:
            return False
        self._filed[key] = _Filed(record.activation, filed.revision, filed.owner)
        return True

    async def _refile_all(self) -> None:
        """Moves subscriptions to the new content of their topic, and lets batches have their turn after each
        slice.
        """
        while True:
            async with self._lock:
                slices = Slices.in_background()
                while self._index.refile():
                    if slices.is_over:
                        break
                else:
                    self._refile_s = 0.0
                    return
            await asyncio.sleep(BACKGROUND_REST_S)

    async def _refile_first(self) -> bool:
        """Moves subscriptions as long as a batch waits for them. Whether some are left."""
        slices, until = Slices(), time.monotonic() + self._refile_s
        self._refile_s = 0.0
        while self._index.refile():
            if time.monotonic() >= until:
                return True
            await slices.pause()
        return False

    def _remove(self, key: SubscriptionKey) -> None:
        self._index.remove(*key)
        self._filed.pop(key, None)

    def _bound_topic(self, record: Record) -> Topic | None:
        return self._catalog.bound(record.subscription.topic_canonical)

    async def _fail(self, key: SubscriptionKey, record: Record) -> None:
        reason = unserved(record.subscription)
        _log.error("topic of a subscription is unknown", subscription=key[1], reason=reason)
        self._remove(key)
        self._unserved[key] = record.subscription.topic_canonical
        await self._subscriptions.fail(record, reason)
