"""A filter about the patient of an observation, from registration to the notification."""

import httpx
import pytest

from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture


@pytest.fixture
def broker_fixture(client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> BrokerFixture:
    return BrokerFixture(client, subscriber)


async def test_only_observations_of_the_patients_asked_for_arrive(broker_fixture: BrokerFixture) -> None:
    for one, gender in (("ana", "female"), ("ben", "male")):
        patient = {"resourceType": "Patient", "id": one, "gender": gender}
        response = await broker_fixture.client.put(f"/r4/Patient/{one}", json=patient)
        assert response.status_code == 201, response.text
    document = broker_fixture.document("women") | {
        "filterBy": [{"resourceType": "Observation", "filterParameter": "patient.gender", "value": "female"}]
    }
    one = (await register_subscription(broker_fixture.client, "/r5", document))["id"]
    await broker_fixture.until_status(one, "active")
    await broker_fixture.send(1, patient="ben")
    await broker_fixture.send(1, patient="not-stored")
    (wanted,) = await broker_fixture.send(1, patient="ana")
    endpoint = await broker_fixture.until_numbers("women", 1)
    (event,) = endpoint.notifications[-1].events
    assert wanted in str(event.focus)
    await broker_fixture.until_counted(one, 1)
