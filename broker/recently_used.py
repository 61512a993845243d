"""Values by key, of which only the recently used are kept.

Whoever keeps values under keys that come from outside (a subscription's id, an endpoint) uses this: the
number is limited, and what was deleted outside leaves after a time although nobody says so.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentlyUsed(Generic[K, V]):
    """At most `max_entries`. One that was unused for longer than `max_unused_s` is not there any more; the
    calls after that time remove it, a quarter of the time later at the latest.
    """

    def __init__(
        self, max_entries: int, max_unused_s: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_entries = max_entries
        self._max_unused_s = max_unused_s
        self._now_s = now_s
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._removes_s = 0.0
        """When unused entries are removed next."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, which is used by that; None if there is none."""
        now_s = self._now_s()
        if now_s >= self._removes_s:
            self._remove_unused(now_s)
        entry = self._entries.get(key)
        if entry is None or entry[1] < now_s - self._max_unused_s:
            return None
        self._entries[key] = entry[0], now_s
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V) -> None:
        """Adds the value, or replaces the one of the key."""
        now_s = self._now_s()
        self._entries[key] = value, now_s
        self._entries.move_to_end(key)
        self._remove_unused(now_s)

    def remove(self, key: K) -> None:
        """The value of the key, if there is one, is not kept any more."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """No value is kept any more."""
        self._entries.clear()

    def _remove_unused(self, now_s: float) -> None:
        """The first entry is the one that was used longest ago."""
        self._removes_s = now_s + self._max_unused_s / 4
        oldest_s = now_s - self._max_unused_s
        while self._entries and (
            len(self._entries) > self._max_entries or next(iter(self._entries.values()))[1] < oldest_s
        ):
            self._entries.popitem(last=False)
