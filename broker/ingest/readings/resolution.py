"""Turns a mapped reading into the Observation that it is to be: who measured whom, and when.

A reading that can't be resolved is a problem, often one that ends by itself: `Unresolved` says what it waits
for.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from broker.clock import to_instant
from broker.errors import RequestError
from broker.fhir.merged_values import Window
from broker.fhir.reading_resources import (
    ObservationContext,
    metric_of,
    observation,
    observed_type,
    reading_identifier,
)
from broker.ingest.readings import clocks
from broker.ingest.readings.devices import DeviceRecord, Devices
from broker.ingest.readings.identities import Identities, NotIdentified
from broker.ingest.readings.policy import ReadingPolicy
from broker.ingest.readings.quarantine import Waits
from broker.ingest.readings.values import RawReading
from broker.ingest.readings.windows import window_of
from broker.mapping.reading import (
    DeviceIdentity,
    Identifier,
    IdentityPolicy,
    MappedReading,
    PatientIdentity,
    ReadingProblem,
)
from broker.model.resource import Resource
from broker.store import keys
from broker.store.resources import assign_id


class PlannedObservation(NamedTuple):
    """An Observation to write under an id that the reading determines. `correction` as in `MappedReading`.

    With a `window`, it is to be merged with the readings of the window; `required` as in `Merge`.
    """

    id: str
    resource: Resource
    correction: str
    mapping: str
    effective: datetime
    end: datetime | None = None
    window: Window | None = None
    required: tuple[Mapping[str, object], ...] = ()


class Unresolved(Exception):  # noqa: N818 a state of the store or a property of the reading
    """Why the reading becomes no Observation now. `is_refused`: nor ever, by the broker's policy."""

    def __init__(
        self, problem: ReadingProblem, waits: Waits | None = None, *, is_refused: bool = False
    ) -> None:
        super().__init__(problem.reason)
        self.problem = problem
        self.waits = waits
        self.is_refused = is_refused


class Resolver:
    """Resolves readings by the policy of the broker and of their mappings."""

    def __init__(self, identities: Identities, devices: Devices, policy: ReadingPolicy) -> None:
        self._identities = identities
        self._devices = devices
        self._policy = policy

    async def resolve(self, raw: RawReading, reading: MappedReading) -> PlannedObservation:
        """Raises `Unresolved`, and `StoreUnavailable`."""
        device = await self._find(raw, reading, "Device", reading.device, self._policy.devices)
        record = await self._devices.record(raw.tenant, device)
        if not record.is_stored:  # it was deleted, and the identity is known no more
            self._identities.forget(raw.tenant, device)
            device = await self._find(raw, reading, "Device", reading.device, self._policy.devices)
            record = await self._devices.record(raw.tenant, device)
        if not record.is_in_use:
            text = f"{device} is not in use: its status is {record.status}. Correct the Device, or discard."
            raise _unresolved(reading, "device-inactive", "device", text, device)
        time = self._time(raw, reading, record)
        patient = await self._patient(raw, reading, device, record, time)
        if time.doubt and self._policy.implausible_time == "quarantine":
            raise _implausible(reading, time.doubt)
        encounter = gateway = ""
        if reading.encounter is not None:
            identity = PatientIdentity(reading.encounter, IdentityPolicy.LOOKUP, {})
            encounter = await self._find(raw, reading, "Encounter", identity, IdentityPolicy.LOOKUP)
        if named := raw.parameters.get("gateway"):
            gateway = await self._gateway(raw, reading, named)
        if self._policy.creates_metrics and (metric := metric_of(reading.resource)) is not None:
            await self._identities.metric(raw, device, metric)
        return _planned(raw, reading, device, patient, encounter, gateway, time)

    async def _find(
        self,
        raw: RawReading,
        reading: MappedReading,
        resource_type: str,
        identity: DeviceIdentity | PatientIdentity,
        default: IdentityPolicy,
    ) -> str:
        """`Type/id` of the resource with the identifier."""
        policy, field = identity.policy or default, resource_type.lower()
        if policy is IdentityPolicy.REFUSE:
            text = f"Readings may not name a {resource_type} here. Leave it out, or change the policy."
            raise Unresolved(_problem(reading, "refused-identity", field, text), is_refused=True)
        try:
            return await self._identities.resolve(
                raw, resource_type, identity.identifier, policy, identity.resource
            )
        except NotIdentified as error:
            awaited = f"{resource_type}?{identity.identifier.value}\x1f{identity.identifier.system}\x1f"
            waits = Waits(awaited, reading.start)
            raise Unresolved(_problem(reading, error.reason, field, str(error)), waits) from None
        except RequestError as error:
            issue = error.issues[0]
            text = f"The {resource_type} of the mapping is not valid: {issue.text}"
            raise Unresolved(_problem(reading, f"invalid-{field}", field, text)) from None

    async def _gateway(self, raw: RawReading, reading: MappedReading, named: str) -> str:
        system, _, value = named.rpartition("|")
        if not system or not value:
            text = "The gateway is not system|value. Send both."
            raise Unresolved(_problem(reading, "malformed", "gateway", text))
        identity = DeviceIdentity(Identifier(system, value), None, {})
        return await self._find(raw, reading, "Device", identity, self._policy.devices)

    def _time(self, raw: RawReading, reading: MappedReading, record: DeviceRecord) -> clocks.ReadingTime:
        try:
            return clocks.judge(
                reading.start,
                reading.end,
                received=raw.received,
                ahead_s=reading.clock_offset_s,
                future=self._policy.future,
                in_use_since=record.in_use_since,
            )
        except OverflowError:
            raise _implausible(reading, "clock-reset") from None

    async def _patient(
        self,
        raw: RawReading,
        reading: MappedReading,
        device: str,
        record: DeviceRecord,
        time: clocks.ReadingTime,
    ) -> str:
        if reading.patient is not None:
            return await self._find(raw, reading, "Patient", reading.patient, self._policy.patients)
        patients = record.patients_at(time.start)
        if len(patients) == 1:
            return patients[0]
        if patients:
            text = f"{device} is associated with several patients at that time. Correct the associations."
            raise _unresolved(reading, "ambiguous-association", "patient", text, device)
        # an implausible time would make it wait for an association that can't come
        if time.doubt in {"future", "clock-reset"} and self._policy.implausible_time == "quarantine":
            raise _implausible(reading, time.doubt)
        text = (
            f"{device} is associated with no patient at that time. Create a DeviceUseStatement (R4) or "
            "DeviceAssociation (R5) whose period has it: the reading is then processed by itself."
        )
        raise _unresolved(reading, "unassociated", "patient", text, device)


_DOUBTS: Mapping[str, str] = {
    "future": "The time of the reading is later than its arrival. Set the device's clock.",
    "clock-reset": "The time of the reading is that of a clock that was reset. Set the device's clock.",
    "before-use": "The time of the reading is before the device was made or first in use. Check its clock.",
}


def _implausible(reading: MappedReading, doubt: str) -> Unresolved:
    return Unresolved(_problem(reading, "clock", "time", f"{_DOUBTS[doubt]} ({doubt})"))


def _unresolved(reading: MappedReading, reason: str, field: str, text: str, awaited: str) -> Unresolved:
    return Unresolved(_problem(reading, reason, field, text), Waits(awaited, reading.start))


def _problem(reading: MappedReading, reason: str, field: str, text: str) -> ReadingProblem:
    code = "not-found" if reason.startswith(("unknown", "unassociated")) else "business-rule"
    return ReadingProblem(code, reason, reading.mapping, field, "", text)


def _planned(
    raw: RawReading,
    reading: MappedReading,
    device: str,
    patient: str,
    encounter: str,
    gateway: str,
    time: clocks.ReadingTime,
) -> PlannedObservation:
    has_own_time = bool(reading.text_of_time) or not raw.key
    moment = _moment(reading) if has_own_time else f"key {raw.key}"
    discriminator = reading.discriminator
    window = None if reading.merge is None else window_of(reading.merge, time.start)
    if window is not None:
        moment, discriminator = f"merged {window.key}", reading.name
    identifier = reading_identifier(
        *reading.device.identifier, patient, observed_type(reading.resource), moment, discriminator
    )
    placement = keys.placement(raw.tenant, patient.removeprefix("Patient/"))
    resource = observation(
        reading.resource,
        ObservationContext(
            identifier,
            reading.correction or "final",
            patient,
            device,
            encounter,
            gateway,
            time.start,
            time.end,
            to_instant(round(raw.received.timestamp() * 1000)),
            time.device_time if window is None else None,
            ["implausible-time", time.doubt] if time.doubt else (),
        ),
    )
    return PlannedObservation(
        assign_id(placement, f"{raw.tenant}\nreading\n{identifier}"),
        resource,
        reading.correction,
        reading.mapping,
        time.start,
        time.end,
        window,
        () if reading.merge is None else reading.merge.required,
    )


def _moment(reading: MappedReading) -> str:
    """The time as the device said it, whatever offset it was spelled with: a correction of the clock that
    changes later makes no second Observation.
    """
    ends = [reading.start] if reading.end is None else [reading.start, reading.end]
    return "/".join(moment.astimezone(UTC).isoformat() for moment in ends)
