"""Works at the runs that redrive or discard many dead letters.

Each process that serves the API runs it. A run that a process leaves, because it stops or dies, is continued
by another one.
"""

import asyncio
import uuid

import structlog

from broker.errors import StoreUnavailable
from broker.services.dead_letter_runs import DeadLetterRunService
from broker.store.dead_letter_runs import DeadLetterRuns
from broker.tasks import sleep_unless

_log = structlog.get_logger(__name__)
_LOOK_AGAIN_S = 1.0
_PAUSE_S = 0.01
"""Between two pages: what is redriven has to be matched and delivered too."""


class DeadLetterRunner:
    """`run` returns after `stop` is set."""

    def __init__(self, service: DeadLetterRunService, runs: DeadLetterRuns, stop: asyncio.Event) -> None:
        self._service = service
        self._runs = runs
        self._stop = stop
        self._owner = uuid.uuid4().hex

    async def run(self) -> None:
        while not await sleep_unless(self._stop, _LOOK_AGAIN_S):
            try:
                for name in await self._runs.open():
                    while not self._stop.is_set() and await self._service.work(name, self._owner):
                        await sleep_unless(self._stop, _PAUSE_S)
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="dead letter runs", error=str(error))
