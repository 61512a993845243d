"""Group commit: the changes of concurrent requests share one round trip to the store and one sync to disk.

`run` is the loop of one supervised task. If it fails, every waiting request ends with `StoreUnavailable` and
new ones are refused at once, until the supervisor has restarted it. `Intake` submits; `app` runs, watches and
closes the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from broker import failpoints
from broker.errors import StoreUnavailable
from broker.ingest.throttle import Throttle
from broker.store.proposals import Accepted, Proposal

ANSWERS_PER_TURN = 64
"""How many requests resume in one turn of the event loop."""
Append = Callable[[Sequence[Proposal]], Awaitable[list[Accepted]]]
"""Appends proposals durably and answers each of them, in their order."""


class _Submission(NamedTuple):
    """The proposals of one request, and the future that its caller waits for."""

    proposals: Sequence[Proposal]
    answers: "asyncio.Future[list[Accepted]]"


class _State(Enum):
    OPEN = auto()
    FAILED = auto()
    CLOSED = auto()


class GroupCommit:
    """Queues proposals in the order of their submission.

    Each append takes what was queued during the append before it.

    A cancelled caller does not withdraw its proposals: they are queued and will be appended.
    """

    def __init__(self, append: Append, throttle: Throttle | None = None, *, max_batch: int = 512) -> None:
        self._append = append
        self._throttle = throttle
        self._max_batch = max_batch
        self._queue: list[_Submission] = []
        self._waiting = 0
        self._appending: list[_Submission] = []
        self._arrived = asyncio.Event()
        self._state = _State.OPEN

    @property
    def is_failed(self) -> bool:
        """Whether the loop has failed and has not been restarted: submissions are refused until then."""
        return self._state is _State.FAILED

    async def submit(self, proposals: Sequence[Proposal]) -> list[Accepted]:
        """Returns once the proposals are durable.

        Raises `StoreUnavailable`: the proposals may or may not have been written, unless it was raised at
        once. Raises `Overloaded` at once.
        """
        if self._state is _State.CLOSED:
            raise StoreUnavailable("the broker is stopping")
        if self._state is _State.FAILED:
            raise StoreUnavailable("the group commit has failed and is being restarted")
        if self._throttle is not None:
            self._throttle.refuse_late(self._waiting)
        answers: asyncio.Future[list[Accepted]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Submission(proposals, answers))
        self._waiting += len(proposals)
        self._arrived.set()
        return await answers

    async def reserve(self, changes: int) -> None:
        """Waits as long as a commit of these changes has to wait. For transactions, which are written alone.

        Raises `Overloaded`.
        """
        if self._throttle is not None:
            await self._throttle.reserve(changes)

    async def run(self) -> None:
        """Appends until `close` is called and the queue is empty. May be called again after it has failed."""
        if self._state is _State.FAILED:
            self._state = _State.OPEN
        try:
            while self._queue or self._state is _State.OPEN:
                if not self._queue:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                if self._throttle is not None and self._state is _State.OPEN:
                    await self._throttle.turn()
                await self._append_next()
        except BaseException as error:
            if self._state is _State.OPEN:
                self._state = _State.FAILED
            self._fail_all(error)
            raise

    def close(self) -> None:
        """Refuses further submissions; `run` ends when the queue is empty."""
        self._state = _State.CLOSED
        self._arrived.set()

    async def _append_next(self) -> None:
        """Appends one batch. An error of the append goes to the callers of the batch, not to the loop."""
        self._appending = batch = self._take_batch()
        size = sum(len(submission.proposals) for submission in batch)
        self._waiting -= size
        try:
            failpoints.hit("intake.before-append")
            answers = await self._append(
                [proposal for submission in batch for proposal in submission.proposals]
            )
            failpoints.hit("intake.after-append")
        except Exception as error:  # noqa: BLE001 the callers of the batch receive it, whatever it is
            for submission in batch:
                if not submission.answers.done():
                    submission.answers.set_exception(error)
        else:
            await self._answer(batch, answers)
        self._appending = []
        if self._throttle is not None:
            self._throttle.committed(size)

    @staticmethod
    async def _answer(batch: Sequence[_Submission], answers: Sequence[Accepted]) -> None:
        """Each answer resumes a request: with a batch of hundreds, the other tasks have turns in between."""
        start = 0
        for number, submission in enumerate(batch, 1):
            end = start + len(submission.proposals)
            if not submission.answers.done():
                submission.answers.set_result(list(answers[start:end]))
            start = end
            if not number % ANSWERS_PER_TURN:
                await asyncio.sleep(0)

    def _take_batch(self) -> list[_Submission]:
        """Submissions from the head of the queue: one at least, and no more than `max_batch` proposals
        together, or what the throttle allows.
        """
        largest = self._max_batch if self._throttle is None else self._throttle.batch_size(self._max_batch)
        count, size = 0, 0
        for submission in self._queue:
            if count and size + len(submission.proposals) > largest:
                break
            count, size = count + 1, size + len(submission.proposals)
        batch, self._queue = self._queue[:count], self._queue[count:]
        return batch

    def _fail_all(self, error: BaseException) -> None:
        failed, self._queue, self._appending, self._waiting = self._appending + self._queue, [], [], 0
        for submission in failed:
            if not submission.answers.done():
                reason = f"the group commit ended: {type(error).__name__}"
                submission.answers.set_exception(StoreUnavailable(reason))
