"""BROKER_SEAL_RESOURCES: what the store has of resources is sealed, and a broker behaves as without it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from broker.app.secrets import new_key, new_ring
from broker.errors import ConfigurationError
from broker.security.key_ring import RingFile, key_id_of
from broker.store.protocol import Store
from broker.store.sealed_resources import SealedResources, SealedText
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, broker_with
from tests.integration.poisoning import poison_maker_of


async def sealed(store: Store) -> dict[str, str]:
    """The keys of ids under which the versions of each resource are sealed, by `Type/id`."""
    return {each.reference: key_id_of(each.text) for each in await sealed_texts(store)}


async def sealed_texts(store: Store) -> list[SealedText]:
    """Each once: a scan of the store may find one twice."""
    return list({each.name: each async for each in SealedResources(store).all()}.values())


async def put_patient(fixture: BrokerFixture, family: str) -> None:
    patient = {"resourceType": "Patient", "id": "ana", "name": [{"family": family}]}
    assert (await fixture.client.put("/r4/Patient/ana", json=patient)).is_success


async def family(fixture: BrokerFixture, path: str = "") -> str:
    document = (await fixture.client.get(f"/r4/Patient/ana{path}")).json()
    return str(document["name"][0]["family"])


async def write_everything(fixture: BrokerFixture) -> str:
    """A resource with versions, a transaction, a patch, a deletion, a conditional create; the id of an
    observation.
    """
    await put_patient(fixture, "first")
    await put_patient(fixture, "second")
    patch: Any = [{"op": "replace", "path": "/name/0/family", "value": "third"}]
    patched = await fixture.client.patch(
        "/r4/Patient/ana", json=patch, headers={"Content-Type": "application/json-patch+json"}
    )
    assert patched.is_success, patched.text
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 71)
    entry = {"resource": reading, "request": {"method": "PUT", "url": "Observation/t"}}
    entry["resource"] = reading | {"id": "t"}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert (await fixture.client.post("/r4", json=bundle)).status_code == 200
    gone = {"resourceType": "Patient", "id": "gone", "name": [{"family": "gone"}]}
    assert (await fixture.client.put("/r4/Patient/gone", json=gone)).is_success
    assert (await fixture.client.delete("/r4/Patient/gone")).is_success
    named = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "7"}]}
    for status in (201, 200):
        made = await fixture.client.post(
            "/r4/Patient", json=named, headers={"If-None-Exist": "identifier=urn:x|7"}
        )
        assert made.status_code == status
    [observation_id] = await fixture.send()
    return observation_id


async def test_everything_works_with_sealed_resources_and_after_the_setting_changed(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber, seal_resources=True) as fixture:
        subscription_id = await fixture.subscribe("a", release="r4", content="full-resource")
        observation_id = await write_everything(fixture)
        endpoint = await fixture.until_numbers("a", 2)
        # changes of different resources may be numbered in either order
        bodies = [request.body.decode().replace(" ", "") for request in endpoint.received]
        assert any(f'"id":"{observation_id}"' in body for body in bodies)
        assert [await family(fixture, f"/_history/{n}") for n in (1, 2, 3)] == ["first", "second", "third"]
        assert (await fixture.client.get("/r4/Patient/gone")).status_code == 410
        events = await fixture.client.get(f"/r4/Subscription/{subscription_id}/$events")
        assert observation_id in events.text
        found = await sealed(store)
        assert {
            "Patient/ana",
            "Patient/gone",
            "Observation/t",
            f"Observation/{observation_id}",
        } < found.keys()
        assert len(await sealed_texts(store)) == 7, "each version with a text"
    async with broker_with(start_broker, subscriber) as fixture:
        assert await family(fixture) == "third"
        await put_patient(fixture, "unsealed")
        assert [await family(fixture), await family(fixture, "/_history/1")] == ["unsealed", "first"]
        await fixture.send()
        await fixture.until_numbers("a", 3)
    async with broker_with(start_broker, subscriber, seal_resources=True) as fixture:
        assert await family(fixture) == "unsealed"
        await put_patient(fixture, "sealed again")
        assert await family(fixture) == "sealed again"


async def test_older_versions_open_after_rotation_and_a_start_needs_their_key(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber, tmp_path: Path
) -> None:
    path, backup = tmp_path / "ring.json", tmp_path / "backup.json"
    new_ring().write(path)
    content, newer = RingFile.read(path), new_key()
    sealing = {"seal_resources": True, "key_ring": path}
    async with broker_with(start_broker, subscriber, **sealing) as fixture:
        await put_patient(fixture, "old")
        assert await sealed(store) == {"Patient/ana": content.active_id}
        RingFile(newer.id, (*content.keys, newer)).write(path)
        reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 71) | {"id": "r"}
        assert (await fixture.client.put("/r4/Observation/r", json=reading)).is_success
        assert await sealed(store) == {"Patient/ana": content.active_id, "Observation/r": newer.id}
        assert await family(fixture) == "old"
    shutil.copy(path, backup)
    RingFile(newer.id, (newer,)).write(path)
    with pytest.raises(ConfigurationError, match=f"has no key {content.active_id}"):
        async with start_broker(**sealing):
            pass
    shutil.copy(backup, path)
    async with broker_with(start_broker, subscriber, **sealing) as fixture:
        assert await family(fixture) == "old"
        RingFile(newer.id, (newer,)).write(path)
        assert (await fixture.client.put("/r4/Observation/r", json=reading)).is_success
        assert (await fixture.client.get("/r4/Patient/ana")).status_code == 503, "the key may come back"
        shutil.copy(backup, path)
        assert await family(fixture) == "old"


async def test_a_sealed_text_that_was_moved_to_another_resource_does_not_open(
    start_broker: StartBroker, store: Store, subscriber: SimulatedSubscriber
) -> None:
    async with start_broker(seal_resources=True) as broker, poison_maker_of(broker, store) as poison:
        fixture = BrokerFixture(poison.client, subscriber)
        await fixture.subscribe("a", release="r4", content="full-resource")
        await poison.put("n1", "n2")
        await fixture.until_numbers("a", 2)
        first, second = await sealed_texts(store)
        await store.send([("SET", first.name, first.head + second.text)])
        response = await poison.client.get(f"/r4/{first.reference}")
        assert response.status_code == 500
        assert second.reference not in response.text


async def test_sealing_needs_a_key_ring(start_broker: StartBroker) -> None:
    with pytest.raises(ConfigurationError, match="BROKER_SEAL_RESOURCES needs a key ring"):
        async with start_broker(seal_resources=True, key_ring=None):
            pass
