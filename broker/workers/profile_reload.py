"""Reads the profiles of BROKER_PROFILES_DIR again when a process was asked to (SIGHUP)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from broker.errors import ConfigurationError, StoreUnavailable
from broker.profiles.catalog import ProfileCatalog, ProfileHolder
from broker.store.topics import Topics
from broker.tasks import work_until

_log = structlog.get_logger(__name__)
_RETRY_S = 0.5
_Stamps = dict[Path, tuple[int, int]]


class ProfileReload:
    """One a process that takes changes. `load` reads the folder. Profiles that cannot be loaded are logged,
    and those of before stay.
    """

    def __init__(
        self, holder: ProfileHolder, folder: Path, load: Callable[[], ProfileCatalog], messages: Topics
    ) -> None:
        self._holder = holder
        self._folder = folder
        self._load = load
        self._messages = messages
        self._stamps = _stamps_of(folder)

    async def run(self, stop: asyncio.Event) -> None:
        await work_until(stop, self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                async for message in self._messages.changes():
                    if message != "topics":  # after a connection too: a message may have been missed
                        await self.reload()
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="profiles", error=str(error))
                await asyncio.sleep(_RETRY_S)

    async def reload(self) -> None:
        """Reads the folder again if a file of it changed, in a thread; what is checked meanwhile is checked
        against the former profiles.
        """
        try:
            stamps = await asyncio.to_thread(_stamps_of, self._folder)
            if stamps == self._stamps:
                return
            catalog = await asyncio.to_thread(self._load)
        except (ConfigurationError, OSError) as error:
            _log.error("profiles not loaded; they stay as they were", error=str(error))
            return
        self._stamps = stamps
        self._holder.current = catalog
        _log.info("profiles loaded", files=len(stamps))


def _stamps_of(folder: Path) -> _Stamps:
    """Modification time and size of each file: they differ when a file has changed."""
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}
