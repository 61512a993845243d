"""The asyncio idioms of the broker: end tasks, sleep or work until an event is set, divide long work into
slices, restart a loop that failed.

Every loop of the broker uses these, so that cancellation is right in one place. `asyncio.wait_for` of Python
3.11, which redis-py uses for each command, loses a cancellation that arrives together with the result, and
the task goes on: hence `asyncio.timeout` here instead of `wait_for`, and `end`, which cancels until the task
has ended. Both can go when Python 3.12 is the oldest version.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog

_log = structlog.get_logger(__name__)
SLICE_S = 0.005
"""How long work that could wait runs before it lets others run."""
BACKGROUND_SLICE_S = 0.002
BACKGROUND_REST_S = 0.002
"""The slices of work that nobody waits for, and the rest after each. An event passes the loop about fifteen
times on its way, and each time it may meet a slice.
"""
_CANCEL_AGAIN_S = 0.2
_RESTART_AFTER_S = 1.0
_REPORT_FAILURE_S = 10.0
"""So long after a failure, /readyz reports it: longer than the interval of the usual probes."""

T = TypeVar("T")


async def end(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancels the tasks and returns when all have ended. Exceptions they end with are discarded."""
    ended = list(tasks)
    pending = {task for task in ended if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
    for task in ended:
        if not task.cancelled():
            task.exception()  # marks it as retrieved


async def sleep_unless(stop: asyncio.Event, seconds: float) -> bool:
    """Sleeps, but no longer than until `stop` is set. Returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True


async def first_of(work: Awaitable[T], *events: asyncio.Event) -> T | None:
    """The result of `work`, or None if one of the events is set first.

    `work` is then cancelled and has ended on return; wrap it in `asyncio.shield` if it must continue. A
    result that arrives together with an event is returned, not lost.
    """
    working = asyncio.ensure_future(work)
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait([working, *waiting], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for waiter in waiting:
            waiter.cancel()  # not awaited: it has nothing to clean up, and a matcher comes here for each read
        if not working.done():
            await end([working])


async def work_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until `stop` is set or the caller is cancelled. Returns or raises early if `work` does."""
    await first_of(work, stop)


class Slices:
    """Divides long work into slices, between which the other tasks of the event loop run.

    `pause` is called after each step of the work; it yields when the slice has taken `slice_s`, for `rest_s`.
    What the work itself waits for counts too. `count` is the number of slices that ended so far.
    """

    def __init__(
        self,
        slice_s: float = SLICE_S,
        now: Callable[[], float] = time.perf_counter,
        *,
        rest_s: float = 0.0,
    ) -> None:
        self.count = 0
        self._slice_s = slice_s
        self._rest_s = rest_s
        self._now = now
        self._began = now()

    @classmethod
    def in_background(cls) -> "Slices":
        """For work that nobody waits for: it takes half of the time at most."""
        return cls(BACKGROUND_SLICE_S, rest_s=BACKGROUND_REST_S)

    @property
    def is_over(self) -> bool:
        """Whether the next `pause` yields."""
        return self._now() - self._began >= self._slice_s

    async def pause(self) -> None:
        if self.is_over:
            self.count += 1
            await asyncio.sleep(self._rest_s)
            self._began = self._now()


class SupervisedTask:
    """Runs `loop` as a task named `name`, and restarts it when it fails or returns before `stop` is set.

    `loop` must return soon after `stop` is set. `/readyz` shows `state()`; `task` ends without an exception.
    """

    def __init__(
        self,
        name: str,
        loop: Callable[[], Awaitable[None]],
        stop: asyncio.Event,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._loop = loop
        self._stop = stop
        self._now = now
        self._failed_at: float | None = None
        self._reason = ""
        self.task = asyncio.create_task(self._run(), name=name)

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._loop()
            except Exception as error:  # noqa: BLE001 a failed loop must not end the process
                self._note_failure(_name_of(error))
                _log.exception("worker failed; it will be restarted", worker=self.name)
            else:
                if self._stop.is_set():
                    return
                self._note_failure("returned early")
                _log.error("worker returned before the broker stops; it will be restarted", worker=self.name)
            await sleep_unless(self._stop, _RESTART_AFTER_S)

    def _note_failure(self, reason: str) -> None:
        self._failed_at, self._reason = self._now(), reason

    def state(self) -> str:
        """`ok`, or what is wrong, in words for an operator."""
        if self.task.done():
            return "stopped"
        if self._failed_at is not None and self._now() - self._failed_at < _REPORT_FAILURE_S:
            return f"failed ({self._reason}); restarted"
        return "ok"


def _name_of(error: BaseException) -> str:
    """The class of the error; of the first one in a group, which a loop with a task group raises."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
