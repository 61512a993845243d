"""The channel that writes to a FHIR server, with one target and a server in memory behind it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from broker.channels.authorization import NoAuthorization
from broker.channels.base import SendRequest
from broker.channels.exchange import Exchange
from broker.channels.fhir_write import FhirWriteChannel
from broker.channels.reference_lookup import ReferenceLookup
from broker.channels.write_targets import WriteTarget, WriteTargets
from broker.fhir.server_writes import DeleteMode, WriteMode, WriteRules
from broker.model.change import DEFAULT_TENANT, Interaction, Tenant, VersionKey
from broker.model.notification import Event, Focus, Notification, NotificationType
from broker.model.outcome import DeliveryOutcome
from broker.model.release import Release
from broker.model.resource import Resource
from broker.model.subscription import (
    Channel,
    ChannelType,
    PayloadContent,
    Subscription,
    SubscriptionId,
    SubscriptionStatus,
)
from tests.unit.channels.simulated_fhir_server import BASE, SimulatedFhirServer

SYSTEM = "urn:broker"
TARGET = WriteTarget(
    name="ehr",
    tenant=DEFAULT_TENANT,
    base=BASE,
    rules=WriteRules(Release.R4, WriteMode.CONDITIONAL_UPDATE, DeleteMode.SEND, SYSTEM),
    types=("Observation",),
    lookups=("Patient", "Device"),
    creates=("Device",),
)
SINGLE = replace(TARGET, max_entries=1)
SETTINGS = Channel(
    type=ChannelType("fhir-write"),
    endpoint="fhir-write:ehr",
    headers=(),
    content_type="application/fhir+json",
    content=PayloadContent.FULL_RESOURCE,
)
SUBSCRIPTION = Subscription(
    tenant=DEFAULT_TENANT,
    id=SubscriptionId("s"),
    release=Release.R4,
    status=SubscriptionStatus.ACTIVE,
    topic="http://example.org/topic",
    filters=(),
    channel=SETTINGS,
    document=b"{}",
)
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [{"system": "urn:mrn", "value": "4711"}],
}
DEVICE = {"resourceType": "Device", "id": "d", "identifier": [{"system": "urn:sn", "value": "S1"}]}
LOCAL = {"Patient/p": PATIENT, "Device/d": DEVICE}


def observation(n: int, **members: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{n}",
        "identifier": [{"system": "urn:reading", "value": str(n)}],
        "subject": {"reference": "Patient/p"},
    } | members


class WriteFixture:
    """A channel with one target, and the server behind it, which knows the patient as `Patient/77`."""

    def __init__(self, target: WriteTarget = TARGET) -> None:
        self.server = SimulatedFhirServer()
        self.server.add(PATIENT | {"id": "77"})
        self.channel = FhirWriteChannel(
            self.server.send,
            WriteTargets([target]),
            NoAuthorization(),
            ReferenceLookup(self._read, "https://broker.example"),
        )

    async def _read(
        self, tenant: Tenant, resource_type: str, resource_id: str, release: Release
    ) -> Resource | None:
        assert (tenant, release) == (DEFAULT_TENANT, Release.R4)
        found = LOCAL.get(f"{resource_type}/{resource_id}")
        return None if found is None else Resource(orjson.dumps(found))

    async def write(self, *resources: dict[str, Any], deletes: tuple[str, ...] = ()) -> DeliveryOutcome:
        """Writes an event for each resource, numbered from 1, and then the deletions of Observations."""
        foci = []
        for number, resource in enumerate(resources, 1):
            key = VersionKey(DEFAULT_TENANT, resource["resourceType"], resource["id"], 1)
            event = Event(number, 0, key, Release.R4, Interaction.CREATE)
            foci.append(Focus(event, Resource(orjson.dumps(resource))))
        for number, resource_id in enumerate(deletes, len(resources) + 1):
            key = VersionKey(DEFAULT_TENANT, "Observation", resource_id, 2)
            foci.append(Focus(Event(number, 0, key, Release.R4, Interaction.DELETE), None))
        return await self.send(NotificationType.EVENT_NOTIFICATION, tuple(foci))

    async def send(self, kind: NotificationType, foci: tuple[Focus, ...] = ()) -> DeliveryOutcome:
        notification = Notification(
            id="n",
            type=kind,
            release=Release.R4,
            subscription=SUBSCRIPTION.id,
            topic=SUBSCRIPTION.topic,
            status=SubscriptionStatus.ACTIVE,
            content=PayloadContent.FULL_RESOURCE,
            events_since_start=len(foci),
            at_ms=0,
            foci=foci,
        )
        self.exchange = Exchange()
        return await self.channel.send(
            SendRequest(SUBSCRIPTION, notification, b"", 5.0, exchange=self.exchange)
        )

    @property
    def observations(self) -> list[Mapping[str, Any]]:
        return self.server.resources("Observation")

    def bundle_sizes(self) -> list[int]:
        """The numbers of entries of the transactions."""
        contents = [content for _, path, content in self.server.requests if path == ""]
        return [len(content["entry"]) for content in contents if isinstance(content, dict)]

    def paths(self) -> list[tuple[str, str]]:
        return [(method, path.partition("?")[0]) for method, path, _ in self.server.requests]


@pytest.fixture(params=[TARGET, SINGLE], ids=["transaction", "single"])
def writing(request: pytest.FixtureRequest) -> WriteFixture:
    return WriteFixture(request.param)
