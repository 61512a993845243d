"""The context of a device: who has it now, who looks after that patient, and which medications are in force.

It only reads. The device's patient is the one to whom its readings of this moment would be attributed. What
the principal may not see is left out: a type without a scope is reported, a resource that a restriction
excludes is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.clock import Clock
from broker.errors import Issue
from broker.fhir.conversion import convert
from broker.fhir.device_context import ACTIVE_PATIENT, CONTEXT_TYPES, is_in_force
from broker.fhir.payload_elements import element_limits, limited
from broker.ingest.readings.devices import read_device
from broker.matching.restrictions import Restrictions
from broker.model.change import Version
from broker.model.principal import Principal
from broker.model.release import Release
from broker.model.scopes import alternatives
from broker.services.changes import ChangeService, StoredResource
from broker.store.resources import Resources

MAX_OF_TYPE = 200
_PATIENT = "Patient"


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """The device, what belongs to its context, and reports of what is missing in it."""

    device: StoredResource
    related: Sequence[StoredResource]
    issues: Sequence[Issue]


class DeviceContextService:
    """Contexts of devices of the principal's tenant. `elements` limit the resources that are shown."""

    def __init__(
        self,
        changes: ChangeService,
        resources: Resources,
        restrictions: Restrictions,
        clock: Clock,
        elements: tuple[str, ...],
    ) -> None:
        self._changes = changes
        self._resources = resources
        self._restrictions = restrictions
        self._clock = clock
        self._limits = element_limits((), elements)

    async def read(self, principal: Principal, release: Release, device_id: str) -> DeviceContext:
        """Raises what `ChangeService.read` raises for the Device."""
        device = await self._changes.read(principal, release, "Device", device_id)
        shown = StoredResource(device.version, limited(device.resource, release, self._limits))
        moment = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        patient, issues = await self._patient(principal, device.version, moment)
        if not patient:
            return DeviceContext(shown, (), issues)
        types = [name for name in (_PATIENT, *CONTEXT_TYPES) if _is_granted(principal, name)]
        issues = [_not_granted(name) for name in (_PATIENT, *CONTEXT_TYPES) if name not in types]
        related = []
        for version in await self._versions(principal, patient, types, moment, issues):
            resource = version.resource
            if resource is None or not self._may_see(principal, version):
                continue
            converted = convert(resource, version.key.type, version.release, release)
            if converted is None:
                issues.append(_not_converted(version, release))
            else:
                related.append(StoredResource(version, limited(converted, release, self._limits)))
        return DeviceContext(shown, related, issues)

    async def _patient(
        self, principal: Principal, device: Version, moment: datetime
    ) -> tuple[str, list[Issue]]:
        """`Patient/id`, or '' and why there is none."""
        record = await read_device(self._resources, principal.tenant, device.key.reference)
        if not record.is_in_use:
            return "", [_nobody(f"{device.key.reference} is not in use: its status is {record.status}.")]
        patients = record.patients_at(moment)
        if len(patients) == 1:
            return patients[0], []
        if patients:
            text = "is associated with several patients now. Correct the associations."
        else:
            text = "is associated with no patient now."
        return "", [_nobody(f"{device.key.reference} {text}")]

    async def _versions(
        self,
        principal: Principal,
        patient: str,
        types: Sequence[str],
        moment: datetime,
        issues: list[Issue],
    ) -> list[Version]:
        """The patient, and what is in force about it, newest first of each type; adds to the issues."""
        targets = [(_PATIENT, patient.removeprefix(f"{_PATIENT}/"))] if _PATIENT in types else []
        for name in CONTEXT_TYPES:
            if name not in types:
                continue
            by = [(name, ACTIVE_PATIENT)]
            found = await self._resources.referring(principal.tenant, patient, by, limit=MAX_OF_TYPE + 1)
            if len(found) > MAX_OF_TYPE:
                issues.append(_cut(name))
            targets += found[:MAX_OF_TYPE]
        stored = await self._resources.current_many(principal.tenant, targets)
        versions = [stored[target] for target in targets if target in stored]
        if _PATIENT in types and not any(_is_stored(version, _PATIENT) for version in versions):
            issues.append(_nobody(f"{patient}, who has the device, is not stored here."))
        return [
            version
            for version in versions
            if version.key.type == _PATIENT
            or (version.resource is not None and is_in_force(version.resource, moment))
        ]

    def _may_see(self, principal: Principal, version: Version) -> bool:
        return all(
            self._restrictions.allow(alternatives(principal.scopes, version.key.type, permission), version)
            for permission in ("r", "s")
        )


def _is_granted(principal: Principal, resource_type: str) -> bool:
    return all(alternatives(principal.scopes, resource_type, permission) for permission in ("r", "s"))


def _is_stored(version: Version, resource_type: str) -> bool:
    return version.key.type == resource_type and version.resource is not None


def _nobody(text: str) -> Issue:
    return Issue("not-found", text, severity="warning")


def _not_granted(resource_type: str) -> Issue:
    text = f"{resource_type} is left out: the client lacks system/{resource_type}.rs."
    return Issue("suppressed", text, severity="warning")


def _not_converted(version: Version, release: Release) -> Issue:
    text = (
        f"{version.key.reference} is left out: it can't be converted from {version.release.upper()} to "
        f"{release.upper()}. Read the context at the base /{version.release}."
    )
    return Issue("not-supported", text, severity="warning")


def _cut(resource_type: str) -> Issue:
    text = f"More than {MAX_OF_TYPE} {resource_type} resources are in force; the newest are shown."
    return Issue("incomplete", text, severity="warning")
