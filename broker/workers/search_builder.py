"""Indexes stored resources for searches when the setting of the indexes has changed, and after a migration.

Each process that takes changes runs it; one of them builds at a time. Searches of the types are refused until
it is done (`services/resource_search.py`).
"""

import asyncio
import uuid
from collections.abc import Sequence

import structlog

from broker.errors import StoreUnavailable
from broker.matching.search_index import SearchIndex
from broker.store.search_builds import SearchBuilds, StoredState
from broker.tasks import Slices, sleep_unless

_log = structlog.get_logger(__name__)
_LOOK_AGAIN_S = 1.0


class SearchBuilder:
    """`run` returns after `stop` is set."""

    def __init__(self, builds: SearchBuilds, index: SearchIndex, stop: asyncio.Event) -> None:
        self._builds = builds
        self._index = index
        self._stop = stop
        self._owner = uuid.uuid4().hex

    async def run(self) -> None:
        while not await self._is_complete():
            if await sleep_unless(self._stop, _LOOK_AGAIN_S):
                return
        await self._stop.wait()

    async def _is_complete(self) -> bool:
        """Builds what is stale, unless another process does; False: look again."""
        try:
            if not await self._builds.stale():
                return True
            if await self._builds.claim(self._owner):
                if await self._build():
                    await self._builds.complete()
                await self._builds.release(self._owner)
        except StoreUnavailable as error:
            _log.warning("store unavailable", worker="search indexes", error=str(error))
        return False

    async def _build(self) -> bool:
        """Indexes what is stale; False if the process stops or another one builds before it is done."""
        stale = await self._builds.stale()
        count, slices = 0, Slices.in_background()
        async for page in self._builds.resources(stale):
            indexed = []
            for state in page:
                indexed.append(self._indexed(state))
                await slices.pause()
            await self._builds.index(indexed)
            count += len(page)
            if self._stop.is_set() or not await self._builds.claim(self._owner):
                return False
        _log.info("search indexes built", types=sorted(stale), resources=count)
        return True

    def _indexed(self, state: StoredState) -> tuple[StoredState, Sequence[str] | None, int]:
        version = state.version
        if version.resource is None:
            return state, () if self._index.definitions(version.key.type) is not None else None, 0
        entries = self._index.entries(version.release, version.key.type, version.resource)
        return (state, None, 0) if entries is None else (state, entries.sets, entries.date)
