"""fhirpy, a foreign FHIR client for Python, works against the broker as it works against any FHIR server."""

import asyncio
from typing import Any

import pytest
from fhirpy import AsyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, ResourceNotFound

from broker.app import Running
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber

VITAL_SIGNS = "http://fhir-broker.org/topics/vital-signs"
_NOW = "2026-01-01T08:00:00Z"
_IDENTIFIER = {"system": "urn:example", "value": "7"}


def client_of(broker: Running, release: str, **headers: str) -> AsyncFHIRClient:
    return AsyncFHIRClient(f"{broker.settings.base_url}/{release}", extra_headers=headers)


async def until_status(client: AsyncFHIRClient, subscription_id: str, status: str) -> Any:
    async with asyncio.timeout(60):
        while True:
            found = await client.get("Subscription", subscription_id)
            if found["status"] == status:
                return found
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("release", ["r4", "r4b", "r5"])
async def test_a_subscription_is_registered_found_notified_and_deleted(
    broker: Running, subscriber: SimulatedSubscriber, release: str
) -> None:
    client = client_of(broker, release)
    document = subscription(release, VITAL_SIGNS, subscriber.url(release), content="full-resource")
    created = await client.resource(**{"resource_type": "Subscription"} | document).create()
    await until_status(client, created["id"], "active")

    url = subscriber.url(release)
    found = await client.resources("Subscription").search(url=url).first()
    assert found is not None
    assert found["id"] == created["id"]
    assert [each["id"] async for each in client.resources("Subscription").search(status="active")] == [
        created["id"]
    ]
    status = await client.resource("Subscription", **created).execute("$status", method="get")
    assert status["entry"][0]["resource"]["resourceType"] in {"SubscriptionStatus", "Parameters"}

    reading = observation(HEART_RATE, "ana", _NOW, 71)
    await client_of(broker, "r4").resource(**{"resource_type": "Observation"} | reading).create()
    endpoint = subscriber.endpoint(release)
    assert await subscriber.wait_until(lambda: endpoint.numbers == [1])

    await client.delete("Subscription", created["id"])
    with pytest.raises(ResourceNotFound):
        await client.get("Subscription", created["id"])
    assert await client.resources("Subscription").search(url=url).first() is None


async def test_a_resource_is_updated_under_if_match(broker: Running) -> None:
    client = client_of(broker, "r5")
    patient = await client.resource("Patient", active=True, identifier=[_IDENTIFIER]).create()
    patient["active"] = False
    await client_of(broker, "r5", **{"If-Match": 'W/"1"'}).resource("Patient", **patient).update()
    refreshed = await client.reference("Patient", patient["id"]).to_resource()
    assert refreshed["active"] is False
    assert refreshed["meta"]["versionId"] == "2"
    with pytest.raises(MultipleResourcesFound):  # what fhirpy makes of 412
        await client_of(broker, "r5", **{"If-Match": 'W/"1"'}).resource("Patient", **patient).update()
    assert (await refreshed.refresh())["meta"]["versionId"] == "2"
    await client.delete("Patient", patient["id"])
    with pytest.raises(ResourceNotFound):
        await client.get("Patient", patient["id"])


async def test_a_conditional_create_finds_what_is_there(broker: Running) -> None:
    client = client_of(broker, "r4")
    patients = client.resources("Patient").search(identifier="urn:example|7")
    first, is_new = await patients.get_or_create(client.resource("Patient", identifier=[_IDENTIFIER]))
    again, is_new_again = await patients.get_or_create(client.resource("Patient", identifier=[_IDENTIFIER]))
    assert (is_new, is_new_again) == (True, False)
    assert again["id"] == first["id"]


async def test_subscriptions_are_counted(broker: Running) -> None:
    client = client_of(broker, "r5")
    assert await client.resources("Subscription").search(status="active").count() == 0
