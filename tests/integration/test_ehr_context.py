"""What an EHR publishes reaches the subscriptions of a device cloud, cut to what a device needs."""

import json
from typing import Any

import pytest

from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import broker_with

ANA, JOY = {"reference": "Patient/ana"}, {"reference": "Practitioner/joy"}
CUT = "cut-before-it-leaves"
NOTE = [{"text": CUT}]
PERSON = {
    "name": [{"family": "Kept"}],
    "telecom": [{"system": "phone", "value": CUT}],
    "address": [{"city": CUT}],
    "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{CUT}</div>'},
}
DRUG: dict[str, dict[str, Any]] = {
    "r4": {"medicationCodeableConcept": {"text": "Kept"}},
    "r5": {"medication": {"concept": {"text": "Kept"}}},
}
CONTACT: dict[str, dict[str, Any]] = {
    "r4": {"telecom": PERSON["telecom"]},
    "r5": {"contact": [{"name": [{"text": CUT}]}]},
}


def resources(release: str) -> dict[str, dict[str, Any]]:
    """A resource for each topic; those that others refer to come first."""
    return {
        "patient-demographics": {
            "resourceType": "Patient", "id": "ana", "generalPractitioner": [JOY], **PERSON,
        },
        "practitioner": {"resourceType": "Practitioner", "id": "joy"} | PERSON,
        "practitioner-role": {
            "resourceType": "PractitionerRole", "id": "nurse", "practitioner": JOY,
            "code": [{"text": "Kept"}], **CONTACT[release],
        },
        "care-team": {
            "resourceType": "CareTeam", "id": "team", "status": "active", "name": "Kept", "subject": ANA,
            "participant": [{"member": JOY}], "note": NOTE,
        },
        "medication-request": {
            "resourceType": "MedicationRequest", "id": "order", "status": "active", "intent": "order",
            "subject": ANA, "requester": JOY, "note": NOTE, **DRUG[release],
        },
        "care-plan": {
            "resourceType": "CarePlan", "id": "plan", "status": "active", "intent": "plan", "title": "Kept",
            "subject": ANA, "note": NOTE,
        },
        "appointment": {
            "resourceType": "Appointment", "id": "visit", "status": "booked", "description": CUT,
            "start": "2030-01-01T10:00:00Z", "end": "2030-01-01T11:00:00Z",
            "participant": [{"actor": {"display": "Kept", **ANA}, "status": "accepted"}],
        },
    }  # fmt: skip


@pytest.mark.parametrize("release", ["r4", "r5"])
async def test_each_topic_sends_what_a_device_needs(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, release: str
) -> None:
    context = resources(release)
    async with broker_with(start_broker, subscriber) as desk:
        for name in context:
            topic, url = f"http://fhir-broker.org/topics/{name}", subscriber.url(name)
            document = subscription(release, topic, url, content="full-resource")
            registered = await register_subscription(desk.client, f"/{release}", document)
            await desk.until_status(registered["id"], "active")
        for resource in context.values():
            path = f"/{release}/{resource['resourceType']}/{resource['id']}"
            response = await desk.client.put(path, json=resource)
            assert response.status_code == 201, response.text
        for name, resource in context.items():
            received = (await desk.until_numbers(name, 1)).received[-1].body
            assert CUT not in received.decode(), name
            assert "Kept" in received.decode(), name
            entries = json.loads(received)["entry"][1:]
            sent = {f"{each['resource']['resourceType']}/{each['resource']['id']}" for each in entries}
            assert f"{resource['resourceType']}/{resource['id']}" in sent
            includes_patient = name in {"care-team", "medication-request", "care-plan", "appointment"}
            assert ("Patient/ana" in sent) == (includes_patient or name == "patient-demographics"), name
