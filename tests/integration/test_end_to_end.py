"""End to end, for each release and payload level: registration, handshake, changes at two bases, and
notifications checked row by row. The store, the HTTP server and all connections are real.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from broker.app import Running
from broker.model.release import Release
from broker.model.subscription import PayloadContent
from broker.testing.registration import subscription
from broker.testing.subscriber import Answer, Endpoint, SimulatedSubscriber
from tests.conftest import StartBroker
from tests.fhir.rows import Sent, check_rows, read_back

STORES = ("embedded", "cluster")

TOPIC: dict[str, Any] = {
    "resourceType": "SubscriptionTopic",
    "id": "any-observation",
    "url": "http://example.org/topics/any-observation",
    "version": "1",
    "status": "active",
    "resourceTrigger": [{"resource": "Observation", "supportedInteraction": ["create", "update", "delete"]}],
    "canFilterBy": [{"resource": "Observation", "filterParameter": "patient"}],
}
VERSIONS = {Release.R4: "4.0", Release.R4B: "4.3", Release.R5: "5.0"}
HEADERS = (("X-Token", "Bearer a: b=c"), ("X-Twice", "first"), ("X-Twice", "second"))


@pytest.fixture
async def broker(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[Running]:
    """A broker whose one topic fires on every change of an Observation, deletions included."""
    (tmp_path / "topic.json").write_bytes(orjson.dumps(TOPIC))
    async with start_broker(topics_dir=tmp_path) as running_broker:
        yield running_broker


def observation(value: str, **more: str) -> bytes:
    """An Observation as JSON text, so that the value has exactly these digits."""
    members = "".join(f'"{name}":"{text}",' for name, text in more.items())
    return (
        f'{{"resourceType":"Observation",{members}"status":"final","code":{{"text":"temperature"}},'
        f'"subject":{{"reference":"Patient/p1"}},"valueQuantity":{{"value":{value},"unit":"F"}}}}'
    ).encode()


@dataclass
class Gate:
    """An endpoint that answers only after `open` is set."""

    open: asyncio.Event

    async def answer(self, _body: bytes) -> Answer:
        await self.open.wait()
        return Answer()


async def until_status(
    client: httpx.AsyncClient, subscription_id: str, *, status: str = "", count: str = ""
) -> None:
    """Waits until `$status`, at the base /r5, has this status and count."""
    async with asyncio.timeout(60):
        while True:
            entry = (await client.get(f"/r5/Subscription/{subscription_id}/$status")).json()["entry"][0][
                "resource"
            ]
            if entry["status"] == (status or entry["status"]) and (
                entry["eventsSinceSubscriptionStart"] == (count or entry["eventsSinceSubscriptionStart"])
            ):
                return
            await asyncio.sleep(0.01)


async def register(
    client: httpx.AsyncClient, release: Release, content: PayloadContent, endpoint: str
) -> dict[str, Any]:
    document = subscription(
        release,
        f"{TOPIC['url']}|1",
        endpoint,
        content=content,
        headers=HEADERS,
        max_count=5,
        timeout_s=60,
        filters=["patient=Patient/p1"],
    )
    mime = f"application/fhir+json; fhirVersion={VERSIONS[release]}"
    if release is Release.R5:
        document["contentType"] = mime
    else:
        document["channel"]["payload"] = mime
    response = await client.post(f"/{release}/Subscription", content=orjson.dumps(document))
    assert response.status_code == 201, response.text
    read_back(release, response.content)
    accepted: dict[str, Any] = response.json()
    assert accepted["status"] == "requested", "R-152"
    assert response.headers["Location"].endswith(f"/{release}/Subscription/{accepted['id']}/_history/1")
    return accepted


def sent_to(
    endpoint: Endpoint, n: int, broker: Running, accepted: str, release: Release, content: str
) -> Sent:
    base = f"{broker.settings.base_url}/{release}"
    body = endpoint.received[n].body
    return check_rows(Sent(body, release, PayloadContent(content), base, accepted, f"{TOPIC['url']}|1"))


def check_headers(endpoint: Endpoint, release: Release) -> None:
    for received in endpoint.received:
        headers = [(name.lower(), value) for name, value in received.headers]
        types = [value for name, value in headers if name == "content-type"]
        assert types == [f"application/fhir+json; fhirVersion={VERSIONS[release]}"], "R-301"
        for name, value in HEADERS:
            assert (name.lower(), value) in headers, "R-302"


@pytest.mark.parametrize(("release", "content"), list(product(Release, PayloadContent)))
async def test_changes_at_two_bases_reach_a_subscriber(
    broker: Running,
    client: httpx.AsyncClient,
    subscriber: SimulatedSubscriber,
    release: Release,
    content: PayloadContent,
) -> None:
    endpoint = subscriber.endpoint("one")
    subscription_id = (await register(client, release, content, subscriber.url("one")))["id"]
    await until_status(client, subscription_id, status="active")
    handshake = sent_to(endpoint, 0, broker, subscription_id, release, content)
    assert (handshake.type, handshake.status["status"]) == ("handshake", "requested"), "R-262"
    assert handshake.status["eventsSinceSubscriptionStart"] == "0", "R-261"

    gate = Gate(asyncio.Event())
    endpoint.answer = gate.answer
    created = await client.post("/r4/Observation", content=observation("98.60"))
    assert created.status_code == 201
    o1 = created.json()["id"]
    await until_status(client, subscription_id, count="1")
    body = observation("99.10", id=o1)
    assert (await client.put(f"/r4/Observation/{o1}", content=body)).status_code == 200
    assert (await client.delete(f"/r4/Observation/{o1}")).status_code == 204
    other = await client.post("/r4/Observation", content=observation("1.0").replace(b"/p1", b"/p2"))
    assert other.status_code == 201
    in_r5 = await client.post("/r5/Observation", content=observation("97.0e0"))
    assert in_r5.status_code == 201, in_r5.text
    await until_status(client, subscription_id, count="4")
    gate.open.set()
    assert await subscriber.wait_until(lambda: endpoint.numbers == [1, 2, 3, 4])

    notices = [
        sent_to(endpoint, n, broker, subscription_id, release, content)
        for n in range(1, len(endpoint.received))
    ]
    assert [number for notice in notices for number in notice.numbers] == [1, 2, 3, 4], "R-270"
    assert max(len(notice.numbers) for notice in notices) > 1, "R-251: waiting events share a notification"
    assert {notice.type for notice in notices} == {"event-notification"}
    assert {notice.status["status"] for notice in notices} == {"active"}
    check_headers(endpoint, release)
    foci = [event.get("focus", {}).get("reference", "") for notice in notices for event in notice.events]
    if content is not PayloadContent.EMPTY:
        base = f"{broker.settings.base_url}/{release}"
        r5_one = in_r5.json()["id"]
        foci = [reference.partition("/_history/")[0] for reference in foci]
        assert sorted(foci) == sorted([f"{base}/Observation/{o1}"] * 3 + [f"{base}/Observation/{r5_one}"])
    if content is PayloadContent.FULL_RESOURCE:
        bodies = b"".join(received.body for received in endpoint.received)
        for spelling in (b'"value":98.60,', b'"value":99.10,', b'"value":97.0e0,'):
            assert bodies.count(spelling) == 1, "numbers keep their spelling"
        methods = sorted(entry["request"]["method"] for notice in notices for entry in notice.entries[1:])
        assert methods == ["DELETE", "POST", "POST", "PUT"], "R-205, R-246"


async def test_full_resource_carries_the_bytes_of_a_read_of_that_version(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    endpoint = subscriber.endpoint("one")
    subscription_id = (
        await register(client, Release.R4, PayloadContent.FULL_RESOURCE, subscriber.url("one"))
    )["id"]
    await until_status(client, subscription_id, status="active")
    created = await client.post("/r4/Observation", content=observation("98.60"))
    assert await subscriber.wait_until(lambda: endpoint.numbers == [1])
    read = await client.get(created.headers["Location"])
    assert read.content == created.content
    assert read.content in endpoint.received[-1].body


async def _check_max_count(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, release: Release
) -> None:
    endpoint = subscriber.endpoint(release)
    subscription_id = (await register(client, release, PayloadContent.ID_ONLY, subscriber.url(release)))["id"]
    await until_status(client, subscription_id, status="active")
    gate = Gate(asyncio.Event())
    endpoint.answer = gate.answer
    for n in range(12):
        assert (await client.post("/r4/Observation", content=observation(str(n)))).status_code == 201
    await until_status(client, subscription_id, count="12")
    gate.open.set()
    assert await subscriber.wait_until(lambda: endpoint.numbers == list(range(1, 13)))
    sizes = [len(n.events) for n in endpoint.of_type("event-notification")]
    assert max(sizes) == 5, "R-251: no more than maxCount, and no less while there are more"
    assert sum(sizes) == 12


async def test_max_count_bounds_the_events_of_a_notification(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    for release in Release:
        await _check_max_count(client=client, subscriber=subscriber, release=release)
