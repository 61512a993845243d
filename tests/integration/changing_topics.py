"""Topics on Flag that tests put and change while the broker runs."""

from typing import Any

import httpx

from broker.app import Running
from tests.integration.broker_fixture import BrokerFixture

URL = "http://example.org/topics/flags"
FILTER = {"resource": "Flag", "filterParameter": "patient"}


def topic(version: str = "1", topic_id: str | None = None, **changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "SubscriptionTopic",
        "url": URL,
        "version": version,
        "title": "Flags",
        "status": "active",
        "resourceTrigger": [{"resource": "Flag", "supportedInteraction": ["create"]}],
        "canFilterBy": [FILTER],
    }
    whole = made | ({"id": topic_id} if topic_id else {}) | changed
    return {name: value for name, value in whole.items() if value is not None}


def flag(patient: str = "ana") -> dict[str, Any]:
    return {
        "resourceType": "Flag",
        "status": "active",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
    }


async def put(
    broker_fixture: BrokerFixture, topic_id: str, document: dict[str, Any], status: int = 200
) -> httpx.Response:
    response = await broker_fixture.client.put(
        f"/r5/SubscriptionTopic/{topic_id}", json=document | {"id": topic_id}
    )
    assert response.status_code == status, response.text
    return response


async def raise_flag(broker_fixture: BrokerFixture, patient: str = "ana") -> None:
    response = await broker_fixture.client.post("/r4/Flag", json=flag(patient))
    assert response.status_code == 201, response.text


async def refused(broker_fixture: BrokerFixture, canonical: str) -> str:
    answer = await broker_fixture.client.post(
        "/r5/Subscription", json=broker_fixture.document("late", topic=canonical)
    )
    assert answer.status_code == 422, answer.text
    return str(answer.json()["issue"][0]["diagnostics"])


async def reason(broker_fixture: BrokerFixture, subscription_id: str) -> str:
    return str((await broker_fixture.status_of(subscription_id))["error"][0]["text"])


def client_of(broker: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{broker.settings.port}",
        headers={"Content-Type": "application/fhir+json"},
        timeout=60,
        trust_env=False,
    )
