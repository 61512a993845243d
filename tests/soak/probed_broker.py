"""`python -m tests.soak.probed_broker COMMAND`: a broker that reports what it holds when it gets SIGUSR1.

It writes the numbers of its asyncio tasks, by the name of their coroutine, and of its timers as JSON into the
file that SOAK_REPORT names. `tests/soak/holdings.py` sends the signal and reads the file.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from broker.__main__ import main

REPORT = "SOAK_REPORT"
TIMERS = "timers"


def _coroutine(task: "asyncio.Task[object]") -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def _report(*_: object) -> None:
    held = Counter[str]()
    with contextlib.suppress(RuntimeError):  # no loop runs yet
        held.update(f"task {_coroutine(task)}" for task in asyncio.all_tasks())
    gc.collect()
    held[TIMERS] = sum(type(each).__name__ == "TimerHandle" for each in gc.get_objects())
    path = Path(os.environ[REPORT])
    written = path.with_suffix(".new")
    written.write_text(json.dumps(held))
    written.rename(path)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _report)
    sys.argv[0] = "fhir-broker"
    main()
