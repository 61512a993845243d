"""Tells the other processes, and the metrics, how far the workers of this process are behind.

It writes only while there is a lag worth telling, and once more when it is over.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta

from broker.errors import StoreUnavailable
from broker.store.lag_board import LagBoard
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_EVERY_S = 0.2
_LEAST_SHARE = 0.25
"""The share of the target lag from which on a lag is written."""


class LagReporter:
    """`lags` are those of this process by worker. `run` returns after `stop` is set."""

    def __init__(
        self,
        lags: Mapping[str, Callable[[], float]],
        board: LagBoard,
        target: timedelta,
        stop: asyncio.Event,
    ) -> None:
        self._lags = lags
        self._board = board
        self._least_s = target.total_seconds() * _LEAST_SHARE
        self._stop = stop
        self._process = uuid.uuid4().hex

    async def run(self) -> None:
        turn, is_written = 0, False
        while not await sleep_unless(self._stop, _EVERY_S):
            seconds = {worker: lag() for worker, lag in self._lags.items()}
            for worker, lag_s in seconds.items():
                metrics.lag.labels(worker).set(lag_s)
            longest_s = max(seconds.values(), default=0.0)
            if not self._least_s or not (is_written or longest_s >= self._least_s):
                continue
            turn += 1
            with contextlib.suppress(StoreUnavailable):  # it only makes the intake react later
                if longest_s >= self._least_s:
                    await self._board.write(self._process, longest_s, turn)
                    is_written = True
                else:
                    await self._board.remove(self._process)
                    is_written = False
