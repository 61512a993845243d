"""What readings need to know of a Device: its status, and who had it when.

What was read is kept until a process reports that the Device or one of its associations was written.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from broker.fhir.device_associations import (
    ASSOCIATION_TYPES,
    DEVICE_PARAMETER,
    Association,
    association,
    device_state,
)
from broker.model.change import Tenant
from broker.recently_used import RecentlyUsed
from broker.store.resources import Resources

_MAX_ENTRIES = 100_000
_MAX_UNUSED_S = 3_600.0
_MAX_ASSOCIATIONS = 1_000
_NOT_IN_USE = frozenset({"inactive", "entered-in-error"})


class DeviceRecord(NamedTuple):
    """A Device as it is stored. `patient` is that of `Device.patient`, `Patient/id` or ''."""

    is_stored: bool
    status: str
    patient: str
    manufactured: datetime | None
    associations: Sequence[Association]

    @property
    def is_in_use(self) -> bool:
        return self.is_stored and self.status not in _NOT_IN_USE

    def patients_at(self, moment: datetime) -> Sequence[str]:
        """The patients who have the device at the moment, each once: by its associations, or by
        `Device.patient` where there are none.
        """
        if not self.associations:
            return [self.patient] if self.patient else []
        return list(dict.fromkeys(each.patient for each in self.associations if each.covers(moment)))

    @property
    def in_use_since(self) -> datetime | None:
        """Before this moment the device was not made, or with nobody; None if that is not known."""
        starts = [each.start for each in self.associations]
        first = min((start for start in starts if start is not None), default=None)
        if None in starts:
            first = None
        known = [moment for moment in (first, self.manufactured) if moment is not None]
        return max(known, default=None)


class Devices:
    """Device records by tenant and `Device/id`."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._records: RecentlyUsed[tuple[Tenant, str], DeviceRecord] = RecentlyUsed(
            _MAX_ENTRIES, _MAX_UNUSED_S
        )
        self._generation = 0

    def forget(self, tenant: Tenant, device: str) -> None:
        """The Device or one of its associations was written."""
        self._generation += 1
        self._records.remove((tenant, device))

    def forget_all(self) -> None:
        """Any Device may have been written."""
        self._generation += 1
        self._records.clear()

    async def record(self, tenant: Tenant, device: str) -> DeviceRecord:
        """The record of `Device/id`."""
        key = (tenant, device)
        if record := self._records.get(key):
            return record
        generation = self._generation
        record = await read_device(self._resources, tenant, device)
        if generation == self._generation:  # else what was read may be older than a message
            self._records.put(key, record)
        return record


async def read_device(resources: Resources, tenant: Tenant, device: str) -> DeviceRecord:
    """What is stored now of `Device/id` and its associations."""
    by = [(resource_type, DEVICE_PARAMETER) for resource_type in ASSOCIATION_TYPES]
    referring = await resources.referring(tenant, device, by, limit=_MAX_ASSOCIATIONS)
    target = ("Device", device.removeprefix("Device/"))
    versions = await resources.current_many(tenant, [target, *referring])
    stored = versions.get(target)
    associations = []
    for each in referring:
        version = versions.get(each)
        if version is not None and version.resource is not None:
            associations.append(association(version.resource))
    if stored is None or stored.resource is None:
        return DeviceRecord(False, "", "", None, ())
    state = device_state(stored.resource)
    return DeviceRecord(
        True,
        state.status,
        state.patient,
        state.manufactured,
        [each for each in associations if each is not None],
    )
