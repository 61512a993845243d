"""The only module that asks this machine's clock. Due times never come from here: Redis `TIME` decides those in scripts."""

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """What the engine needs of time; tests give a manual one."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


def to_instant(at_ms: int) -> str:
    """An epoch time in milliseconds as a FHIR instant, `2026-01-02T03:04:05.678Z`."""
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(at_s: int) -> str:
    """Much happens within one second."""
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
