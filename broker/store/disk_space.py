"""Whether the disk has room for a rewrite of the embedded store's append-only file; rewrites it before there
is none.

The file grows with every write until it is rewritten: a second, compact copy is written beside it. Without
room for that copy it can only grow, until the disk is full and the store stops. A rewrite takes at most the
memory of the store. The process that owns the store checks this every few seconds; it stores what it saw for
a minute, so that every process reports it.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from broker.store import keys
from broker.store.protocol import Store

_log = structlog.get_logger(__name__)
CHECK_S = 10.0
_TIMEOUT_S = 5.0
_KEPT_S = 60
EARLY = 2
"""A rewrite starts while there is room for this number of copies."""
_WORTHWHILE = 1.25
"""The growth since the last rewrite from which on an early one gives room back."""


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Bytes that are free on the store's disk, and bytes that a rewrite needs."""

    free: int
    needed: int

    @property
    def is_low(self) -> bool:
        return self.free < self.needed

    def rewrites_early(self, file_bytes: int, rewritten_bytes: int) -> bool:
        """Whether to rewrite now a file that had `rewritten_bytes` after its last rewrite."""
        return self.needed <= self.free < EARLY * self.needed and (file_bytes > _WORTHWHILE * rewritten_bytes)


async def read_disk_space(store: Store) -> DiskSpace | None:
    """What the process that owns the store saw last; None if no process of ours owns it."""
    (text,) = await store.send([("GET", keys.DISK_SPACE)])
    if text is None:
        return None
    free, needed = text.split()
    return DiskSpace(int(free), int(needed))


class DiskWatch:
    """Checks the disk of a data directory in a thread of its own, until `stop`."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._was_low = False
        self._is_stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="disk of the embedded store", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        # without retries, so that `stop` never waits for a store that has ended
        retry = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self._url, protocol=2, socket_timeout=_TIMEOUT_S, retry=retry) as client:
            while True:
                try:
                    self.check(client)
                except (RedisError, OSError):  # the store is restarted
                    client.connection_pool.disconnect()
                if self._is_stopping.wait(CHECK_S):
                    return

    def check(self, client: redis.Redis) -> DiskSpace:
        """One check. Raises `RedisError` and `OSError`."""
        info: Any = client.info()
        status = os.statvfs(self._folder)
        space = DiskSpace(status.f_bavail * status.f_frsize, info["used_memory"])
        if space.is_low != self._was_low:
            self._was_low = space.is_low
            self._report(space)
        is_rewriting = info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]
        if not is_rewriting and space.rewrites_early(info["aof_current_size"], info["aof_base_size"]):
            _log.info(
                "append-only file is rewritten early, because the disk is filling",
                free=space.free,
                needed=space.needed,
            )
            client.bgrewriteaof()
        client.set(keys.DISK_SPACE, f"{space.free} {space.needed}", ex=_KEPT_S)
        return space

    def _report(self, space: DiskSpace) -> None:
        if space.is_low:
            _log.error(
                "disk has no room to rewrite the append-only file; free space, or shorten BROKER_RETENTION",
                folder=str(self._folder),
                free=space.free,
                needed=space.needed,
            )
        else:
            _log.info("disk has room again", folder=str(self._folder), free=space.free, needed=space.needed)
