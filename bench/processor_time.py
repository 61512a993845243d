"""Processor time of one call."""

import time
from collections.abc import Callable

_ROUNDS = 15


def lowest_us(run: Callable[[], object], repeats: int) -> float:
    """Microseconds of processor time for one `run`: the lowest mean over rounds of `repeats` calls."""
    lowest = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time_ns()
        for _ in range(repeats):
            run()
        lowest = min(lowest, (time.process_time_ns() - started) / repeats / 1000)
    return round(lowest, 2)
