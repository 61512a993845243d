"""The inbox stream's contract: what a gateway that writes to Redis directly may rely on."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from broker.app import Role, Running
from broker.model.change import DEFAULT_TENANT
from broker.store import keys
from broker.store.leases import LEASE_MS
from broker.store.protocol import Store
from broker.store.replies import flatten
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, BrokerFixture, until
from tests.stores import redis_of

STORES = ("embedded", "cluster")

_NOW = "2025-03-01T08:00:00Z"


def reading(resource_id: str = "", value: float = 72) -> str:
    return json.dumps(
        observation(HEART_RATE, "ana", _NOW, value) | ({"id": resource_id} if resource_id else {})
    )


async def put(store: Store, **fields: str) -> str:
    values: dict[Any, Any] = dict(fields)
    (entry,) = await store.send([("XADD", keys.INBOX, "*", *flatten(values))])
    return str(entry.decode())


async def until_empty(store: Store, timeout_s: float = WAIT_S) -> None:
    async def holds() -> bool:
        return not await redis_of(store).xlen(keys.INBOX)

    await until(holds, timeout_s)


async def refusals(store: Store) -> list[dict[str, Any]]:
    """The refused entries of the default tenant, and of those that name no valid one."""
    entries: list[Any] = []
    for tenant in (DEFAULT_TENANT, None):
        entries += await redis_of(store).xrange(keys.refused_inbox(tenant))
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]


async def test_create_update_and_delete_are_accepted_in_order_and_leave_the_stream(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, store: Store
) -> None:
    broker_fixture = BrokerFixture(client, subscriber)
    await broker_fixture.subscribe("a")
    await put(store, resource=reading())
    await broker_fixture.until_numbers("a", 1)  # changes of two resources have no order
    await put(store, resource=reading("hr"), interaction="update", release="r4", tenant="default", key="k1")
    await put(store, resource=reading("hr", 90), interaction="update", key="k2")
    endpoint = await broker_fixture.until_numbers("a", 3)
    foci = [
        event.focus.rpartition("/")[2] for n in endpoint.of_type("event-notification") for event in n.events
    ]
    assert foci[1:] == ["hr", "hr"]
    assert (await client.get("/r4/Observation/hr")).json()["valueQuantity"]["value"] == 90
    await put(store, resource=reading("hr"), interaction="delete")
    await until_empty(store)
    assert (await client.get("/r4/Observation/hr")).status_code == 410
    assert await refusals(store) == []


REFUSED = {
    "an unknown field": ({"resource": reading(), "priority": "high"}, "priority"),
    "no resource": ({"interaction": "create"}, "resource"),
    "no JSON": ({"resource": "{"}, "JSON"),
    "an unknown type": ({"resource": '{"resourceType":"Reading"}'}, "Reading"),
    "an invalid resource": (
        {"resource": '{"resourceType":"Observation","status":"final","extra":1}'},
        "extra",
    ),
    "an update without id": ({"resource": reading(), "interaction": "update"}, "id"),
    "a delete of what is not": ({"resource": reading("never"), "interaction": "delete"}, "never"),
    "an unknown interaction": ({"resource": reading(), "interaction": "patch"}, "interaction"),
    "an unknown release": ({"resource": reading(), "release": "r3"}, "release"),
    "a tenant that is none": ({"resource": reading(), "tenant": "a b"}, "tenant"),
}


@pytest.mark.parametrize("case", list(REFUSED))
async def test_a_refused_entry_becomes_a_dead_letter_with_its_reason(
    client: httpx.AsyncClient, store: Store, case: str
) -> None:
    fields, word = REFUSED[case]
    entry = await put(store, **fields)
    await put(store, resource=reading("next"), interaction="update")
    await until_empty(store)
    (refused,) = await refusals(store)
    outcome = json.loads(refused.pop("outcome"))
    assert outcome["resourceType"] == "OperationOutcome"
    assert word in json.dumps(outcome)
    assert refused.pop("reason") == "; ".join(issue["diagnostics"] for issue in outcome["issue"])
    assert refused.pop("entry") == entry
    assert refused == fields
    assert (await client.get("/r4/Observation/next")).status_code == 200, "those behind it go on"


async def test_a_repeated_key_makes_no_second_event(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, store: Store
) -> None:
    broker_fixture = BrokerFixture(client, subscriber)
    resource_id = await broker_fixture.subscribe("a")
    for _ in range(3):
        await put(store, resource=reading(), key="once")
    await put(store, resource=reading(), key="another")
    await broker_fixture.until_numbers("a", 2)
    await until_empty(store)
    assert await broker_fixture.events(resource_id) == [1, 2]


async def test_a_key_used_again_for_another_resource_is_refused(
    client: httpx.AsyncClient, store: Store
) -> None:
    await put(store, resource=reading(value=70), key="once")
    await put(store, resource=reading(value=71), key="once")
    await until_empty(store)
    assert len(await refusals(store)) == 1


async def test_entries_of_one_resource_keep_their_order(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, store: Store
) -> None:
    for n in range(200):
        await put(store, resource=reading("hr", n), interaction="update")
    await until_empty(store)
    stored = (await client.get("/r4/Observation/hr")).json()
    assert (stored["meta"]["versionId"], stored["valueQuantity"]["value"]) == ("200", 199)


async def test_the_next_reader_processes_the_entries_of_a_dead_one_in_order(
    store: Store, start_broker: StartBroker
) -> None:
    await redis_of(store).xgroup_create(keys.INBOX, "ingest", id="0", mkstream=True)
    for n in range(3):
        await put(store, resource=reading("hr", n), interaction="update")
    await redis_of(store).xreadgroup("ingest", "ingest", {keys.INBOX: ">"}, count=2)
    async with start_broker(frozenset({Role.API})) as broker:
        await until_empty(store, LEASE_MS / 1000 + WAIT_S)
        (stored,) = await _read(broker, "hr")
        assert (stored["meta"]["versionId"], stored["valueQuantity"]["value"]) == ("3", 2)


async def _read(broker: Running, *resource_ids: str) -> list[dict[str, Any]]:
    base = f"{broker.settings.base_url}/r4/Observation"
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return [(await client.get(f"{base}/{resource_id}")).json() for resource_id in resource_ids]


async def test_two_api_processes_share_one_reader_and_the_other_takes_over(
    store: Store, start_broker: StartBroker
) -> None:
    roles = frozenset({Role.API})
    async with start_broker(roles) as staying:
        async with start_broker(roles, base_url=staying.settings.base_url):
            await asyncio.gather(
                *(put(store, resource=reading(f"a{n}"), interaction="update") for n in range(50))
            )
            await until_empty(store)
        await asyncio.gather(
            *(put(store, resource=reading(f"b{n}"), interaction="update") for n in range(50))
        )
        await until_empty(store)
        stored = await _read(staying, *(f"{letter}{n}" for letter in "ab" for n in range(50)))
        assert [resource["meta"]["versionId"] for resource in stored] == ["1"] * 100
        assert await refusals(store) == []
