"""A chained filter on the patient of an observation, from registration to the notification."""

from broker.testing.registration import register_subscription
from tests.integration.broker_fixture import BrokerFixture


async def test_only_observations_of_patients_that_pass_the_chained_filter_arrive(
    broker_fixture: BrokerFixture,
) -> None:
    for patient_id, gender in (("ana", "female"), ("ben", "male")):
        patient = {"resourceType": "Patient", "id": patient_id, "gender": gender}
        response = await broker_fixture.client.put(f"/r4/Patient/{patient_id}", json=patient)
        assert response.status_code == 201, response.text
    document = broker_fixture.document("women") | {
        "filterBy": [{"resourceType": "Observation", "filterParameter": "patient.gender", "value": "female"}]
    }
    subscription_id = (await register_subscription(broker_fixture.client, "/r5", document))["id"]
    await broker_fixture.until_status(subscription_id, "active")
    await broker_fixture.send(1, patient="ben")
    await broker_fixture.send(1, patient="not-stored")
    (observation_id,) = await broker_fixture.send(1, patient="ana")
    endpoint = await broker_fixture.until_numbers("women", 1)
    (event,) = endpoint.notifications[-1].events
    assert observation_id in str(event.focus)
    await broker_fixture.until_counted(subscription_id, 1)
