"""Measures how late the event loop runs its callbacks, as the histogram `broker_event_loop_lag_seconds`.

A callback is due ten times a second; its lag is how long after its time the loop got to it. A loop that is
blocked by one piece of work shows the rest of that work, and every connection of the process waited as long.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from broker.telemetry import metrics

INTERVAL_S = 0.1


@contextlib.contextmanager
def measured_lag() -> Iterator[None]:
    """Measures the running event loop until the context ends."""
    probe = _Probe(asyncio.get_running_loop())
    try:
        yield
    finally:
        probe.stop()


class _Probe:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._schedule()

    def _schedule(self) -> None:
        # not the time of the loop: uvloop reads it once for all the callbacks of one turn
        self._due_s = time.monotonic() + INTERVAL_S
        self._timer = self._loop.call_later(INTERVAL_S, self._measure)

    def _measure(self) -> None:
        metrics.event_loop_lag.observe(max(0.0, time.monotonic() - self._due_s))
        self._schedule()

    def stop(self) -> None:
        self._timer.cancel()
