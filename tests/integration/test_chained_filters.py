"""A filter about the patient of an observation, from registration to the notification."""

import httpx
import pytest

from broker.testing.registration import register_subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.desk import Desk


@pytest.fixture
def desk(client: httpx.AsyncClient, subscriber: SimulatedSubscriber) -> Desk:
    return Desk(client, subscriber)


async def test_only_observations_of_the_patients_asked_for_arrive(desk: Desk) -> None:
    for one, gender in (("ana", "female"), ("ben", "male")):
        patient = {"resourceType": "Patient", "id": one, "gender": gender}
        response = await desk.client.put(f"/r4/Patient/{one}", json=patient)
        assert response.status_code == 201, response.text
    document = desk.document("women") | {
        "filterBy": [{"resourceType": "Observation", "filterParameter": "patient.gender", "value": "female"}]
    }
    one = (await register_subscription(desk.client, "/r5", document))["id"]
    await desk.until_status(one, "active")
    await desk.send(1, patient="ben")
    await desk.send(1, patient="not-stored")
    (wanted,) = await desk.send(1, patient="ana")
    endpoint = await desk.until_numbers("women", 1)
    (event,) = endpoint.notifications[-1].events
    assert wanted in str(event.focus)
    await desk.until_counted(one, 1)
