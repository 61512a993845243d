"""Keeps one process's catalog in step with its folder and with the topics given through the API, and their
subscriptions valid.

A topic of the folder stands before a stored one of the same id. Subscriptions stay bound to the `url|version`
they were accepted for (R-480): if that version says something else than before, those it no longer allows go
to `error`; if it left the folder while a newer version came, it is kept as a retired topic; if it is gone
altogether its subscriptions go to `error` (R-482). Every process may do all of this; doing it twice changes
nothing.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from broker.errors import BrokerError, ConfigurationError, StoreUnavailable
from broker.matching.catalog import Catalog
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.resource import UnversionedResource
from broker.model.subscription import Subscription, SubscriptionStatus
from broker.model.topic import Topic
from broker.store.subscriptions import Record, Subscriptions
from broker.store.topics import StoredTopic, Topics
from broker.tasks import work_until

_log = structlog.get_logger(__name__)
_LIVE = {SubscriptionStatus.REQUESTED, SubscriptionStatus.ACTIVE}
_COUNTING = _LIVE | {SubscriptionStatus.ERROR}


def unserved(subscription: Subscription) -> str:
    """The reason given where a subscription's topic is gone."""
    return f"the topic {subscription.topic_canonical} is no longer served"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the keeper is given: how topics are read and split for the store, and what a topic objects to in a
    subscription.
    """

    parse: Callable[[bytes], Topic]
    split: Callable[[bytes, str], tuple[bytes, bytes]]
    objection: Callable[[Subscription, Topic], str | None]


class TopicSync:
    """One a process. `run` follows changes until `stop`; `sync` does so at once.

    The catalog has the topics of the folder and those that `tenant` stored.
    """

    def __init__(
        self,
        catalog: Catalog,
        topics: Topics,
        subscriptions: Subscriptions,
        folder: Path,
        rules: Rules,
        *,
        tell: Callable[[], None],
        validates: bool,
        tenant: Tenant = DEFAULT_TENANT,
    ) -> None:
        self._catalog = catalog
        self._topics = topics
        self._subscriptions = subscriptions
        self._folder = folder
        self._rules = rules
        self._tell = tell
        self._validates = validates
        self._tenant = tenant
        self._in_folder = {topic.id for topic in catalog.all()}
        self._files = _files(folder)
        self._stored: dict[str, StoredTopic] = {}
        self._lock = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        await work_until(stop, self._listen())

    async def _listen(self) -> None:
        while True:
            try:
                async for told in self._topics.changes():
                    # a word about the folder may have been missed with a connection
                    if told == "folder" or (told is None and _files(self._folder) != self._files):
                        await self.reload()
                    await self.sync()
                    if self._validates:
                        await self.validate()
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="topics", error=str(error))
                await asyncio.sleep(0.5)
            except Exception:  # noqa: BLE001 a topic that breaks the code must not end the following
                _log.exception("topics not followed")
                await asyncio.sleep(0.5)

    async def sync(self) -> None:
        """Loads what the store holds now."""
        async with self._lock:
            wanted = await self._topics.all(self._tenant)
            self._load([one for one in wanted if one.id not in self._in_folder])
            for one in wanted:
                if one.id in self._in_folder:
                    _log.warning("stored topic stands behind one of the folder", topic=one.id)
            self._tell()

    def _load(self, wanted: list[StoredTopic]) -> None:
        kept = {one.id for one in wanted}
        for gone in [one for one in self._stored if one not in kept]:
            self._catalog.remove(gone)
            del self._stored[gone]
        for one in wanted:
            if self._stored.get(one.id) == one:
                continue
            try:
                self._catalog.put(self._rules.parse(one.document))
            except BrokerError as error:
                _log.error("stored topic not loaded", topic=one.id, error=str(error))
                continue
            self._stored[one.id] = one

    async def reload(self) -> None:
        """Reads the folder again; what can't be loaded is logged and everything stays as it was."""
        async with self._lock:
            self._files = _files(self._folder)
            before = self._catalog.all()
            for topic in before:
                self._catalog.remove(topic.id)
            try:
                self._catalog.load(self._folder)
            except ConfigurationError as error:
                _log.error("topics folder not loaded; the topics stay as they were", error=str(error))
                self._catalog.replace_all(before)
                return
            self._in_folder = {topic.id for topic in self._catalog.all()}
            stored = [one for one in self._stored.values() if one.id not in self._in_folder]
            self._stored = {}
            self._load(stored)
            _log.info("topics folder loaded", topics=len(self._in_folder))

    async def validate(self) -> None:
        """Looks at the subscriptions of topic versions that changed or went since anyone last did."""
        known = await self._topics.validated(self._tenant)
        replaced = {name: known[name] for name in known.keys() - self._canonicals().keys()}
        if replaced:
            await self._keep_superseded(replaced)
        now = self._canonicals()
        changed = {name for name, topic in now.items() if known.get(name) not in {None, topic.document}}
        gone = known.keys() - now.keys()
        if changed or gone or not known:
            async for record in self._subscriptions.of_all_tenants():
                await self._look_at(record, changed, now)
        fresh = {name: topic.document for name, topic in now.items() if known.get(name) != topic.document}
        if fresh or gone:
            await self._topics.record_validated(self._tenant, fresh, sorted(gone))

    async def _look_at(self, record: Record, changed: set[str], now: dict[str, Topic]) -> None:
        subscription = record.subscription
        if subscription.status not in _LIVE:
            return
        topic = now.get(subscription.topic_canonical)
        if topic is None:
            reason: str | None = unserved(subscription)
        elif topic.canonical in changed:
            reason = self._rules.objection(subscription, topic)
        else:
            return
        if reason is not None and await self._subscriptions.fail(record, reason):
            _log.warning("subscription no longer valid", subscription=subscription.id, reason=reason)

    def _canonicals(self) -> dict[str, Topic]:
        return {topic.canonical: topic for topic in self._catalog.all()}

    async def _keep_superseded(self, gone: dict[str, bytes]) -> None:
        """Stores, as retired, the versions that a newer one replaced while subscriptions are bound to them;
        loads them.
        """
        replaced = {name for name in gone if self._catalog.resolve(name.partition("|")[0])}
        used = set()
        if replaced:
            async for record in self._subscriptions.of_all_tenants():
                if record.subscription.status in _COUNTING:
                    used.add(record.subscription.topic_canonical)
        for name in sorted(used & replaced):
            document: dict[str, Any] = orjson.loads(gone[name])
            version = re.sub(r"[^A-Za-z0-9.-]", "-", str(document.get("version", "0")))
            one = f"{document['id']}-{version}"[:64]
            body = orjson.dumps(document | {"id": one, "status": "retired"})
            # another process may have been first
            await self._topics.put(
                self._tenant, one, UnversionedResource(*self._rules.split(body, one)), create=True
            )
            _log.info("superseded topic kept for its subscriptions", topic=name, id=one)
        if used & replaced:
            await self.sync()


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """The files below a folder, each with when it was written and its size: they tell whether it has changed."""
    found = {path: path.stat() for path in folder.rglob("*.json")}
    return {path: (one.st_mtime_ns, one.st_size) for path, one in found.items()}
