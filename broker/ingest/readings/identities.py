"""Finds the Device, Patient or Encounter that a reading names by its identifier, or creates it.

Concurrent readings of one new device, in whatever process, make one Device: within a process they wait for
the same request, and between processes `Conditions` agrees on its id. What was found is kept until the
resource is written again (`forget`).
"""

import asyncio
from collections.abc import Mapping

from broker.errors import PreconditionFailed
from broker.fhir.criteria import Criteria
from broker.fhir.identifiers import IdentifierToken
from broker.fhir.reading_resources import Metric, device_metric, identified
from broker.ingest.intake import Intake
from broker.ingest.readings.values import RawReading
from broker.ingest.requests import ChangeRequest
from broker.mapping.reading import Identifier, IdentityPolicy
from broker.model.change import Tenant
from broker.model.release import Release
from broker.model.resource import Resource
from broker.recently_used import RecentlyUsed

_MAX_ENTRIES = 100_000
_MAX_UNUSED_S = 3_600.0
_Key = tuple[Tenant, str, str, str]
"""Tenant, resource type, system and value of the identifier."""


class NotIdentified(Exception):  # noqa: N818 a state of the store, for the intake of readings to report
    """No resource, or not exactly one, has the identifier. `reason` is the slug of the problem."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Identities:
    """`Type/id` by identifier."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._known: RecentlyUsed[_Key, str] = RecentlyUsed(_MAX_ENTRIES, _MAX_UNUSED_S)
        self._keys: RecentlyUsed[tuple[Tenant, str], frozenset[_Key]] = RecentlyUsed(
            _MAX_ENTRIES, _MAX_UNUSED_S
        )
        self._pending: dict[_Key, asyncio.Task[str]] = {}

    def forget(self, tenant: Tenant, reference: str) -> None:
        """The resource `Type/id` was written: it may have other identifiers now."""
        for key in self._keys.get((tenant, reference)) or ():
            self._known.remove(key)
        self._keys.remove((tenant, reference))

    def forget_all(self) -> None:
        """Messages about written resources may have been missed."""
        self._known.clear()
        self._keys.clear()

    async def resolve(
        self,
        reading: RawReading,
        resource_type: str,
        identifier: Identifier,
        policy: IdentityPolicy,
        elements: Mapping[str, object],
    ) -> str:
        """`Type/id`. Raises `NotIdentified`, and what `Intake.admit` raises for one that is created."""
        key = (reading.tenant, resource_type, *identifier)
        if known := self._known.get(key):
            return known
        if pending := self._pending.get(key):
            return await asyncio.shield(pending)
        task = asyncio.create_task(self._find(reading, resource_type, identifier, policy, elements))
        self._pending[key] = task

        def note(ended: asyncio.Task[str]) -> None:
            del self._pending[key]
            if not ended.cancelled() and ended.exception() is None:
                self._keep(key, ended.result())

        task.add_done_callback(note)
        return await asyncio.shield(task)  # a caller that goes away must not fail the others

    async def _find(
        self,
        reading: RawReading,
        resource_type: str,
        identifier: Identifier,
        policy: IdentityPolicy,
        elements: Mapping[str, object],
    ) -> str:
        criteria = _criteria(identifier)
        try:
            match = await self._intake.conditions.match(reading.tenant, resource_type, criteria)
            if match is not None:
                return match.key.reference
            if policy is not IdentityPolicy.CREATE:
                text = f"No {resource_type} has the identifier. Create the {resource_type}."
                raise NotIdentified(f"unknown-{resource_type.lower()}", text)
            resource = identified(resource_type, *identifier, elements)
            return await self._create(reading, resource_type, criteria, resource)
        except PreconditionFailed:
            text = f"Several {resource_type} resources have the identifier. Only one may have it."
            raise NotIdentified(f"ambiguous-{resource_type.lower()}", text) from None

    def _keep(self, key: _Key, reference: str) -> None:
        self._known.put(key, reference)
        keys = self._keys.get((key[0], reference)) or frozenset()
        self._keys.put((key[0], reference), keys | {key})

    async def metric(self, reading: RawReading, device: str, metric: Metric) -> None:
        """Creates the DeviceMetric of the device unless it exists."""
        key = (reading.tenant, "DeviceMetric", device, metric.code)
        if self._known.get(key) is None:
            value, resource = device_metric(device, metric)
            criteria = _criteria(Identifier("urn:ietf:rfc:3986", value))
            self._keep(key, await self._create(reading, "DeviceMetric", criteria, resource))

    async def _create(
        self, reading: RawReading, resource_type: str, criteria: Criteria, resource: Resource
    ) -> str:
        request = ChangeRequest(
            reading.tenant,
            Release.R4,
            "create",
            resource_type,
            resource=resource,
            criteria=criteria,
            requester=reading.requester,
            trace=reading.trace,
        )
        admission = await self._intake.admit(request)
        if admission.accepted is None:  # another process created it meanwhile
            return f"{resource_type}/{admission.existing_id}"
        return admission.accepted.key.reference


def _criteria(identifier: Identifier) -> Criteria:
    token = IdentifierToken(identifier.system, identifier.value)
    return Criteria(((token,),), (), f"identifier={identifier.system}|{identifier.value}")
