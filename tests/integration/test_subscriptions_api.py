"""Subscription over HTTP: what is accepted and how it reads in each release, how it is found and changed."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from broker.fhir.header_masks import MASK
from broker.model.release import Release
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.fhir.rows import read_back
from tests.integration.broker_fixture import BrokerFixture

pytestmark = pytest.mark.usefixtures("long_leases")
VITALS = "http://fhir-broker.org/topics/vital-signs"
ADMISSIONS = "http://fhir-broker.org/topics/encounter-start"
NOWHERE = "http://127.0.0.1:9/never"
Document = dict[str, Any]


async def post(client: httpx.AsyncClient, release: str, document: Document) -> httpx.Response:
    return await client.post(f"/{release}/Subscription", content=orjson.dumps(document))


async def total(client: httpx.AsyncClient) -> int:
    matches: int = (await client.get("/r5/Subscription")).json()["total"]
    return matches


async def until_status(client: httpx.AsyncClient, subscription_id: str, status: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if (await client.get(f"/r5/Subscription/{subscription_id}")).json()["status"] == status:
                return
            await asyncio.sleep(0.01)


async def _check_round_trip(client: httpx.AsyncClient, release: Release) -> None:
    def document_with(value: str) -> Document:
        return subscription(
            release,
            VITALS,
            NOWHERE,
            filters=["patient=Patient/1", "code:not=8867-4"],
            headers=[("X-One", value)],
            max_count=3,
            heartbeat_s=60,
            timeout_s=5,
        )

    response = await post(client, release, document_with("1"))
    document = document_with(MASK)
    assert response.status_code == 201
    accepted = response.json()
    assert {name: accepted[name] for name in document if name != "meta"} == {
        name: value for name, value in document.items() if name != "meta"
    }
    assert accepted["meta"]["versionId"] == "1"
    assert response.headers["ETag"] == 'W/"1"'
    subscription_id = accepted["id"]
    for other in Release:
        read = await client.get(f"/{other}/Subscription/{subscription_id}")
        read_back(other, read.content)
        assert read.json()["id"] == subscription_id
        assert read.json().get("topic", read.json().get("criteria")) == VITALS


async def test_a_subscription_comes_back_as_it_was_sent_with_what_the_server_owns(
    client: httpx.AsyncClient,
) -> None:
    for release in Release:
        await _check_round_trip(client=client, release=release)


async def test_a_subscription_reads_in_the_words_of_each_base(client: httpx.AsyncClient) -> None:
    filters = ["patient=Patient/1", "code:not=8867-4,8310-5"]
    document = subscription("r4", VITALS, NOWHERE, filters=filters, headers=[("X-One", "1: 2")], max_count=3)
    subscription_id = (await post(client, "r4", document)).json()["id"]
    native = (await client.get(f"/r5/Subscription/{subscription_id}")).json()
    assert native["filterBy"] == [
        {"filterParameter": "patient", "value": "Patient/1"},
        {"filterParameter": "code", "modifier": "not", "value": "8867-4,8310-5"},
    ]
    assert native["parameter"] == [{"name": "X-One", "value": MASK}]
    assert (native["content"], native["maxCount"], native["endpoint"]) == ("id-only", 3, NOWHERE)

    native = {**subscription("r5", VITALS, NOWHERE, filters=filters), "name": "Vitals of one"}
    native["filterBy"].append({"filterParameter": "date", "comparator": "ge", "value": "2024-01-01"})
    other_id = (await post(client, "r5", native)).json()["id"]
    read = (await client.get(f"/r4b/Subscription/{other_id}")).json()
    strings = [extension["valueString"] for extension in read["_criteria"]["extension"]]
    assert strings == [*filters, "date=ge2024-01-01"]
    assert read["criteria"] == VITALS
    assert read["reason"], "R-121: required where R5 has none"
    assert read["channel"]["_payload"]["extension"][0]["valueCode"] == "id-only"


async def test_r5_defaults_of_payload_and_content_are_in_the_accepted_resource(
    client: httpx.AsyncClient,
) -> None:
    document = subscription("r5", VITALS, NOWHERE)
    del document["contentType"], document["content"]
    accepted = (await post(client, "r5", document)).json()
    assert (accepted["contentType"], accepted["content"]) == ("application/fhir+json", "empty")


async def test_a_subscription_sent_as_active_becomes_requested(client: httpx.AsyncClient) -> None:
    document = subscription("r4", VITALS, NOWHERE) | {"status": "active"}
    response = await post(client, "r4", document)
    assert (response.status_code, response.json()["status"]) == (201, "requested")


async def search_ids(client: httpx.AsyncClient, release: str, query: str) -> set[str]:
    response = await client.get(f"/{release}/Subscription?{query}")
    assert response.status_code == 200, response.text
    read_back(Release(release), response.content)
    bundle = response.json()
    entries = bundle.get("entry", [])
    assert bundle["total"] == len(entries)
    assert all(entry["search"]["mode"] == "match" for entry in entries)
    links = {link["relation"]: link["url"] for link in bundle["link"]}
    assert links["self"].split("?")[0].endswith(f"/{release}/Subscription")
    return {entry["resource"]["id"] for entry in entries}


SEARCHES = {
    "r4": (
        *(
            f"url={NOWHERE}",
            "status=requested,active,error",
            "type=rest-hook",
            "payload=application/fhir%2Bjson",
        ),
        *(f"criteria={VITALS}", f"topic={VITALS}", "contact=email|a@example.org", "contact=a@example.org"),
        *("filter-criteria=patient%3DPatient", "custom-channel=rest-hook", "payload-type=empty", "_id={one}"),
    ),
    "r5": (
        *(
            f"url={NOWHERE}",
            f"topic={VITALS}",
            "type=rest-hook",
            "content-level=empty",
            "filter-value=Patient/",
        ),
        *("name=one", "owner=Organization/o1", "owner=o1", "identifier=urn:x|1", "contact=a@example.org"),
        *("payload=application/fhir%2Bjson", "status:not=off", "identifier:missing=false", "_id={one}"),
    ),
}
SEARCHES["r4b"] = SEARCHES["r4"]


@pytest.mark.parametrize("release", Release)
async def test_r_388_r_389_each_search_parameter_finds_the_match_and_nothing_else(
    client: httpx.AsyncClient, release: Release
) -> None:
    contact = {"contact": [{"system": "email", "value": "a@example.org"}]}
    own: Document = contact
    if release is Release.R5:
        identifiers = [{"system": "urn:x", "value": "1"}]
        owner = {"reference": "Organization/o1"}
        own = {**contact, "name": "One", "identifier": identifiers, "managingEntity": owner}
    wanted = subscription(release, VITALS, NOWHERE, content="empty", filters=["patient=Patient/1"]) | own
    other = subscription(release, ADMISSIONS, NOWHERE + "2", filters=["class=AMB"]) | {"status": "off"}
    subscription_id = (await post(client, release, wanted)).json()["id"]
    other_id = (await post(client, release, other)).json()["id"]
    assert await search_ids(client, release, "") == {subscription_id, other_id}
    wrong = {}
    for query in SEARCHES[release]:
        got = await search_ids(client, release, query.format(one=subscription_id))
        # the other_id are alike in what says nothing about them
        alike = query.startswith(("type=", "payload=", "custom-channel="))
        if got != ({subscription_id, other_id} if alike else {subscription_id}):
            wrong[query] = got
    assert wrong == {}
    assert await search_ids(client, release, f"url={NOWHERE}2&status=off") == {other_id}
    for query in ("type=websocket", "payload=text/plain", "custom-channel=websocket"):
        if release is not Release.R5 or not query.startswith("custom"):
            assert await search_ids(client, release, query) == set(), query
    form = await client.post(
        f"/{release}/Subscription/_search",
        data={"url": NOWHERE},
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert [entry["resource"]["id"] for entry in form.json()["entry"]] == [subscription_id]
    strict = {"Prefer": "handling=strict"}
    unknown = await client.get(f"/{release}/Subscription?colour=red", headers=strict)
    assert unknown.status_code == 400
    assert unknown.json()["issue"][0]["expression"] == ["colour"]


async def test_a_search_is_paged(client: httpx.AsyncClient) -> None:
    for _ in range(5):
        await post(client, "r5", subscription("r5", VITALS, NOWHERE))
    url, seen = "/r5/Subscription?_count=2", []
    while url:
        page = (await client.get(url)).json()
        assert page["total"] == 5
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    assert len(set(seen)) == len(seen) == 5


async def test_a_repeated_create_under_one_key_makes_one_subscription(client: httpx.AsyncClient) -> None:
    body = orjson.dumps(subscription("r5", VITALS, NOWHERE))
    headers = {"Idempotency-Key": "k1"}
    first = await client.post("/r5/Subscription", content=body, headers=headers)
    again = await client.post("/r5/Subscription", content=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert await total(client) == 1


async def test_an_update_repeats_the_handshake_and_continues_the_numbers(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    old, new = subscriber.endpoint("old"), subscriber.endpoint("new")
    accepted = (await post(client, "r4", subscription("r4", VITALS, subscriber.url("old")))).json()
    subscription_id = accepted["id"]
    await until_status(client, subscription_id, "active")
    reading = orjson.dumps(observation(HEART_RATE, "p1", "2026-01-01T00:00:00Z", 70))
    await client.post("/r4/Observation", content=reading)
    assert await subscriber.wait_until(lambda: old.numbers == [1])
    await BrokerFixture(client, subscriber).until_delivered(subscription_id, 1)

    document = subscription("r4", VITALS, subscriber.url("new")) | {"id": subscription_id}
    url = f"/r4/Subscription/{subscription_id}"
    stale = await client.put(url, content=orjson.dumps(document), headers={"If-Match": 'W/"7"'})
    assert stale.status_code == 412
    assert new.received == []
    updated = await client.put(url, content=orjson.dumps(document), headers={"If-Match": 'W/"2"'})
    assert (updated.status_code, updated.json()["status"]) == (200, "requested")
    assert updated.headers["ETag"] == 'W/"3"'
    await until_status(client, subscription_id, "active")
    assert [n.events_since_start for n in new.of_type("handshake")] == [1]
    await client.post("/r4/Observation", content=reading)
    assert await subscriber.wait_until(lambda: new.numbers == [2])
    assert old.numbers == [1]


async def test_an_update_may_create_under_the_id_of_the_client(client: httpx.AsyncClient) -> None:
    document = subscription("r5", VITALS, NOWHERE) | {"id": "mine", "status": "off"}
    response = await client.put("/r5/Subscription/mine", content=orjson.dumps(document))
    assert (response.status_code, response.json()["id"]) == (201, "mine")
    assert response.headers["Location"].endswith("/r5/Subscription/mine/_history/1")
    assert (await client.get("/r5/Subscription/mine/_history/1")).status_code == 200
    assert (await client.get("/r5/Subscription/mine/_history/2")).status_code == 404
    bad = await client.put("/r5/Subscription/no_id", content=orjson.dumps(document | {"id": "no_id"}))
    assert bad.status_code == 400


@pytest.mark.parametrize("how", ["delete", "off"])
async def test_no_notification_is_sent_after_delete_or_off(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber, how: str
) -> None:
    ended, other = subscriber.endpoint("ended"), subscriber.endpoint("other")
    document = subscription("r4", VITALS, subscriber.url("ended"))
    subscription_id = (await post(client, "r4", document)).json()["id"]
    other_id = (await post(client, "r4", subscription("r4", VITALS, subscriber.url("other")))).json()["id"]
    await until_status(client, subscription_id, "active")
    await until_status(client, other_id, "active")
    url = f"/r4/Subscription/{subscription_id}"
    if how == "delete":
        refused = await client.delete(url, headers={"If-Match": 'W/"9"'})
        assert refused.status_code == 412
        assert (await client.delete(url)).status_code == 204
        assert (await client.get(url)).status_code == 410
        assert (await client.get(f"{url}/$status")).status_code == 410
    else:
        off = document | {"id": subscription_id, "status": "off"}
        response = await client.put(url, content=orjson.dumps(off))
        assert (response.status_code, response.json()["status"]) == (200, "off")
    reading = observation(HEART_RATE, "p1", "2026-01-01T00:00:00Z", 70)
    await client.post("/r4/Observation", content=orjson.dumps(reading))
    assert await subscriber.wait_until(lambda: other.numbers == [1])
    assert [n.type for n in ended.notifications] == ["handshake"]


@pytest.mark.parametrize("release", list(Release))
async def test_a_registration_warns_of_types_to_which_no_filter_applies(
    release: Release, client: httpx.AsyncClient
) -> None:
    topic = "http://fhir-broker.org/topics/laboratory-results"
    prefer = {"Prefer": "return=OperationOutcome"}
    for filters, is_warned in ((["Observation?patient=Patient/1"], True), (["patient=Patient/1"], False)):
        document = subscription(release, topic, NOWHERE, filters=filters, content="id-only")
        if release is Release.R5 and is_warned:
            typed = {"resourceType": "Observation", "filterParameter": "patient", "value": "Patient/1"}
            document["filterBy"] = [typed]
        body = orjson.dumps(document | {"status": "off"})
        answer = await client.post(f"/{release}/Subscription", content=body, headers=prefer)
        assert answer.status_code == 201, answer.text
        outcome = answer.json()
        assert outcome["resourceType"] == "OperationOutcome"
        warnings = [issue for issue in outcome["issue"] if issue["severity"] == "warning"]
        assert len(warnings) == is_warned
        assert not is_warned or "DiagnosticReport" in warnings[0]["diagnostics"]
        url = answer.headers["Location"].partition("/_history")[0]
        assert ("Warning: No filter applies" in (await client.get(f"{url}/$status")).text) is is_warned


async def test_reads_honour_if_none_match_head_and_prefer(client: httpx.AsyncClient) -> None:
    document = subscription("r5", VITALS, NOWHERE) | {"status": "off"}
    minimal = await client.post(
        "/r5/Subscription", content=orjson.dumps(document), headers={"Prefer": "return=minimal"}
    )
    assert (minimal.status_code, minimal.content) == (201, b"")
    url = minimal.headers["Location"].partition("/_history")[0]
    read = await client.get(url)
    assert read.json()["status"] == "off"
    assert (await client.get(url, headers={"If-None-Match": read.headers["ETag"]})).status_code == 304
    head = await client.head(url)
    assert (head.status_code, head.headers["ETag"], head.content) == (200, 'W/"1"', b"")
    missing = await client.get("/r5/Subscription/none")
    assert missing.status_code == 404
    assert missing.json()["resourceType"] == "OperationOutcome"
