"""Bounds the attempts under way for each concurrency key (`Channel.concurrency_key`) in one process.

Attempts beyond the limit are deferred in the store, where they hold up nobody, instead of waiting in memory.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

MAX_ATTEMPTS_PER_KEY = 256


class ConcurrencyBudget:
    """One a dispatcher, which passes it to each attempt."""

    def __init__(self, limit: int = MAX_ATTEMPTS_PER_KEY) -> None:
        self._limit = limit
        self._in_use: Counter[str] = Counter()

    @contextlib.contextmanager
    def slot(self, key: str) -> Iterator[bool]:
        """Takes a slot for as long as the block runs; yields False, and takes nothing, if none is free."""
        if self._in_use[key] >= self._limit:
            yield False
            return
        self._in_use[key] += 1
        try:
            yield True
        finally:
            self._in_use[key] -= 1
            if not self._in_use[key]:
                del self._in_use[key]
