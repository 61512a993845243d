"""Topics put, changed and deleted while the broker runs, and what then happens to their subscriptions
(R-480..R-482).
"""

from typing import Any

import pytest

from broker.app import Role
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.changing_topics import (
    FILTER,
    URL,
    client_of,
    flag,
    put,
    raise_flag,
    reason,
    refused,
    topic,
)

STORES = ("embedded", "cluster")


def basic(document: dict[str, Any], segment: str = "5.0") -> dict[str, Any]:
    """R4's form, written apart from the broker's own."""
    base = f"http://hl7.org/fhir/{segment}/StructureDefinition/extension-SubscriptionTopic."
    codes = {"supportedInteraction": "valueCode", "resource": "valueUri", "filterParameter": "valueString"}

    def parts(element: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"url": name, codes[name]: item}
            for name, value in element.items()
            for item in (value if isinstance(value, list) else [value])
        ]

    triggers = [
        {"url": f"{base}resourceTrigger", "extension": parts(item)} for item in document["resourceTrigger"]
    ]
    filters = [{"url": f"{base}canFilterBy", "extension": parts(item)} for item in document["canFilterBy"]]
    simple = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic."
    made = {
        "resourceType": "Basic",
        "code": {"coding": [{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}]},
        "modifierExtension": [{"url": f"{simple}status", "valueCode": document["status"]}],
        "extension": [
            {"url": f"{simple}url", "valueUri": document["url"]},
            {"url": f"{simple}version", "valueString": document["version"]},
            {"url": f"{simple}title", "valueString": document["title"]},
            *triggers,
            *filters,
        ],
    }
    return made | ({"id": document["id"]} if "id" in document else {})


@pytest.mark.parametrize("release", ["r4b", "r5"])
async def test_a_topic_that_was_posted_is_served_at_once_until_it_is_deleted(
    broker_fixture: BrokerFixture, release: str
) -> None:
    created = await broker_fixture.client.post(f"/{release}/SubscriptionTopic", json=topic())
    assert created.status_code == 201, created.text
    topic_id = created.json()["id"]
    assert created.headers["Location"].endswith(f"/{release}/SubscriptionTopic/{topic_id}")
    assert (created.headers["ETag"], created.json()["meta"]["versionId"]) == ('W/"1"', "1")
    read = await broker_fixture.client.get(f"/r5/SubscriptionTopic/{topic_id}")
    assert read.json()["url"] == URL
    subscription = await broker_fixture.subscribe("one", topic=URL)
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(subscription, 1)
    path = f"/{release}/SubscriptionTopic/{topic_id}"
    assert (await broker_fixture.client.delete(path)).status_code == 409
    await broker_fixture.client.delete(f"/r5/Subscription/{subscription}")
    assert (await broker_fixture.client.delete(path)).status_code == 204
    assert (await broker_fixture.client.get(path)).status_code == 410
    assert "not known" in await refused(broker_fixture, URL)


@pytest.mark.parametrize("segment", ["5.0", "4.3"])
async def test_a_topic_is_a_basic_resource_at_the_r4_base(
    broker_fixture: BrokerFixture, segment: str
) -> None:
    document = basic(topic(topic_id="flags"), segment)
    put = await broker_fixture.client.put("/r4/Basic/flags", json=document)
    assert put.status_code == 201, put.text
    assert put.json()["resourceType"] == "Basic"
    native = (await broker_fixture.client.get("/r5/SubscriptionTopic/flags")).json()
    assert native["canFilterBy"] == [FILTER]
    assert native["resourceTrigger"] == topic()["resourceTrigger"]
    again = await broker_fixture.client.put("/r4/Basic/flags", json=put.json())
    assert (again.status_code, again.headers["ETag"]) == (200, 'W/"2"')
    assert (await broker_fixture.client.delete("/r4/Basic/flags")).status_code == 204
    other = {"resourceType": "Basic", "code": {"text": "a note"}}
    assert (await broker_fixture.client.post("/r4/Basic", json=other)).status_code == 201


async def test_an_invalid_topic_is_refused_and_nothing_changes(broker_fixture: BrokerFixture) -> None:
    bad = topic(resourceTrigger=[{"resource": "Flag", "queryCriteria": {"current": "colour=red"}}])
    answer = await broker_fixture.client.post("/r5/SubscriptionTopic", json=bad)
    assert answer.status_code == 422
    assert "colour" in answer.json()["issue"][0]["diagnostics"]
    unknown = basic(topic()) | {"extension": [{"url": "http://example.org/x", "valueCode": "y"}]}
    assert (await broker_fixture.client.post("/r4/Basic", json=unknown)).status_code == 422
    await put(broker_fixture, "flags", topic(), 201)
    stale = await broker_fixture.client.put(
        "/r5/SubscriptionTopic/flags", json=topic(topic_id="flags"), headers={"If-Match": 'W/"7"'}
    )
    assert stale.status_code == 412
    assert (
        await broker_fixture.client.put("/r5/SubscriptionTopic/other", json=topic(topic_id="flags"))
    ).status_code == 400
    taken = await broker_fixture.client.post("/r5/SubscriptionTopic", json=topic())
    assert taken.status_code == 409


async def test_topics_of_the_folder_are_not_changed_through_the_api(broker_fixture: BrokerFixture) -> None:
    shipped = (await broker_fixture.client.get("/r5/SubscriptionTopic/glucose")).json()
    for answer in (
        await broker_fixture.client.put("/r5/SubscriptionTopic/glucose", json=shipped | {"title": "mine"}),
        await broker_fixture.client.delete("/r5/SubscriptionTopic/glucose"),
        await broker_fixture.client.post("/r5/SubscriptionTopic", json=shipped),
    ):
        assert answer.status_code == 409, answer.text


async def test_a_version_replaced_in_place_sets_those_it_no_longer_allows_to_error(
    broker_fixture: BrokerFixture,
) -> None:
    await put(broker_fixture, "flags", topic(), 201)
    plain = await broker_fixture.subscribe("plain", topic=URL)
    filtered = await broker_fixture.subscribe("filtered", topic=URL, filters=["patient=Patient/ana"])
    every = [{"resource": "Flag", "supportedInteraction": ["create", "delete"]}]
    await put(broker_fixture, "flags", topic(resourceTrigger=every))
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(filtered, 1)
    await put(broker_fixture, "flags", topic(canFilterBy=None, resourceTrigger=every))
    await broker_fixture.until_status(filtered, "error")
    assert "patient" in await reason(broker_fixture, filtered)
    assert await broker_fixture.status(plain) == "active"
    made = (await broker_fixture.client.post("/r4/Flag", json=flag())).json()["id"]
    await broker_fixture.client.delete(f"/r4/Flag/{made}")
    await broker_fixture.until_counted(plain, 3)


@pytest.mark.parametrize("status", ["retired", "draft"])
async def test_a_topic_that_is_not_active_accepts_no_new_subscriptions_and_serves_the_others(
    broker_fixture: BrokerFixture, status: str
) -> None:
    await put(broker_fixture, "flags", topic(), 201)
    subscription_id = await broker_fixture.subscribe("one", topic=URL)
    await put(broker_fixture, "flags", topic(status=status))
    assert status in await refused(broker_fixture, f"{URL}|1")
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(subscription_id, 1)
    assert await broker_fixture.status(subscription_id) == "active"


async def test_subscriptions_stay_with_the_version_they_were_accepted_for(
    broker_fixture: BrokerFixture,
) -> None:
    await put(broker_fixture, "flags-1", topic("1"), 201)
    old = await broker_fixture.subscribe("old", topic=URL)
    deletions = [{"resource": "Flag", "supportedInteraction": ["delete"]}]
    changed = topic("2", resourceTrigger=deletions)
    answer = await put(broker_fixture, "flags-1", changed, 409)
    assert "id of its own" in answer.text
    await put(broker_fixture, "flags-2", changed, 201)
    new = await broker_fixture.subscribe("new", topic=URL)
    await raise_flag(broker_fixture)
    await broker_fixture.until_counted(old, 1)
    made = (await broker_fixture.client.post("/r4/Flag", json=flag())).json()["id"]
    await broker_fixture.client.delete(f"/r4/Flag/{made}")
    await broker_fixture.until_counted(new, 1)
    assert await broker_fixture.events(old) == [1, 2]


async def test_every_process_serves_a_new_topic(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with (
        start_broker(frozenset({Role.API})) as face,
        start_broker(frozenset({Role.MATCH, Role.DISPATCH}), base_url=face.settings.base_url),
        start_broker(frozenset({Role.API}), base_url=face.settings.base_url) as other,
        client_of(face) as client,
        client_of(other) as elsewhere,
    ):
        broker_fixture = BrokerFixture(client, subscriber)
        await put(broker_fixture, "flags", topic(), 201)
        subscription_id = await broker_fixture.subscribe("one", topic=URL)
        await raise_flag(broker_fixture)
        await broker_fixture.until_numbers("one", 1)

        async def is_known() -> bool:
            return (await elsewhere.get("/r5/SubscriptionTopic/flags")).status_code == 200

        await until(is_known)
        assert await broker_fixture.status(subscription_id) == "active"
