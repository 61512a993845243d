"""Keeps the topic catalog of a process in step with the topics folder and with the topics put through the
API.

A topic of the folder takes precedence over a stored topic with the same id, which stays hidden until the
folder no longer has that id. Every process syncs its own catalog; doing it twice changes nothing. In a
process with the role `match`, a `TopicValidator` then checks the subscriptions of changed topics.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from broker.errors import BrokerError, ConfigurationError, StoreUnavailable
from broker.fhir.topics import parse_topic
from broker.matching.catalog import Catalog
from broker.matching.shapes import ReverseReferences
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.resource import Resource
from broker.store.topics import StoredTopic, Topics
from broker.tasks import work_until
from broker.workers.topic_validation import TopicValidator

_log = structlog.get_logger(__name__)
_RETRY_S = 0.5
_FOLDER_MESSAGE = "folder"


class TopicSync:
    """One a process. `run` follows changes until `stop` is set; `sync` loads the stored topics at once.

    The catalog has the topics of the folder and those that `tenant` stored.
    """

    def __init__(
        self,
        catalog: Catalog,
        topics: Topics,
        folder: Path,
        reverse_references: ReverseReferences,
        validator: TopicValidator | None,
        *,
        tenant: Tenant = DEFAULT_TENANT,
    ) -> None:
        self._catalog = catalog
        self._topics = topics
        self._folder = folder
        self._reverse_references = reverse_references
        self._validator = validator
        self._tenant = tenant
        self._folder_ids = {topic.id for topic in catalog.all()}
        self._file_stamps = _stamps_of(folder)
        self._stored: dict[str, StoredTopic] = {}
        self._lock = asyncio.Lock()

    async def run(self, stop: asyncio.Event) -> None:
        await work_until(stop, self._follow())

    async def sync(self) -> None:
        """Loads the topics that the store has now. Raises `StoreUnavailable`."""
        async with self._lock:
            stored = await self._topics.all(self._tenant)
            self._load([topic for topic in stored if topic.id not in self._folder_ids])
            for topic in stored:
                if topic.id in self._folder_ids:
                    _log.warning("stored topic hidden by a topic of the folder", topic=topic.id)
            self._reverse_references.set_topics(self._catalog.all())

    async def sync_and_validate(self) -> None:
        """As `sync`, and has the validator keep versions that subscriptions are bound to."""
        await self.sync()
        if self._validator is not None:
            await self._validator.validate(self.sync)

    async def reload_folder(self) -> None:
        """Reads the folder again, in a thread; until that is done, the catalog stays as it is. If the folder
        cannot be loaded, logs the error and leaves the catalog as it is.
        """
        async with self._lock:
            self._file_stamps = _stamps_of(self._folder)
            try:
                catalog, stored = await asyncio.to_thread(self._read)
            except ConfigurationError as error:
                _log.error("topics folder not loaded; the topics stay as they were", error=str(error))
                return
            self._catalog.replace(catalog.contents)
            self._folder_ids = {topic.id for topic in catalog.all()} - stored.keys()
            self._stored = stored
            _log.info("topics folder loaded", topics=len(self._folder_ids))

    def _read(self) -> tuple[Catalog, dict[str, StoredTopic]]:
        """A new catalog of the folder and the stored topics, and which stored topics are in it."""
        catalog = self._catalog.empty()
        catalog.load(self._folder)
        hidden = {topic.id for topic in catalog.all()}
        return catalog, _put_all(
            catalog, [topic for topic in self._stored.values() if topic.id not in hidden]
        )

    async def _follow(self) -> None:
        while True:
            try:
                async for message in self._topics.changes():
                    # a message about the folder may have been lost with the connection
                    is_reconnected = message is None
                    if message == _FOLDER_MESSAGE or (
                        is_reconnected and _stamps_of(self._folder) != self._file_stamps
                    ):
                        await self.reload_folder()
                    await self.sync_and_validate()
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="topics", error=str(error))
                await asyncio.sleep(_RETRY_S)
            except Exception:  # noqa: BLE001 a topic that triggers a bug must not stop the worker
                _log.exception("topic change not processed")
                await asyncio.sleep(_RETRY_S)

    def _load(self, stored: Sequence[StoredTopic]) -> None:
        """Makes the stored part of the catalog equal to `stored`."""
        ids = {topic.id for topic in stored}
        for topic_id in [topic_id for topic_id in self._stored if topic_id not in ids]:
            self._catalog.remove(topic_id)
            del self._stored[topic_id]
        self._stored |= _put_all(
            self._catalog, [topic for topic in stored if self._stored.get(topic.id) != topic]
        )


def _put_all(catalog: Catalog, stored: Sequence[StoredTopic]) -> dict[str, StoredTopic]:
    """Puts the topics into the catalog, and returns by id those that have no error."""
    loaded = {}
    for topic in stored:
        try:
            catalog.put(parse_topic(Resource(topic.document)))
        except BrokerError as error:
            _log.error("stored topic not loaded", topic=topic.id, error=str(error))
            continue
        loaded[topic.id] = topic
    return loaded


def _stamps_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Modification time and size of each file below the folder: they differ when the folder has changed."""
    stats = {path: path.stat() for path in folder.rglob("*.json")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}
