"""How far the matcher and the dispatcher of this process are behind, in seconds, for the intake to slow down.

A lag is the broker's own: a subscriber that is slow or down adds nothing to it. The workers report to the
meters; the intake and the lag reporter read them. The time between a worker's reports is one of the monotonic
clock of this process; ages are differences of the store's time, so no two clocks are compared.
"""

import statistics
import time
from collections.abc import Callable

from broker.model.subscription import SubscriptionKey

Timer = Callable[[], float]
_STALE_S = 1.0
"""A lag that nobody has measured again for so long is over: there is no work."""


class MatcherLag:
    """The age of the oldest change that the matcher has not finished."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        self._timer = timer
        self._since: float | None = None
        self._last_s, self._last_at = 0.0, -_STALE_S

    def started(self, age_s: float) -> None:
        """The matcher has read a batch whose oldest change has this age."""
        self._since = self._timer() - max(0.0, age_s)

    def ended(self) -> None:
        """The batch is finished, or will be read again."""
        if self._since is not None:
            self._last_at = self._timer()
            self._last_s = self._last_at - self._since
            self._since = None

    def seconds(self) -> float:
        now = self._timer()
        last_s = self._last_s if now - self._last_at < _STALE_S else 0.0
        return last_s if self._since is None else max(last_s, now - self._since)


class DispatcherLag:
    """The age of events when their attempt starts: the median over the subscriptions of a short window.

    A subscription does not count while it catches up after a failure or an interruption, nor while its
    receiver takes more of the time than the broker does. The median keeps one subscription with more events
    than its receiver can take, one after the other, from slowing the producers of all others.
    """

    WINDOW_S = 0.1
    MAX_AGE_S = 10.0
    """An older first event has waited for something else: a back-off, a restart, a reactivation."""

    def __init__(self, timer: Timer = time.monotonic) -> None:
        self._timer = timer
        self._runs: dict[SubscriptionKey, _Run] = {}
        self._ages: dict[SubscriptionKey, float] = {}
        self._window_ends = 0.0
        self._last_s, self._last_at = 0.0, -_STALE_S

    def started(self, key: SubscriptionKey, age_s: float, *, is_retry: bool) -> None:
        """An attempt starts, whose first event was accepted `age_s` ago."""
        now = self._timer()
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run(now, is_excused=age_s > self.MAX_AGE_S)
        run.is_excused = run.is_excused or is_retry
        if run.is_excused or run.sending_s > (now - run.started_at) / 2:
            return
        if not self._ages:
            self._window_ends = now + self.WINDOW_S
        self._ages[key] = age_s
        if now >= self._window_ends:
            self._close_window(now)

    def sent(self, key: SubscriptionKey, seconds: float, *, is_delivered: bool) -> None:
        """The receiver has answered after this time, or not at all."""
        run = self._runs.get(key)
        if run is not None:
            run.sending_s += seconds
            run.is_excused = run.is_excused or not is_delivered

    def ended(self, key: SubscriptionKey) -> None:
        """The subscription has nothing more to send at the moment."""
        self._runs.pop(key, None)

    def seconds(self) -> float:
        now = self._timer()
        if self._ages and now >= self._window_ends:
            self._close_window(now)
        return self._last_s if now - self._last_at < _STALE_S else 0.0

    def _close_window(self, now: float) -> None:
        self._last_s, self._last_at = statistics.median_low(self._ages.values()), now
        self._ages.clear()


class _Run:
    """The attempts for one subscription that follow each other without a pause."""

    __slots__ = ("is_excused", "sending_s", "started_at")

    def __init__(self, started_at: float, *, is_excused: bool) -> None:
        self.started_at = started_at
        self.is_excused = is_excused
        self.sending_s = 0.0
