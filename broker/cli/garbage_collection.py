"""Collects the cyclic garbage of a broker process before it is much, and seldom traverses what lives long.

Most objects are freed when their last reference goes. Those in reference cycles, such as an exception and the
frames that it names, wait for the collector, with the buffers that they refer to. Python's own schedule
counts objects: with a few connections a second it leaves the garbage of hours, and with many subscriptions it
stops the event loop at moments of its choice. So the oldest generation has a schedule of its own
(docs/decisions/195-garbage-is-collected-by-time-and-growth.md). The processes of the broker use it.
"""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator

INTERVAL_S = 30.0
CHEAP_S = 0.02
"""A collection that takes no longer runs every `INTERVAL_S`."""
GROWTH = 1.25
"""An expensive one runs when there are so many times as many objects as after the last one."""
_NEVER = 1_000_000


class GarbageCollection:
    """Decides when all objects are traversed. `seconds` measures processor time of this thread."""

    def __init__(
        self,
        collect: Callable[[], object] = gc.collect,
        blocks: Callable[[], int] = sys.getallocatedblocks,
        seconds: Callable[[], float] = time.thread_time,
    ) -> None:
        self._collect = collect
        self._blocks = blocks
        self._seconds = seconds
        self._last_s = 0.0
        self._blocks_left = 0

    def check(self) -> bool:
        """Collects if that is cheap, or if there may be much garbage. Whether it did."""
        if self._last_s > CHEAP_S and self._blocks() < self._blocks_left * GROWTH:
            return False
        began = self._seconds()
        self._collect()
        self._last_s = self._seconds() - began
        self._blocks_left = self._blocks()
        return True


@contextlib.contextmanager
def scheduled_garbage_collection() -> Iterator[None]:
    """Exempts what was loaded so far, which lives as long as the process, and checks every `INTERVAL_S` until
    the context ends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, _NEVER)
    timer = _Timer(asyncio.get_running_loop(), GarbageCollection())
    try:
        yield
    finally:
        timer.stop()


class _Timer:
    def __init__(self, loop: asyncio.AbstractEventLoop, collection: GarbageCollection) -> None:
        self._loop = loop
        self._collection = collection
        self._schedule()

    def _schedule(self) -> None:
        self._handle = self._loop.call_later(INTERVAL_S, self._check)

    def _check(self) -> None:
        self._collection.check()
        self._schedule()

    def stop(self) -> None:
        self._handle.cancel()
