"""Slows the intake down as matcher and dispatcher fall behind, so that events do not queue in the store.

Producers then wait for their answer, before the change is written: what is accepted is delivered soon. The
group commit asks for its next turn; a supervised task reads the lags of other processes. A subscriber that is
slow or down causes no lag (`telemetry/lag.py`).
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from broker.errors import Overloaded, StoreUnavailable
from broker.store.lag_board import LagBoard
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
MIN_UNDER_WAY = 256
"""So many changes may be accepted and not yet on their way to a subscriber, whatever the lag is."""
_FREE_BELOW = 0.5
"""The share of the target lag up to which the intake is not slowed down at all."""
_LEAST_SHARE = 0.1
"""The intake never falls below this share of what it was in the last minute, however long the lag is."""
_LEAST_RATE = 50.0
_RATE_OVER_S = 0.5
_REFERENCE_OVER_S = 3.0
_PEAK_OVER_S = 60.0
_LONGEST_GAP_S = 0.05
"""A longer pause between two commits is counted as this long: no producer wanted more."""
_LONGEST_PAUSE_S = 0.5
_BATCH_S = 0.02
_LEAST_BATCH = 64
"""How much is committed at once while the intake is slowed down: smaller batches cost more in every part."""
_READ_EVERY_S = 0.1
Clock = Callable[[], float]


class Throttle:
    """Sets the rate of accepted changes in proportion to the lag.

    At the target lag it is the rate of the last seconds, which then is that of the deliveries; at twice the
    target half of it. The target grows where the changes under way would be fewer than `MIN_UNDER_WAY`: on a
    slow machine a lag is no queue, and slowing down would only leave the workers idle. A `target` of zero
    switches the throttle off; a `max_delay` of zero refuses nothing.
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
        self._last_turn = -math.inf
        self._next_turn = -math.inf
        self._is_used = False

    def lag_s(self) -> float:
        return max((self._others_s, *(lag() for lag in self._own_lags)))

    def rate(self) -> float:
        """The changes per second that may be accepted now; infinite while there is no lag to speak of."""
        reference = self._recent.reference
        if not self._target_s or not reference:
            return math.inf
        share = self.lag_s() / max(self._target_s, MIN_UNDER_WAY / reference)
        if share <= _FREE_BELOW:
            return math.inf
        return max(_LEAST_RATE, self._recent.peak * _LEAST_SHARE, reference / share)

    def refuse_late(self, waiting: int) -> None:
        """Raises `Overloaded` if a change behind `waiting` others would wait longer than `max_delay`."""
        if not self._max_delay_s or not waiting:
            return
        delay_s = waiting / self.rate()
        if delay_s > self._max_delay_s:
            metrics.intake_refused.inc()
            text = "the broker is overloaded: changes would wait longer than BROKER_MAX_DELAY"
            raise Overloaded(text, retry_after_s=math.ceil(delay_s - self._max_delay_s) + 1)

    async def reserve(self, changes: int) -> None:
        """Returns when changes that bypass the group commit may be written, and counts them."""
        self.refuse_late(1)
        pause_s = min(_LONGEST_PAUSE_S, self._next_turn - self._clock())
        self.committed(changes)
        if pause_s > 0:
            metrics.intake_delay.inc(pause_s)
            await asyncio.sleep(pause_s)

    async def turn(self) -> None:
        """Returns when the next changes may be committed."""
        pause_s = min(_LONGEST_PAUSE_S, self._next_turn - self._clock())
        if pause_s > 0:
            metrics.intake_delay.inc(pause_s)
            await asyncio.sleep(pause_s)

    def batch_size(self, largest: int) -> int:
        """How many changes the next commit may have."""
        rate = self.rate()
        return largest if rate == math.inf else min(largest, max(_LEAST_BATCH, int(rate * _BATCH_S)))

    def committed(self, changes: int) -> None:
        """Changes were committed: the next ones have to wait in proportion."""
        now = self._clock()
        self._is_used = True
        self._recent.add(changes, min(now - self._last_turn, _LONGEST_GAP_S))
        self._last_turn = now
        self._next_turn = max(now, self._next_turn) + changes / self.rate()

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
    """The rate of commits, not counting the time in which nothing was to be done.

    `reference` follows the rate up at once and down within seconds, `peak` within a minute.
    """

    def __init__(self) -> None:
        self._count = 0.0
        self._seconds = 0.0
        self.reference = 0.0
        self.peak = 0.0

    def add(self, count: int, seconds: float) -> None:
        kept = math.exp(-seconds / _RATE_OVER_S)
        self._count = self._count * kept + count
        self._seconds = self._seconds * kept + seconds
        rate = self._count / max(self._seconds, _BATCH_S)
        self.reference = max(rate, _decayed(self.reference, rate, seconds / _REFERENCE_OVER_S))
        self.peak = max(rate, _decayed(self.peak, rate, seconds / _PEAK_OVER_S))


def _decayed(value: float, towards: float, times: float) -> float:
    return towards + (value - towards) * math.exp(-times)
