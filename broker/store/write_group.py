"""Durable script calls of concurrent callers share round trips and syncs to disk.

A call that comes while others are written waits for them, unless so many wait that a second write is worth
its sync: then the store finds it ready when it has synced the first one, and neither process waits for the
other. Calls that leave together keep their order. A call alone leaves in the next turn of the loop.
Registrations and deletions of subscriptions come here.
"""

import asyncio
from typing import Any, NamedTuple

from broker.store.protocol import ScriptCall, Store, WriteConcern

_MAX_CALLS = 256
MAX_WRITES = 2
"""Writes under way at a time."""
WORTH_A_WRITE = 24
"""So many calls do not wait for a write that is under way."""


class _Waiting(NamedTuple):
    call: ScriptCall
    answer: "asyncio.Future[Any]"


class WriteGroup:
    """One for each kind of write. Calls may be repeated after a lost connection, as scripts may.

    A caller that is cancelled does not withdraw its call. Calls of concurrent callers may be executed in any
    order, as if each had a connection of its own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._writing: set[asyncio.Task[None]] = set()

    async def run(self, call: ScriptCall) -> Any:
        """The reply, once the write is durable. An error goes to all that were written together."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(call, answer))
        is_worth = len(self._waiting) >= WORTH_A_WRITE and len(self._writing) < MAX_WRITES
        if is_worth or not self._writing:
            task = asyncio.create_task(self._write(), name="write group")
            self._writing.add(task)
        return await answer

    async def _write(self) -> None:
        """Until nothing waits, or what waits is better left to a write that is under way."""
        task = asyncio.current_task()
        batch: list[_Waiting] = []
        try:
            while self._waiting and (len(self._writing) == 1 or len(self._waiting) >= WORTH_A_WRITE):
                await asyncio.sleep(0)  # the other requests that arrived with this one leave with it
                batch, self._waiting = self._waiting[:_MAX_CALLS], self._waiting[_MAX_CALLS:]
                await self._write_batch(batch)
        finally:
            if task is not None:
                self._writing.discard(task)
            for waiting in batch:  # only a cancelled task leaves any
                waiting.answer.cancel()
            if not self._writing:
                for waiting in self._waiting:
                    waiting.answer.cancel()
                self._waiting = []

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self._store.run_many([waiting.call for waiting in batch], WriteConcern.DURABLE)
        except Exception as error:  # noqa: BLE001 the callers receive it, whatever it is
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
