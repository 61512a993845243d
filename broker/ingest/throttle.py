"""Slows the intake down as matcher and dispatcher fall behind, so that events do not queue in the store.

Producers then wait for their answer, before the change is written: what is accepted is delivered soon. The
group commit asks for its next turn; a supervised task reads the lags of other processes. A subscriber that is
slow or down causes no lag (`telemetry/lag.py`).
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import takewhile

import structlog

from broker.errors import Overloaded, StoreUnavailable
from broker.store.lag_board import LagBoard
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
MIN_UNDER_WAY = 160
"""So many changes may be accepted and not yet on their way to a subscriber, whatever the lag is: fewer would
leave the batches of matcher and dispatcher half empty.
"""
_LEAST_BATCH = 64
"""For how many changes there must be room before the next ones are committed, for the same reason."""
_LEAST_SHARE = 0.1
"""The intake never falls below this share of what it was in the last minute, however long the lag is."""
_LEAST_RATE = 50.0
_LONGEST_LAG_S = 5.0
_RATE_OVER_S = 0.5
_PEAK_OVER_S = 60.0
_SHORTEST_S = 0.02
_LONGEST_GAP_S = 0.05
"""A longer pause between two commits is counted as this long: no producer wanted more."""
_LONGEST_PAUSE_S = 0.5
_LOOK_AGAIN_S = 0.01
"""How soon the lag is asked for again while the intake waits."""
_READ_EVERY_S = 0.1
Clock = Callable[[], float]


class Throttle:
    """Bounds the changes that are accepted and not yet on their way to a subscriber.

    By Little's law those are the changes that were accepted within the last *lag* seconds. Their limit is
    what is delivered within the target lag, and `MIN_UNDER_WAY` at least: on a slow machine a lag is no
    queue, and slowing down would only leave the workers idle. So the intake keeps the pace of the deliveries:
    it goes on when older changes have left. A `target` of zero switches the throttle off; a `max_delay` of
    zero refuses nothing.
    """

    def __init__(
        self,
        target: timedelta,
        max_delay: timedelta,
        own_lags: Sequence[Callable[[], float]],
        board: LagBoard,
        clock: Clock = time.monotonic,
    ) -> None:
        self._target_s = target.total_seconds()
        self._max_delay_s = max_delay.total_seconds()
        self._own_lags = own_lags
        self._board = board
        self._others_s = 0.0
        self._clock = clock
        self._recent = _RecentRate()
        self._commits: deque[tuple[float, int]] = deque()
        """When how many changes were committed, as far back as the longest lag that counts."""
        self._is_used = False

    def lag_s(self) -> float:
        """The longest lag of the workers. Above a bound it does not count: the intake never stops."""
        lag_s = max((self._others_s, *(lag() for lag in self._own_lags)))
        longest_s = self.limit() / max(_LEAST_RATE, self._recent.peak * _LEAST_SHARE)
        return min(lag_s, longest_s, _LONGEST_LAG_S)

    def limit(self) -> int:
        """How many changes may be under way."""
        return max(MIN_UNDER_WAY, round(self._recent.rate * self._target_s))

    def room(self) -> float:
        """How many changes may be committed now; infinite if the throttle is off."""
        if not self._target_s:
            return math.inf
        since = self._clock() - self.lag_s()
        under_way = takewhile(lambda commit: commit[0] > since, reversed(self._commits))
        return self.limit() - sum(changes for _, changes in under_way)

    def refuse_late(self, waiting: int) -> None:
        """Raises `Overloaded` if a change behind `waiting` others would wait longer than `max_delay`."""
        if not self._max_delay_s or not waiting:
            return
        behind = waiting - self.room()
        if behind <= 0:
            return
        delay_s = self.lag_s() * behind / self.limit()
        if delay_s > self._max_delay_s:
            metrics.intake_refused.inc()
            text = "the broker is overloaded: changes would wait longer than BROKER_MAX_DELAY"
            raise Overloaded(text, retry_after_s=math.ceil(delay_s - self._max_delay_s) + 1)

    async def reserve(self, changes: int) -> None:
        """Returns when changes that bypass the group commit may be written, and counts them."""
        self.refuse_late(1)
        await self.turn()
        self.committed(changes)

    async def turn(self) -> None:
        """Returns when there is room for the next changes, or after `_LONGEST_PAUSE_S`."""
        started = self._clock()
        while self.room() < _LEAST_BATCH and (waited_s := self._clock() - started) < _LONGEST_PAUSE_S:
            await asyncio.sleep(_LOOK_AGAIN_S)
            metrics.intake_delay.inc(self._clock() - started - waited_s)

    def batch_size(self, largest: int) -> int:
        """How many changes the next commit may have."""
        return round(min(largest, max(_LEAST_BATCH, self.room())))

    def committed(self, changes: int) -> None:
        """Changes were committed: they are under way."""
        now = self._clock()
        self._is_used = True
        self._recent.add(changes, now)
        if self._target_s:
            self._commits.append((now, changes))
            while self._commits[0][0] < now - _LONGEST_LAG_S:
                self._commits.popleft()

    async def follow(self, stop: asyncio.Event) -> None:
        """Reads the lags of all processes while changes are committed."""
        while not await sleep_unless(stop, _READ_EVERY_S):
            if not self._is_used or not self._target_s:
                continue
            self._is_used = False
            try:
                self._others_s = await self._board.longest_s(self._clock())
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("lags not read", error=str(error))
                self._others_s = 0.0


class _RecentRate:
    """The rate of commits, not counting the time in which nothing was to be done. `peak` is the highest of
    the last minute.
    """

    def __init__(self) -> None:
        self._count = 0.0
        self._seconds = 0.0
        self._last_at = -math.inf
        self.peak = 0.0

    @property
    def rate(self) -> float:
        return self._count / max(self._seconds, _SHORTEST_S)

    def add(self, count: int, now: float) -> None:
        seconds = min(now - self._last_at, _LONGEST_GAP_S)
        self._last_at = now
        kept = math.exp(-seconds / _RATE_OVER_S)
        self._count = self._count * kept + count
        self._seconds = self._seconds * kept + seconds
        fade = math.exp(-seconds / _PEAK_OVER_S)
        self.peak = max(self.rate, self.rate + (self.peak - self.rate) * fade)
