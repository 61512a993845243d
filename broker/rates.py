"""The rate of each of many: a token bucket by key, in the memory of the process."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from broker.recently_used import RecentlyUsed

K = TypeVar("K", bound=Hashable)
_KEYS = 10_000


class Rates(Generic[K]):
    """`per_s` for each key in the long run, and `burst` of them at once after a pause.

    Remembers 10,000 keys; one that was not used for so long that its bucket is full is forgotten.
    """

    def __init__(self, per_s: float, burst: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 1 / per_s
        self._burst_s = burst / per_s
        self._now_s = now_s
        self._full_s: RecentlyUsed[K, float] = RecentlyUsed(_KEYS, self._burst_s, now_s)
        """By key: when its bucket will be full again, if nothing more is taken."""

    def take(self, key: K) -> float:
        """Takes one and returns 0; where none is left, takes nothing and returns in how many seconds there
        is one.
        """
        now_s = self._now_s()
        full_s = max(self._full_s.get(key) or now_s, now_s) + self._interval_s
        wait_s = full_s - self._burst_s - now_s
        if wait_s > 1e-9:
            return wait_s
        self._full_s.put(key, full_s)
        return 0.0

    def reserve(self, key: K) -> float:
        """Takes one in any case; returns in how many seconds it may be used."""
        now_s = self._now_s()
        full_s = max(self._full_s.get(key) or now_s, now_s) + self._interval_s
        self._full_s.put(key, full_s)
        return max(0.0, full_s - self._burst_s - now_s)
