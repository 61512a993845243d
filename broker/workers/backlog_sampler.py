"""Samples the backlogs of subscriptions and tenants for the metrics (`store/backlogs.py`), in every process
with the role `match`; one at a time does it.
"""

import asyncio
import time

import structlog

from broker.errors import StoreUnavailable
from broker.store.backlogs import BacklogSample
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)
PERIOD_S = 15.0
_PAUSES_PER_SAMPLE = 100
"""A sample of many subscriptions takes long: it may take a hundredth of the time."""
_KEPT_PERIODS = 3


class BacklogSampler:
    """`run` returns after `stop` is set."""

    def __init__(self, sample: BacklogSample, stop: asyncio.Event, period_s: float = PERIOD_S) -> None:
        self._sample = sample
        self._stop = stop
        self._shortest_s = self._period_s = period_s

    async def run(self) -> None:
        while not await sleep_unless(self._stop, self._period_s):
            try:
                # a little less, so that this process does not miss its own next turn
                if await self._sample.is_my_turn(round(self._period_s * 900)):
                    await self._take()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("backlogs not sampled", error=str(error))

    async def _take(self) -> None:
        started_s = time.monotonic()
        await self._sample.take(round(self._period_s * 1000) * _KEPT_PERIODS)
        took_s = time.monotonic() - started_s
        self._period_s = max(self._shortest_s, took_s * _PAUSES_PER_SAMPLE)
