"""Counts what is in the files of bulk exports, and finds what cannot be exported.

Each process that serves the API runs it. A job that a process leaves, because it stops or dies, is finished
by another one; a file that is checked twice gets the same result.
"""

import asyncio
import uuid

import structlog

from broker.errors import StoreUnavailable
from broker.services.bulk_export import BulkExportService
from broker.store.export_jobs import ExportJobs
from broker.tasks import Slices, sleep_unless

_log = structlog.get_logger(__name__)
_LOOK_AGAIN_S = 1.0


class ExportChecker:
    """`run` returns after `stop` is set."""

    def __init__(self, exports: BulkExportService, jobs: ExportJobs, stop: asyncio.Event) -> None:
        self._exports = exports
        self._jobs = jobs
        self._stop = stop
        self._owner = uuid.uuid4().hex

    async def run(self) -> None:
        while not await sleep_unless(self._stop, _LOOK_AGAIN_S):
            try:
                for job in await self._jobs.open():
                    await self._exports.check(job, self._owner, Slices.in_background())
            except StoreUnavailable as error:
                _log.warning("store unavailable", worker="exports", error=str(error))
