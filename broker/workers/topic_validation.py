"""Keeps subscriptions valid when topics change (R-480..R-482).

A subscription stays bound to the `url|version` it was accepted for. If the content of that version changed,
subscriptions that it no longer allows go to `error`. If a newer version replaced it, it is kept as a retired
topic as long as subscriptions are bound to it. If the topic is gone, its subscriptions go to `error`. Every
matcher process may validate; doing it twice changes nothing.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import orjson
import structlog

from broker.matching.catalog import Catalog
from broker.matching.context import SearchContext
from broker.matching.registration import check_filters
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.resource import Resource, UnversionedResource
from broker.model.subscription import Subscription, SubscriptionStatus
from broker.model.topic import Topic
from broker.store.subscriptions import Record, Subscriptions
from broker.store.topics import Topics

_log = structlog.get_logger(__name__)
_VALIDATED = {SubscriptionStatus.REQUESTED, SubscriptionStatus.ACTIVE}
_BOUND = _VALIDATED | {SubscriptionStatus.ERROR}
_MAX_ID = 64


def unserved(subscription: Subscription) -> str:
    """Why a subscription goes to `error` when its topic is gone."""
    return f"the topic {subscription.topic_canonical} is no longer served"


class TopicValidator:
    """Compares the catalog with the topic versions that were validated last, by whichever process."""

    def __init__(
        self,
        catalog: Catalog,
        topics: Topics,
        subscriptions: Subscriptions,
        context: SearchContext,
        *,
        tenant: Tenant = DEFAULT_TENANT,
    ) -> None:
        self._catalog = catalog
        self._topics = topics
        self._subscriptions = subscriptions
        self._context = context
        self._tenant = tenant

    async def validate(self, sync: Callable[[], Awaitable[None]]) -> None:
        """Checks the subscriptions of versions that changed or disappeared since the last validation.

        Calls `sync` after it stored superseded versions, so that the catalog has them. Raises
        `StoreUnavailable`.
        """
        validated = await self._topics.validated(self._tenant)
        missing = {name: validated[name] for name in validated.keys() - self._served().keys()}
        if missing and await self._store_superseded(missing):
            await sync()
        served = self._served()
        changed = {
            name for name, topic in served.items() if validated.get(name) not in {None, topic.document}
        }
        gone = validated.keys() - served.keys()
        if changed or gone or not validated:
            async for record in self._subscriptions.of_all_tenants():
                await self._check(record, changed, served)
        documents = {
            name: topic.document for name, topic in served.items() if validated.get(name) != topic.document
        }
        if documents or gone:
            await self._topics.record_validated(self._tenant, documents, sorted(gone))

    def _served(self) -> dict[str, Topic]:
        return {topic.canonical: topic for topic in self._catalog.all()}

    async def _check(self, record: Record, changed: Collection[str], served: Mapping[str, Topic]) -> None:
        """Sets the subscription to `error` if its topic is gone, or changed and no longer allows it."""
        subscription = record.subscription
        if subscription.status not in _VALIDATED:
            return
        topic = served.get(subscription.topic_canonical)
        if topic is None:
            reason = unserved(subscription)
        elif topic.canonical in changed:
            problems = check_filters(subscription, topic, self._context)
            reason = "; ".join(problem.text for problem in problems)
        else:
            return
        if reason and await self._subscriptions.fail(record, reason):
            _log.warning("subscription no longer valid", subscription=subscription.id, reason=reason)

    async def _store_superseded(self, missing: Mapping[str, bytes]) -> bool:
        """Stores as retired the versions that a newer one replaced while subscriptions are bound to them."""
        superseded = {name for name in missing if self._catalog.resolve(name.partition("|")[0])}
        if not superseded:
            return False
        bound = {
            record.subscription.topic_canonical
            async for record in self._subscriptions.of_all_tenants()
            if record.subscription.status in _BOUND
        }
        for name in sorted(bound & superseded):
            topic_id, document = _retired(missing[name])
            # another process may have stored it first, which is as good
            await self._topics.put(self._tenant, topic_id, document, create=True)
            _log.info("superseded topic kept for its subscriptions", topic=name, id=topic_id)
        return bool(bound & superseded)


def _retired(document: bytes) -> tuple[str, UnversionedResource]:
    """A topic version as a retired topic with an id of its own: `<id>-<version>`."""
    topic: dict[str, Any] = orjson.loads(document)
    version = re.sub(r"[^A-Za-z0-9.-]", "-", str(topic.get("version", "0")))
    topic_id = f"{topic['id']}-{version}"[:_MAX_ID]
    resource = Resource(orjson.dumps(topic | {"id": topic_id, "status": "retired"}))
    return topic_id, resource.without_version(type="SubscriptionTopic", id=topic_id)
