"""Finds what blocks the event loop of a broker that runs in the process of the tests.

Every callback of an event loop is timed in processor time of its thread, so that other processes on the
machine count for nothing; garbage collection is subtracted. A callback above LIMIT_S is a block, unless a
test or one of its fixtures is what ran. A thread looks at the stack of a callback that is about to become
one: the report names it, except where a C function kept the interpreter's lock until the end.
"""

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

LIMIT_S = 0.25
_SAMPLE_AFTER_S = 0.1
_SAMPLE_EVERY_S = 0.05
_TESTS = str(Path(__file__).parent)
_NOT_THE_BROKER = (_TESTS, "pytest_asyncio", "_hypothesis", "/pytest", "/pluggy", "/aiohttp/web_")
"""aiohttp serves the subscribers of the tests."""


class LoopBlocks:
    """Collects blocks between `take` and `take`, or passes each to `report`; one for a process. Tasks whose
    code is in a file that `leaves_out` names are left out.
    """

    def __init__(
        self, report: Callable[[str], object] | None = None, leaves_out: Sequence[str] = _NOT_THE_BROKER
    ) -> None:
        self._blocks: list[str] = []
        self._report_block = report or self._blocks.append
        self._leaves_out = leaves_out
        self._gc_s = 0.0
        self._gc_start_s = 0.0
        self._running: tuple[object, int, float] | None = None
        self._sampled: object = None
        self._stack = ""

    def install(self) -> None:
        """Times the callbacks of every event loop of asyncio in this process from now on."""
        run: Callable[[asyncio.Handle], None] = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            self.timed(handle._callback, run, handle)  # type: ignore[attr-defined]

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
        self.watch()

    def watch(self) -> None:
        """From now on garbage collection is known, and stacks are looked at."""
        gc.callbacks.append(self._collected)
        threading.Thread(target=self._sample, name="loop blocks", daemon=True).start()

    def timed(self, callback: object, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls the function, which runs the callback."""
        start_s, started_s, gc_s = time.thread_time(), time.perf_counter(), self._gc_s
        self._running = running = (callback, threading.get_ident(), start_s)
        try:
            function(*arguments)
        finally:
            self._running = None
            if time.perf_counter() - started_s > LIMIT_S:
                spent_s = time.thread_time() - start_s - (self._gc_s - gc_s)
                if spent_s > LIMIT_S:
                    self._report(callback, spent_s, is_sampled=self._sampled is running)
            self._sampled = None

    def take(self) -> list[str]:
        """The blocks since the last call, in words."""
        blocks = self._blocks.copy()
        self._blocks.clear()
        return blocks

    def _report(self, callback: object, spent_s: float, *, is_sampled: bool) -> None:
        task: Any = getattr(callback, "__self__", None)
        if isinstance(task, asyncio.Task):
            code = getattr(task.get_coro(), "cr_code", None)
            if code is None or any(part in code.co_filename for part in self._leaves_out):
                return
        stack = self._stack if is_sampled else "(in a function that kept the interpreter's lock)"
        name = task.get_coro() if isinstance(task, asyncio.Task) else callback
        self._report_block(f"{spent_s * 1000:.0f} ms of processor time in {name}\n{stack}")

    def _collected(self, phase: str, _info: Mapping[str, int]) -> None:
        if phase == "start":
            self._gc_start_s = time.thread_time()
        else:
            self._gc_s += time.thread_time() - self._gc_start_s

    def _sample(self) -> None:
        while True:
            time.sleep(_SAMPLE_EVERY_S)
            self._look()

    def _look(self) -> None:
        """A method of its own, so that the thread keeps no callback or frame alive while it sleeps."""
        running = self._running
        if running is None or running is self._sampled:
            return
        _, ident, start_s = running
        try:
            spent_s = time.clock_gettime(time.pthread_getcpuclockid(ident)) - start_s
        except OSError:  # the thread has ended
            return
        if spent_s > _SAMPLE_AFTER_S:
            frame = sys._current_frames().get(ident)
            if frame is not None and self._running is running:
                self._stack = "".join(traceback.format_stack(frame)[-12:])
                self._sampled = running


LOOP_BLOCKS = LoopBlocks()
