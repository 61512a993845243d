"""Keeps the mappings of a process in step with the files of BROKER_MAPPINGS_DIR.

Looks at the folder each second and compiles files that changed in a thread. A file that cannot be used leaves
its former mapping in force, and the log says why; a file that is gone takes its mapping with it. Every
process that takes readings has a reload of its own.
"""

import asyncio
from pathlib import Path

import structlog

from broker.errors import ConfigurationError
from broker.mapping.mapping_set import MappingHolder, MappingSet, reload_mappings
from broker.tasks import sleep_unless

_log = structlog.get_logger(__name__)
_INTERVAL_S = 1.0


class MappingReload:
    """One a process. `run` watches the folder until `stop` is set; `reload` looks at it once."""

    def __init__(self, holder: MappingHolder, folder: Path, interval_s: float = _INTERVAL_S) -> None:
        self._holder = holder
        self._folder = folder
        self._interval_s = interval_s
        self._stamps = _stamps_of(folder)

    async def run(self, stop: asyncio.Event) -> None:
        while not await sleep_unless(stop, self._interval_s):
            await self.reload()

    async def reload(self) -> None:
        """Reads the folder again if it changed. The readings of the meantime get the former mappings."""
        try:
            stamps = await asyncio.to_thread(_stamps_of, self._folder)
            if stamps == self._stamps:
                return
            self._stamps = stamps
            mappings, errors = await asyncio.to_thread(reload_mappings, self._folder, self._holder.current)
        except (ConfigurationError, OSError) as error:
            _log.error("mappings folder not read; the mappings stay as they were", error=str(error))
            return
        for problem in errors:
            _log.error("mapping file not used; its former version stays in force", error=str(problem))
        self._holder.current = mappings
        _log.info("mappings loaded", mappings=_own(mappings))


def _own(mappings: MappingSet) -> list[str]:
    return [mapping.name for mapping in mappings.mappings if not mapping.is_shipped]


def _stamps_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Modification time and size of each file: they differ when a file has changed."""
    stats = {path: path.stat() for path in folder.glob("*.yaml")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}
