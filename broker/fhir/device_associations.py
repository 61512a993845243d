"""Who had which device when: the resources that say so, in all releases.

R4 and R4B have DeviceUseStatement with a `timingPeriod` and, as the simple form, `Device.patient`; R5 has
DeviceAssociation with a `period` and DeviceUsage with a `timingPeriod`. `ingest/readings` uses them at the
effective time of a reading.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from broker.fhir.date_times import earliest, latest
from broker.fhir.identifiers import index_entries
from broker.fhir.json_values import objects
from broker.model.resource import JsonObject, Resource

ASSOCIATION_TYPES = ("DeviceUseStatement", "DeviceUsage", "DeviceAssociation")
DEVICE_PARAMETER = "device"
"""The name under which the reference index has the device of an association."""
_NOT_IN_FORCE = frozenset({"entered-in-error", "intended", "not-done", "on-hold", "unknown"})
_DEVICE = re.compile(r"(Device/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_PATIENT = re.compile(r"(Patient/[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")


class Association(NamedTuple):
    """The patient (`Patient/id`) who has a device from `start` until before `end`; None: not bounded."""

    patient: str
    start: datetime | None
    end: datetime | None

    def covers(self, moment: datetime) -> bool:
        """Whether the moment is in the period."""
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)


class DeviceState(NamedTuple):
    """What a Device says of itself. `patient` is `Patient/id`, or ''."""

    status: str
    patient: str
    manufactured: datetime | None


def device_state(device: Resource) -> DeviceState:
    """The state in a Device of any release."""
    fields = device.fields
    status = fields.get("status")
    return DeviceState(
        status if isinstance(status, str) else "",
        _reference(fields, "patient", _PATIENT),
        earliest(fields.get("manufactureDate")),
    )


def association(resource: Resource) -> Association | None:
    """The association that the resource states; None for one that is not in force, or about no patient."""
    fields = resource.fields
    status = fields.get("status")
    codes = [status] if isinstance(status, str) else [coding.get("code") for coding in _codings(status)]
    patient = _reference(fields, "subject", _PATIENT) or _reference(fields, "patient", _PATIENT)
    if not patient or any(code in _NOT_IN_FORCE for code in codes):
        return None
    period = fields.get("period") if resource.type == "DeviceAssociation" else fields.get("timingPeriod")
    if not isinstance(period, JsonObject):
        has_other_timing = any(name.startswith("timing") for name in fields)
        return None if has_other_timing else Association(patient, None, None)
    start, end = period.get("start"), period.get("end")
    read = Association(patient, earliest(start), latest(end))
    # a boundary that can't be read must not become an open one
    unread = (start is not None and read.start is None) or (end is not None and read.end is None)
    return None if unread else read


def device_of(resource: Resource) -> str:
    """`Device/id` of the device of an association, or ''."""
    return _reference(resource.fields, "device", _DEVICE)


def device_references(resource_type: str, resource: Resource) -> tuple[tuple[str, str], ...]:
    """The entries of an association in the reference index."""
    device = device_of(resource) if resource_type in ASSOCIATION_TYPES else ""
    return ((DEVICE_PARAMETER, device),) if device else ()


def awaited_by_readings(resource_type: str, resource_id: str, resource: Resource | None) -> Sequence[str]:
    """The names under which readings wait for a resource that was just written: the `Device/id` that it is or
    is about, and its identifiers, as `awaited_identifier` spells them.
    """
    if resource_type in ASSOCIATION_TYPES:
        device = device_of(resource) if resource is not None else ""
        return [device] if device else []
    if resource_type not in {"Device", "Patient"} or resource is None:
        return []
    names = [f"{resource_type}?{entry}" for entry in index_entries(resource)]
    return [f"Device/{resource_id}", *names] if resource_type == "Device" else names


def _reference(fields: JsonObject, name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name)
    target = value.get("reference") if isinstance(value, JsonObject) else None
    if isinstance(target, JsonObject):  # a CodeableReference
        target = target.get("reference")
    match = pattern.fullmatch(target) if isinstance(target, str) else None
    return match[1] if match else ""


def _codings(concept: object) -> Sequence[JsonObject]:
    return list(objects(concept.get("coding"))) if isinstance(concept, JsonObject) else []
