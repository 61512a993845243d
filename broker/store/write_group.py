"""Durable script calls of concurrent callers share a round trip and a sync to disk.

A call that comes while others are written waits for them; all that wait then leave together, in their order.
A call alone leaves in the next turn of the loop. Registrations and deletions of subscriptions come here.
"""

import asyncio
from typing import Any, NamedTuple

from broker.store.protocol import ScriptCall, Store, WriteConcern

_MAX_CALLS = 256


class _Waiting(NamedTuple):
    call: ScriptCall
    answer: "asyncio.Future[Any]"


class WriteGroup:
    """One for each kind of write. Calls may be repeated after a lost connection, as scripts may.

    A caller that is cancelled does not withdraw its call.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def run(self, call: ScriptCall) -> Any:
        """The reply, once the write is durable. An error goes to all that were written together."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(call, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="write group")
        return await answer

    async def _write(self) -> None:
        """Until nothing waits."""
        batch: list[_Waiting] = []
        try:
            while self._waiting:
                await asyncio.sleep(0)  # the other requests that arrived with this one leave with it
                batch, self._waiting = self._waiting[:_MAX_CALLS], self._waiting[_MAX_CALLS:]
                await self._write_batch(batch)
        finally:
            self._writing = None
            for waiting in (*batch, *self._waiting):  # only a cancelled task leaves any
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
