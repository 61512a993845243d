"""`python -m tests.soak.probed_broker COMMAND`: a broker that reports what it holds, and the memory in use.

At SIGUSR1 it writes the numbers of its asyncio tasks, by the name of their coroutine, and of its timers; at
SIGUSR2 the memory that its objects use, and how often it collected garbage. Both are JSON, in the files that
SOAK_REPORT and SOAK_MEMORY name. `tests/soak/holdings.py` sends the signals and reads the files.

What the broker remembers for five minutes is remembered for 30 s here, so that its caches are full soon. A
pool of threads has all of them from its first task on: their number would grow whenever more tasks than
before come together.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker.__main__ import main
from broker.delivery import subscription_cache
from broker.egress import client

REPORT, MEMORY = "SOAK_REPORT", "SOAK_MEMORY"
TIMERS = "timers"
_MAX_UNUSED_S = 30.0


class _Allocated(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _malloc() -> Callable[[], _Allocated]:
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Allocated
    return mallinfo


_mallinfo = _malloc()


def _coroutine(task: "asyncio.Task[object]") -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def _holdings() -> Mapping[str, int]:
    held = Counter[str]()
    with contextlib.suppress(RuntimeError):  # no loop runs yet
        held.update(f"task {_coroutine(task)}" for task in asyncio.all_tasks())
    gc.collect()
    held[TIMERS] = sum(type(each).__name__ == "TimerHandle" for each in gc.get_objects())
    return held


def _memory() -> Mapping[str, int]:
    """`blocks` are those of Python's own allocator; `malloc` are bytes of C's, which has large objects."""
    allocated = _mallinfo()
    return {
        "blocks": sys.getallocatedblocks(),
        "malloc": allocated.uordblks + allocated.hblkhd,
        "collections": gc.get_stats()[2]["collections"],
    }


_add_thread = ThreadPoolExecutor._adjust_thread_count


def _add_all_threads(pool: ThreadPoolExecutor) -> None:
    while len(pool._threads) < pool._max_workers:
        _add_thread(pool)


def _writes(variable: str, report: Callable[[], Mapping[str, int]]) -> Callable[..., None]:
    path = Path(os.environ[variable])

    def write(*_: object) -> None:
        written = path.with_suffix(".new")
        written.write_text(json.dumps(report()))
        written.rename(path)

    return write


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _writes(REPORT, _holdings))
    signal.signal(signal.SIGUSR2, _writes(MEMORY, _memory))
    ThreadPoolExecutor._adjust_thread_count = _add_all_threads  # type: ignore[method-assign, assignment]
    subscription_cache.MAX_UNUSED_S = client.MAX_UNUSED_S = _MAX_UNUSED_S
    sys.argv[0] = "fhir-broker"
    main()
