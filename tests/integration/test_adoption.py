"""An administrator gives Subscriptions of the time before access control to clients."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import register

VITALS = "http://fhir-broker.org/topics/vital-signs"
EHR = "system/Subscription.cruds system/Observation.rs"
ROOT = "system/*.cruds"


@pytest.fixture
def clients_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "clients"
    folder.mkdir()
    register(folder, "root", ROOT, roles=["admin", "auditor"])
    register(folder, "ehr", EHR)
    register(folder, "other", EHR)
    register(folder, "device", "system/Device.rs")
    register(folder, "asleep", EHR, disabled=True)
    register(folder, "north", EHR, tenant="north")
    return folder


async def before_access_control(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, *ids: str
) -> None:
    """A broker without access control, with Subscriptions of these ids."""
    async with (
        start_broker() as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        for name in ids:
            document = subscription("r4", VITALS, subscriber.url(name), headers=[("X-Secret", "of-the-ward")])
            stored = await client.put(f"/r4/Subscription/{name}", json=document | {"id": name})
            assert stored.status_code == 201, stored.text
            await until_status(client, name, "active")


async def is_status(client: httpx.AsyncClient, name: str, status: str) -> bool:
    return bool((await client.get(f"/r4/Subscription/{name}")).json().get("status") == status)


async def until_status(client: httpx.AsyncClient, name: str, status: str) -> None:
    await until(lambda: is_status(client, name, status))


async def adopt(client: httpx.AsyncClient, name: str, new_owner: str) -> httpx.Response:
    return await client.post(f"/r4/Subscription/{name}/$adopt?client={new_owner}")


def observation() -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "vital-signs",
                    }
                ]
            }
        ],
        "code": {"text": "pulse"},
    }


async def test_a_subscription_of_the_open_time_is_off_until_a_client_gets_it(
    start_broker: StartBroker, clients_dir: Path, subscriber: SimulatedSubscriber
) -> None:
    await before_access_control(start_broker, subscriber, "ward", "icu")
    async with (
        smart_broker(start_broker, clients_dir) as smart,
        smart.as_client("root", ROOT) as root,
        smart.as_client("ehr", EHR) as ehr,
    ):
        await until_status(root, "ward", "off")
        assert (await ehr.get("/r4/Subscription/ward")).status_code == 404
        await _refusals(smart, root)
        adopted = await adopt(root, "ward", "ehr")
        assert adopted.status_code == 200, adopted.text
        assert adopted.json()["parameter"] == [
            {"name": "status", "valueCode": "requested"},
            {"name": "previous-owner", "valueString": "open"},
        ]
        await until_status(ehr, "ward", "active")
        await _is_delivered(subscriber, root)
        await until_status(root, "icu", "off")  # it was not adopted
        again = await adopt(root, "ward", "other")
        assert again.status_code == 409
        assert "'ehr'" in again.text
        await _is_audited(root)


async def _refusals(smart: SmartBroker, root: httpx.AsyncClient) -> None:
    """What is no adoption changes nothing."""
    for name, new_owner, status, part in (
        ("ward", "", 400, "client"),
        ("ward", "nobody", 404, "nobody"),
        ("ward", "north", 404, "north"),
        ("ward", "asleep", 422, "disabled"),
        ("ward", "device", 422, "system/Observation.r"),
        ("none", "ehr", 404, "none"),
    ):
        answer = await adopt(root, name, new_owner)
        assert answer.status_code == status, answer.text
        assert part in answer.text
    async with smart.as_client("ehr", EHR) as ehr:
        assert (await adopt(ehr, "ward", "ehr")).status_code == 403
    assert await is_status(root, "ward", "off")


async def _is_delivered(subscriber: SimulatedSubscriber, root: httpx.AsyncClient) -> None:
    """With the header that was registered in the open time."""
    assert (await root.post("/r4/Observation", json=observation())).status_code == 201
    endpoint = subscriber.endpoint("ward")
    assert await subscriber.wait_until(lambda: bool(endpoint.numbers))
    assert ("x-secret", "of-the-ward") in [
        (name.lower(), value) for name, value in endpoint.received[-1].headers
    ]


async def _is_audited(root: httpx.AsyncClient) -> None:
    found = (await root.get("/r4/AuditEvent?entity=Subscription/ward&_count=100")).json()
    texts = [str(entry["resource"]) for entry in found["entry"]]
    assert any("$adopt from open to ehr" in text for text in texts)
    assert any("$adopt business-rule" in text or "$adopt forbidden" in text for text in texts)


async def test_an_adopted_subscription_counts_for_its_owner(
    start_broker: StartBroker, clients_dir: Path, subscriber: SimulatedSubscriber
) -> None:
    await before_access_control(start_broker, subscriber, "ward", "icu")
    async with (
        smart_broker(start_broker, clients_dir, max_subscriptions=1) as smart,
        smart.as_client("root", ROOT) as root,
        smart.as_client("ehr", EHR) as ehr,
    ):
        assert (await adopt(root, "ward", "ehr")).status_code == 200
        assert (await adopt(root, "icu", "ehr")).status_code == 429
        assert (await ehr.delete("/r4/Subscription/ward")).status_code == 204
        assert (await adopt(root, "icu", "ehr")).status_code == 200


async def test_a_subscription_of_a_removed_client_is_adopted(
    start_broker: StartBroker, clients_dir: Path, subscriber: SimulatedSubscriber
) -> None:
    async with (
        smart_broker(start_broker, clients_dir) as smart,
        smart.as_client("root", ROOT) as root,
        smart.as_client("other", EHR) as other,
    ):
        document = subscription("r4", VITALS, subscriber.url("of-other"))
        name = (await other.post("/r4/Subscription", json=document)).json()["id"]
        (clients_dir / "other.json").unlink()
        await smart.broker.reload()

        async def is_removed() -> bool:
            form = smart.form("other", EHR)
            return (await smart.client.post("/oauth/token", data=form)).status_code != 200

        await until(is_removed)  # the files are read in the background
        adopted = await adopt(root, name, "ehr")
        assert adopted.status_code == 200, adopted.text
        assert adopted.json()["parameter"][1]["valueString"] == "other"
