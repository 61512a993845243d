"""Ending tasks for certain.

`asyncio.wait_for` of Python 3.11, which redis-py uses for each command, drops a cancellation that arrives together with the
result; a task that loops then goes on. Asking until it has ended can't be dropped. To be removed when 3.12 is the oldest Python.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

_AGAIN_S = 0.2


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancels and waits; whatever they raise stays with them."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


async def work_until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Lets it work until `stop`, or until this is cancelled, and returns when it has ended."""
    working = asyncio.create_task(work)
    try:
        await stop.wait()
    finally:
        await end([working])
