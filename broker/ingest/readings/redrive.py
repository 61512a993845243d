"""Processes quarantined readings again: those that an operator chose, and those that waited for something."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from broker.ingest.readings.intake import ReadingIntake
from broker.ingest.readings.quarantine import raw_reading
from broker.ingest.readings.values import ReadingStatus
from broker.model.change import Tenant
from broker.store.dead_letter_id import DeadReadingId
from broker.store.quarantine import Quarantine
from broker.tasks import Slices

_log = structlog.get_logger(__name__)


class NotStored(NamedTuple):
    """Why a reading stays a dead letter, and its id, which may be another one than before."""

    reason: str
    dead_letter: str


class ReadingRedrive:
    """One after the other, so that the readings of a device keep their order."""

    def __init__(self, intake: ReadingIntake, quarantine: Quarantine) -> None:
        self._intake = intake
        self._quarantine = quarantine

    async def redrive(self, tenant: Tenant, entries: Sequence[str]) -> Mapping[str, NotStored]:
        """Those of the entries that were not stored now."""
        problems: dict[str, NotStored] = {}
        for quarantined in await self._quarantine.get(tenant, entries):
            if quarantined.is_damaged:
                dead_letter = str(DeadReadingId(quarantined.entry))
                problems[quarantined.entry] = NotStored(quarantined.record["text"], dead_letter)
                continue
            result = await self._intake.admit_again(raw_reading(tenant, quarantined), quarantined)
            if result.status is ReadingStatus.QUARANTINED:
                first = result.problems[0]
                reason = f"{first.reason}: {first.text}"
                problems[quarantined.entry] = NotStored(reason, result.dead_letter)
        return problems

    async def redrive_waiting(self, tenant: Tenant, name: str) -> int:
        """Processes what waited for the name, in the order of the effective times; how many were stored."""
        stored, slices = 0, Slices.in_background()
        async for page in self._quarantine.waiting(tenant, name):
            for quarantined in page:
                if quarantined.is_damaged:
                    continue
                result = await self._intake.admit_again(raw_reading(tenant, quarantined), quarantined)
                stored += result.status is not ReadingStatus.QUARANTINED
                await slices.pause()
        if stored:
            _log.info("readings that waited are stored", tenant=tenant, readings=stored)
        return stored

    async def redrive_all_waiting(self) -> int:
        """`redrive_waiting` for every tenant and name; how many were stored."""
        stored = 0
        for tenant in await self._quarantine.tenants():
            async for name in self._quarantine.awaited(tenant):
                stored += await self.redrive_waiting(tenant, name)
        return stored
