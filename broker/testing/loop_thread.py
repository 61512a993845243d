"""An event loop in a thread, so that simulators serve tests without asyncio, and tests that block."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Self, TypeVar

T = TypeVar("T")
_END_S = 30.0


class LoopThread:
    """Runs while it is entered."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulators", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_S)
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Waits for the result, in the thread that calls."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @contextmanager
    def entered(self, simulator: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """A simulator that lives on the loop."""
        value = self.run(_entered(simulator))
        try:
            yield value
        finally:
            self.run(_ended(simulator))


async def _entered(simulator: AbstractAsyncContextManager[T]) -> T:
    return await simulator.__aenter__()


async def _ended(simulator: AbstractAsyncContextManager[Any]) -> None:
    await simulator.__aexit__(None, None, None)
