"""A broker with access control, a producer, and a subscriber whose registration a test changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.delivery import owner_access
from broker.testing.registration import subscription
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, until
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import register

OBSERVATIONS = "http://example.org/topics/observations"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
NORMAL_PATIENTS = f"system/Patient.r?_security={CONFIDENTIALITY}|N"
NORMAL_OBSERVATIONS = f"system/Observation.r?_security={CONFIDENTIALITY}|N"
VITAL_SIGNS = f"system/Observation.r?category={CATEGORY}|vital-signs"
ALL_OBSERVATIONS = "system/Observation.rs system/Patient.rs"
_OWN = "system/Subscription.cruds"
_TOPIC = {
    "resourceType": "SubscriptionTopic",
    "id": "observations",
    "url": OBSERVATIONS,
    "version": "1",
    "status": "active",
    "resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["create", "update", "delete"]}],
    "canFilterBy": [{"resource": "Observation", "filterParameter": "patient.active"}],
    "notificationShape": [{"resource": "Observation", "include": ["Observation:patient"]}],
}


def labelled(level: str) -> dict[str, Any]:
    return {"security": [{"system": CONFIDENTIALITY, "code": level}]}


def patient(resource_id: str, level: str = "N") -> dict[str, Any]:
    return {"resourceType": "Patient", "id": resource_id, "meta": labelled(level), "active": True}


def observation(
    resource_id: str, *, level: str = "N", category: str = "vital-signs", subject: str = "p1"
) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": resource_id,
        "meta": labelled(level),
        "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": category}]}],
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{subject}"},
    }


class GuardedBroker:
    """`lab` is an administrator that produces; `ward` subscribes, with the scopes of its registration."""

    def __init__(self, clients_dir: Path, subscriber: SimulatedSubscriber) -> None:
        self.clients_dir = clients_dir
        self.subscriber = subscriber
        self.lab: httpx.AsyncClient
        self.ward: httpx.AsyncClient
        self.smart: SmartBroker

    @asynccontextmanager
    async def started(
        self, start_broker: StartBroker, scope: str, **settings: Any
    ) -> AsyncIterator["GuardedBroker"]:
        register(self.clients_dir, "lab", "system/*.cruds", roles=["admin", "operator"])
        register(self.clients_dir, "ward", f"{scope} {_OWN}")
        async with AsyncExitStack() as stack:
            smart = await stack.enter_async_context(smart_broker(start_broker, self.clients_dir, **settings))
            self.lab = await stack.enter_async_context(smart.as_client("lab", "system/*.cruds"))
            self.ward = await stack.enter_async_context(smart.as_client("ward", f"{scope} {_OWN}"))
            self.smart = smart
            yield self

    async def change_ward(self, scope: str, **members: Any) -> None:
        """Every process reads the new registration."""
        register(self.clients_dir, "ward", f"{scope} {_OWN}", **members)
        await self.smart.broker.reload()

        async def is_loaded() -> bool:
            expected = {True: members.get("disabled") is None, False: False}
            names = {word: word in scope.split() for word in ALL_OBSERVATIONS.split()}
            return all([await self._is_granted(word) == expected[held] for word, held in names.items()])

        await until(is_loaded)

    async def _is_granted(self, scope: str) -> bool:
        response = await self.smart.client.post("/oauth/token", data=self.smart.form("ward", scope))
        return response.status_code == 200

    async def remove_ward(self) -> None:
        """The process with the token endpoint has read that the registration is gone."""
        (self.clients_dir / "ward.json").unlink()
        await self.smart.broker.reload()

        async def is_removed() -> bool:
            return not await self._is_granted(_OWN)

        await until(is_removed)

    def document(self, name: str, *, content: str = "full-resource", **options: Any) -> dict[str, Any]:
        return subscription("r4", OBSERVATIONS, self.subscriber.url(name), content=content, **options)

    async def subscribe(self, name: str, channel: str = "rest-hook", **options: Any) -> str:
        """Registers a subscription of the ward and waits until it is active."""
        document = self.document(name, **options)
        if channel != "rest-hook":
            document["channel"]["type"] = channel
            del document["channel"]["endpoint"]
        response = await self.ward.post("/r4/Subscription", json=document)
        assert response.status_code == 201, response.text
        subscription_id = str(response.json()["id"])
        await self.until_status(subscription_id, "active")
        return subscription_id

    async def put(self, resource: dict[str, Any]) -> None:
        path = f"/r4/{resource['resourceType']}/{resource['id']}"
        response = await self.lab.put(path, json=resource)
        assert response.status_code in {200, 201}, response.text

    async def stream(self, subscription_id: str, *, last: int) -> str:
        """The text of an event stream from the first event to that number, or to its end."""
        headers = {"Authorization": f"Bearer {await self.smart.token('ward', _OWN)}"}
        url = f"/r5/Subscription/{subscription_id}/$stream?eventsSinceNumber=1"
        text = ""
        async with (
            asyncio.timeout(WAIT_S),
            self.smart.client.stream("GET", url, headers=headers) as response,
        ):
            async for chunk in response.aiter_text():
                text += chunk
                if f"id: {last}\n" in text and text.endswith("\n\n"):
                    break
        return text

    async def status_of(self, subscription_id: str) -> dict[str, Any]:
        """The SubscriptionStatus in R5, as the administrator sees it."""
        bundle = (await self.lab.get(f"/r5/Subscription/{subscription_id}/$status")).json()
        status: dict[str, Any] = bundle["entry"][0]["resource"]
        return status

    async def errors(self, subscription_id: str) -> str:
        status = await self.status_of(subscription_id)
        return " ".join(error["text"] for error in status.get("error", []))

    async def until_status(self, subscription_id: str, status: str) -> None:
        async def has_status() -> bool:
            return bool((await self.status_of(subscription_id))["status"] == status)

        await until(has_status)

    async def until_counted(self, subscription_id: str, count: int) -> None:
        async def has_count() -> bool:
            status = await self.status_of(subscription_id)
            return int(status["eventsSinceSubscriptionStart"]) == count

        await until(has_count)

    async def until_number(self, name: str, number: int) -> Endpoint:
        """Until the endpoint has received the event, with those before it."""
        endpoint = self.subscriber.endpoint(name)
        assert await self.subscriber.wait_until(lambda: number in endpoint.numbers), endpoint.numbers
        return endpoint


def bodies(endpoint: Endpoint) -> str:
    return "\n".join(request.body.decode() for request in endpoint.received)


def write_topic(folder: Path) -> Path:
    folder.mkdir()
    (folder / "observations.json").write_text(json.dumps(_TOPIC))
    return folder


@pytest.fixture
def guarded(
    tmp_path: Path, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> GuardedBroker:
    """Not started. Subscriptions settle at once."""
    monkeypatch.setattr(owner_access, "SETTLING_MS", 0)
    folder = tmp_path / "clients"
    folder.mkdir()
    return GuardedBroker(folder, subscriber)
