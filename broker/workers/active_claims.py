"""The claims that a dispatcher delivers at the moment, each in a task of its own."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

from broker.model.subscription import SubscriptionKey
from broker.store.claims import Claim


@dataclass(frozen=True, slots=True)
class ActiveClaim:
    """A claim and the monotonic time at which the dispatcher received it."""

    claim: Claim
    since_s: float


class ActiveClaims:
    """At most `limit` claims. A task holds one claim at a time and replaces it with the next of its
    subscription.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_task: dict[asyncio.Task[None], ActiveClaim] = {}
        self._current_tasks: dict[SubscriptionKey, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        return list(self._by_task)

    @property
    def free(self) -> int:
        """How many more claims may be taken."""
        return self._limit - len(self._by_task)

    def add(self, claim: Claim, task: asyncio.Task[None]) -> None:
        """Cancels the task of an older claim of the same subscription: that claim ran out while the store was
        away.
        """
        key = (claim.tenant, claim.id)
        older = self._current_tasks.get(key)
        if older is not None:
            older.cancel()
        self._by_task[task] = ActiveClaim(claim, time.monotonic())
        self._current_tasks[key] = task
        task.add_done_callback(self._remove)

    def replace(self, task: asyncio.Task[None], claim: Claim) -> None:
        """The task delivers `claim` from now on."""
        self._by_task[task] = ActiveClaim(claim, time.monotonic())

    def older_than(self, seconds: float) -> dict[asyncio.Task[None], Claim]:
        limit_s = time.monotonic() - seconds
        return {task: active.claim for task, active in self._by_task.items() if active.since_s < limit_s}

    def is_current(self, task: asyncio.Task[None], claim: Claim) -> bool:
        """Whether the task still delivers this very claim."""
        active = self._by_task.get(task)
        return active is not None and active.claim is claim

    async def wait_until_free(self) -> None:
        """Returns when a claim has ended or `interrupt` was called."""
        self._changed.clear()
        await self._changed.wait()

    def interrupt(self) -> None:
        self._changed.set()

    def _remove(self, task: asyncio.Task[None]) -> None:
        claim = self._by_task.pop(task).claim
        key = (claim.tenant, claim.id)
        if self._current_tasks.get(key) is task:
            del self._current_tasks[key]
        self._changed.set()
