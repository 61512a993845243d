"""Group commit: the changes of many concurrent requests share one round trip to the store and one sync to disk."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.store.proposals import Accepted, Proposal

_Waiting = tuple[Sequence[Proposal], "asyncio.Future[list[Accepted]]"]


class GroupCommit:
    """Queues proposals in the order they come; `run` appends all that gathered while the append before was under way.

    A caller that goes away does not take its change back: it was queued and will be written.
    """

    def __init__(
        self, append: Callable[[Sequence[Proposal]], Awaitable[list[Accepted]]], *, most: int = 512
    ) -> None:
        self._append = append
        self._most = most
        self._queue: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._is_open = True

    async def submit(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Answers once the proposals are durable. Raises `StoreUnavailable`: then they may or may not be written."""
        if not self._is_open:
            raise StoreUnavailable("the broker is stopping")
        future: asyncio.Future[list[Accepted]] = asyncio.get_running_loop().create_future()
        self._queue.append((proposals, future))
        self._arrived.set()
        return await future

    async def run(self) -> None:
        """Appends until `close`; what was queued before that is still written."""
        while self._is_open or self._queue:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            batch = self._next()
            if not batch:
                continue
            try:
                failpoints.hit("intake.before-append")
                answers = await self._append([proposal for proposals, _ in batch for proposal in proposals])
                failpoints.hit("intake.after-append")
            except Exception as error:  # noqa: BLE001 whatever it is, the callers must hear it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for proposals, future in batch:
                if not future.done():
                    future.set_result(answers[start : start + len(proposals)])
                start += len(proposals)

    def _next(self) -> list[_Waiting]:
        taken, size = 0, 0
        for proposals, _ in self._queue:
            if taken and size + len(proposals) > self._most:
                break
            taken, size = taken + 1, size + len(proposals)
        batch, self._queue = self._queue[:taken], self._queue[taken:]
        return batch

    def close(self) -> None:
        """Takes nothing more; `run` ends when the queue is empty."""
        self._is_open = False
        self._arrived.set()
