"""Keeps the entry of this process in the register of a store's processes (`store/processes.py`)."""

import asyncio

import structlog

from broker.errors import StoreUnavailable
from broker.store.processes import RENEW_S, ProcessRegister
from broker.tasks import sleep_unless
from broker.telemetry import metrics

_log = structlog.get_logger(__name__)


class ProcessAnnouncer:
    """`run` renews the entry until `stop` is set. An entry that expired meanwhile is written again."""

    def __init__(self, register: ProcessRegister, stop: asyncio.Event) -> None:
        self._register = register
        self._stop = stop

    async def run(self) -> None:
        while not await sleep_unless(self._stop, RENEW_S):
            try:
                await self._register.renew()
            except StoreUnavailable as error:
                metrics.store_errors.inc()
                _log.warning("store unavailable", worker="processes", error=str(error))
