"""A client at a limit gets 413 or 429 with the name of the limit; neighbours and `/readyz` do not notice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from broker.model.change import DEFAULT_TENANT
from broker.model.json_text import MAX_DEPTH
from broker.store import keys
from broker.store.owner_counts import count_owners, read_owned
from broker.store.protocol import Store
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until, until_ready
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.metrics import total
from tests.smart_clients import register
from tests.stores import redis_of

TOPIC = "http://fhir-broker.org/topics/vital-signs"
SCOPE = "system/*.cruds"


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[SmartBroker]:
    for client_id in ("busy", "calm"):
        register(tmp_path, client_id, SCOPE)
    register(tmp_path, "operator", SCOPE, roles=["operator"])
    limits = {
        "max_body": 20_000,
        "max_entries": 3,
        "max_subscriptions": 2,
        "max_tenant_subscriptions": 4,
        "max_connections": 2,
    }
    async with smart_broker(start_broker, tmp_path, **limits) as broker:
        yield broker


def issue(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert body["resourceType"] == "OperationOutcome"
    return dict(body["issue"][0])


async def refusals(smart: SmartBroker, limit: str) -> float:
    async with smart.as_client("operator", SCOPE) as client:
        page = await client.get("/metrics")
    assert page.status_code == 200
    return total(page.text, "broker_limit_refusals_total", limit=limit)


def stream_subscription(channel: str = "server-sent-events") -> dict[str, Any]:
    made = subscription("r5", TOPIC, "http://127.0.0.1/")
    made["channelType"] = {"system": "http://fhir-broker.org/channel-types", "code": channel}
    del made["endpoint"]
    return made


async def test_a_client_above_its_rate_gets_429_and_its_neighbour_is_served(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    for client_id in ("busy", "calm"):
        register(tmp_path, client_id, SCOPE)
    register(tmp_path, "operator", SCOPE, roles=["operator"])
    async with (
        smart_broker(start_broker, tmp_path, request_rate=1) as smart,
        smart.as_client("busy", SCOPE) as busy,
        smart.as_client("calm", SCOPE) as calm,
    ):
        await busy.get("/r4/Observation/none")
        answers = await asyncio.gather(*(busy.get("/r4/Observation/none") for _ in range(60)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {404, 429}
        assert int(refused[0].headers["Retry-After"]) >= 1
        assert issue(refused[0])["code"] == "throttled"
        assert "BROKER_REQUEST_RATE" in issue(refused[0])["diagnostics"]
        assert (await calm.get("/r4/Observation/none")).status_code == 404
        await until_ready(smart.client)
        assert (await smart.client.get("/r4/metadata")).status_code == 200
        assert await refusals(smart, "requests") == len(refused)


async def test_documents_beyond_a_limit_get_413_with_its_name(smart: SmartBroker) -> None:
    reading = observation(HEART_RATE, "p1", "2026-01-01T08:00:00Z", 60)
    entry = {"request": {"method": "GET", "url": "Observation/none"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry] * 4}
    deep = '{"resourceType":"Basic","extension":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}"
    async with smart.as_client("busy", SCOPE) as busy:
        large = await busy.post("/r4/Observation", json=reading | {"note": [{"text": "x" * 30_000}]})
        many = await busy.post("/r4", json=bundle)
        nested = await busy.post("/r4/Basic", content=deep)
        assert (await busy.post("/r4", json=bundle | {"entry": [entry] * 3})).status_code == 200
        assert (await busy.post("/r4/Observation", json=reading)).status_code == 201
    for answer, name in ((large, "BROKER_MAX_BODY"), (many, "BROKER_MAX_ENTRIES"), (nested, str(MAX_DEPTH))):
        assert answer.status_code == 413, answer.text
        assert name in issue(answer)["diagnostics"]
    for limit in ("body", "entries", "depth"):
        assert await refusals(smart, limit) == 1


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"contact": [{"system": "phone", "value": str(n)} for n in range(2_000)]}, 413, "65536"),
        ({"extension": [{"url": "http://example.org/x", "valueString": "y" * 70_000}]}, 413, "65536"),
    ],
    ids=["many elements", "a long text"],
)
async def test_a_subscription_that_would_hold_up_others_is_refused(
    client: httpx.AsyncClient,
    subscriber: SimulatedSubscriber,
    changed: dict[str, Any],
    status: int,
    says: str,
) -> None:
    document = subscription("r4", TOPIC, subscriber.url("large")) | changed
    for path in ("/r4/Subscription", "/r4/Subscription/large"):
        method = "POST" if path.endswith("Subscription") else "PUT"
        answer = await client.request(method, path, json=document | {"id": "large"})
        assert answer.status_code == status, answer.text
        assert says in answer.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"filters": [f"Observation?code=c{n}" for n in range(251)]}, "250"),
        ({"headers": [(f"X-{n}", "a") for n in range(51)]}, "50"),
    ],
    ids=["filters", "headers"],
)
async def test_a_subscription_has_so_many_filters_and_headers(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, options: dict[str, Any], says: str
) -> None:
    document = subscription("r4", TOPIC, subscriber.url("many"), **options)
    answer = await client.post("/r4/Subscription", json=document)
    assert answer.status_code == 422
    assert f"{says} are the most" in answer.text
    element = next(iter(options))
    fewer = subscription("r4", TOPIC, subscriber.url("many"), **{element: options[element][:-1]})
    assert (await client.post("/r4/Subscription", json=fewer)).status_code == 201


async def test_a_client_has_so_many_subscriptions_and_a_deleted_one_makes_room(smart: SmartBroker) -> None:
    document = subscription("r4", TOPIC, "http://127.0.0.1:9/hook")
    async with smart.as_client("busy", SCOPE) as busy, smart.as_client("calm", SCOPE) as calm:
        kept = (await busy.post("/r4/Subscription", json=document)).json()
        gone = (await busy.post("/r4/Subscription", json=document)).json()
        refused = [
            await busy.post("/r4/Subscription", json=document),
            await busy.put("/r4/Subscription/third", json=document | {"id": "third"}),
        ]
        for answer in refused:
            assert answer.status_code == 429
            assert answer.headers["Retry-After"] == "60"
            assert "BROKER_MAX_SUBSCRIPTIONS" in issue(answer)["diagnostics"]
        again = await busy.put(f"/r4/Subscription/{kept['id']}", json=document | {"id": kept["id"]})
        assert again.status_code == 200
        assert (await calm.post("/r4/Subscription", json=document)).status_code == 201
        assert (await busy.delete(f"/r4/Subscription/{gone['id']}")).status_code in {200, 204}
        assert (await busy.post("/r4/Subscription", json=document)).status_code == 201
        assert (await calm.post("/r4/Subscription", json=document)).status_code == 201
        async with smart.as_client("operator", SCOPE) as operator:
            last = await operator.post("/r4/Subscription", json=document)
    assert last.status_code == 429
    assert "BROKER_MAX_TENANT_SUBSCRIPTIONS" in issue(last)["diagnostics"]
    assert await refusals(smart, "subscriptions") == 2
    assert await refusals(smart, "tenant-subscriptions") == 1


async def test_a_client_has_so_many_event_streams_and_a_closed_one_makes_room(smart: SmartBroker) -> None:
    async with smart.as_client("busy", SCOPE) as busy, smart.as_client("calm", SCOPE) as calm:
        paths = []
        for client in (busy, calm):
            made = await client.post("/r5/Subscription", json=stream_subscription())
            paths.append(f"/r5/Subscription/{made.json()['id']}/$stream")
        reading: list[AsyncIterator[str]] = []  # an iterator that is dropped closes its response
        tokens = {name: await smart.token(name, SCOPE) for name in ("busy", "calm")}

        async def opened(name: str, path: str) -> httpx.Response:
            headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {tokens[name]}"}
            response = await smart.client.send(
                smart.client.build_request("GET", path, headers=headers), stream=True
            )
            if response.status_code == 200:
                reading.append(response.aiter_lines())
                await anext(reading[-1])
            return response

        held = [await opened("busy", paths[0]) for _ in range(2)]
        assert [response.status_code for response in held] == [200, 200]
        refused = await opened("busy", paths[0])
        await refused.aread()
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "5"
        assert "BROKER_MAX_CONNECTIONS" in issue(refused)["diagnostics"]
        neighbour = await opened("calm", paths[1])
        assert neighbour.status_code == 200
        await held[0].aclose()

        async def has_room() -> bool:
            response = await opened("busy", paths[0])
            if response.status_code != 200:
                await response.aclose()
                return False
            held.append(response)
            return True

        await until(has_room)
        for response in (*held, neighbour):
            await response.aclose()


async def test_a_websocket_beyond_the_limit_is_told_so(smart: SmartBroker) -> None:
    async with smart.as_client("busy", SCOPE) as busy:
        made = (await busy.post("/r5/Subscription", json=stream_subscription("websocket"))).json()
        tokens = []
        for _ in range(3):
            answer = await busy.get(f"/r5/Subscription/{made['id']}/$get-ws-binding-token")
            tokens += [each["valueString"] for each in answer.json()["parameter"] if each["name"] == "token"]
    url = f"{smart.base_url.replace('http', 'ws', 1)}/ws"
    first: list[str] = []
    async with (
        websockets.connect(url, proxy=None) as one,
        websockets.connect(url, proxy=None) as two,
        websockets.connect(url, proxy=None) as three,
    ):
        for connection, token in zip((one, two, three), tokens, strict=True):
            await connection.send(f"bind-with-token {token}")
            first.append(str(await asyncio.wait_for(connection.recv(), 30)))
    assert ["handshake" in message for message in first] == [True, True, False]
    assert "BROKER_MAX_CONNECTIONS" in first[2]
    assert await refusals(smart, "connections") == 1


async def test_handshakes_to_one_host_are_paced_and_another_host_is_not(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    endpoint = subscriber.url("victim")
    elsewhere = endpoint.replace("127.0.0.1", "localhost")
    async with (
        start_broker(handshakes_per_host=2) as broker,  # the third one is sent after half a minute
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        for _ in range(7):
            made = await client.post("/r4/Subscription", json=subscription("r4", TOPIC, endpoint))
            assert made.status_code == 201
        other = (await client.post("/r4/Subscription", json=subscription("r4", TOPIC, elsewhere))).json()

        async def other_is_active() -> bool:
            path = f"/r4/Subscription/{other['id']}"
            return bool((await client.get(path)).json()["status"] == "active")

        await until(other_is_active)

        async def all_others_wait() -> bool:
            found = (await client.get("/r4/Subscription?status=requested&_summary=count")).json()
            page = (await client.get("/metrics")).text
            put_off = total(page, "broker_limit_refusals_total", limit="handshakes")
            return bool(found["total"] == 5 and put_off >= 5)

        await until(all_others_wait)


async def test_an_open_broker_has_no_limits_per_client_unless_it_is_told_to(
    start_broker: StartBroker,
) -> None:
    for is_limited in (False, True):
        async with (
            start_broker(request_rate=1, max_subscriptions=1, limit_open=is_limited) as broker,
            httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
        ):
            document = subscription("r4", TOPIC, "http://127.0.0.1:9/hook")
            answers = [await client.post("/r4/Subscription", json=document) for _ in range(8)]
            assert (429 in {answer.status_code for answer in answers}) is is_limited


async def test_the_subscriptions_of_a_data_set_without_counts_are_counted(
    start_broker: StartBroker, store: Store
) -> None:
    async with (
        start_broker() as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        for _ in range(5):
            await client.post("/r4/Subscription", json=subscription("r4", TOPIC, "http://127.0.0.1:9/"))
    for shard in range(store.layout.shards):
        await redis_of(store).delete(keys.owned(shard, DEFAULT_TENANT))
    assert (await read_owned(store, DEFAULT_TENANT, "open")).by_client == 0
    for _ in range(2):
        await count_owners(store)
        assert await read_owned(store, DEFAULT_TENANT, "open") == (5, 5)
