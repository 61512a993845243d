"""`$status`, `$events`, metadata, topics, and the process's own pages."""

import asyncio
from functools import partial
from typing import Any

import httpx
import orjson

from broker.app import Running
from broker.model.release import Release
from broker.model.subscription import PayloadContent
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import BACKPORT, subscription
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.fhir.rows import Sent, check_rows, read_back
from tests.integration.broker_fixture import until_ready
from tests.metrics import documented_metrics, families

STORES = ("embedded", "cluster")

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
GUIDE = "http://hl7.org/fhir/uv/subscriptions-backport/"
READING = orjson.dumps(observation(HEART_RATE, "p1", "2026-01-01T00:00:00Z", 70))


async def get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The resource at a FHIR URL, read back by the models of its release."""
    response = await client.get(url)
    assert response.status_code == 200, response.text
    read_back(Release(url.split("/")[1]), response.content)
    results: dict[str, Any] = response.json()
    return results


async def register(client: httpx.AsyncClient, release: str, endpoint: str, **more: Any) -> str:
    document = subscription(release, VITALS, endpoint, content=more.pop("content", "id-only")) | more
    response = await client.post(f"/{release}/Subscription", content=orjson.dumps(document))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def until_status(client: httpx.AsyncClient, subscription_id: str, status: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if (await client.get(f"/r5/Subscription/{subscription_id}")).json()["status"] == status:
                return
            await asyncio.sleep(0.01)


def ids(bundle: dict[str, Any]) -> set[str]:
    """The subscriptions that the entries of a `$status` answer in R5 are about."""
    entries = bundle.get("entry", [])
    return {entry["resource"]["subscription"]["reference"].rpartition("/")[2] for entry in entries}


async def test_status_answers_for_the_requested_subscriptions(client: httpx.AsyncClient) -> None:
    off = await register(client, "r5", NOWHERE, status="off")
    off2 = await register(client, "r4", NOWHERE, status="off")
    failed = await register(client, "r4", NOWHERE)
    await until_status(client, failed, "error")
    url = "/r5/Subscription/$status"
    wrong = {}
    for query, expected in (
        ("", {off, off2, failed}),
        (f"?id={off}", {off}),
        (f"?id={off},{failed}", {off, failed}),
        (f"?id={off}&id={failed}", {off, failed}),
        (f"?ids={off}", {off}),
        ("?status=off", {off, off2}),
        ("?status=off,error", {off, off2, failed}),
        (f"?id={off},{failed}&status=error", {failed}),
        ("?status=active", set()),
        ("?id=unknown", set()),
    ):
        bundle = await get(client, url + query)
        links = [link["url"] for link in bundle["link"] if link["relation"] == "self"]
        if ids(bundle) != expected or len(links) != 1 or bundle["total"] != len(expected):
            wrong[query] = bundle
    assert wrong == {}
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "id", "valueId": off},
            {"name": "id", "valueId": failed},
            {"name": "status", "valueCode": "off"},
        ],
    }
    posted = await client.post(url, content=orjson.dumps(body))
    assert ids(posted.json()) == {off}
    assert ids((await client.post(url)).json()) == {off, off2, failed}
    for refused in ("?colour=red",):
        response = await client.get(url + refused)
        assert (response.status_code, response.json()["resourceType"]) == (400, "OperationOutcome")
    not_parameters = await client.post(url, content=b'{"resourceType":"Patient"}')
    assert not_parameters.status_code == 422
    assert (await client.get("/r5/Subscription/unknown/$status")).status_code == 404


async def _check_status(client: httpx.AsyncClient, release: Release) -> None:
    subscription_id = await register(client, release, NOWHERE, content="empty")
    await until_status(client, subscription_id, "error")
    for url in (
        f"/{release}/Subscription/{subscription_id}/$status",
        f"/{release}/Subscription/$status?id={subscription_id}",
    ):
        bundle = await get(client, url)
        assert bundle["type"] == "searchset"
        (entry,) = bundle["entry"]
        assert not {"request", "response"} & set(entry)
        assert entry["search"] == {"mode": "match"}
        assert entry["fullUrl"] == f"urn:uuid:{entry['resource']['id']}"
        text = orjson.dumps(entry["resource"]).decode()
        for reported in (
            '"query-status"',
            '"error"',
            "no-response",
            VITALS,
            f"/{release}/Subscription/{subscription_id}",
        ):
            assert reported in text
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        assert links["self"].endswith(url.replace("$", "%24")) or links["self"].endswith(url)
    posted = await client.post(f"/{release}/Subscription/{subscription_id}/$status")
    assert posted.json()["total"] == 1


async def test_r_361_status_is_a_searchset_without_requests(client: httpx.AsyncClient) -> None:
    for release in Release:
        await _check_status(client=client, release=release)


async def _check_ranges(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber, release: Release
) -> None:
    granted = {
        content: await register(client, release, subscriber.url(f"{release}-{content}"), content=content)
        for content in PayloadContent
    }
    for item in granted.values():
        await until_status(client, item, "active")
    for _ in range(4):
        await client.post("/r4/Observation", content=READING)
    for content, item in granted.items():
        endpoint = subscriber.endpoint(f"{release}-{content}")
        assert await subscriber.wait_until(partial(_has_all, endpoint))
        await check_events(client, f"{broker.settings.base_url}/{release}", release, content, item)


async def test_events_are_answered_by_range_and_never_beyond_the_granted_content(
    broker: Running, client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    for release in Release:
        await _check_ranges(broker=broker, client=client, subscriber=subscriber, release=release)


def _has_all(endpoint: Endpoint) -> bool:
    return endpoint.numbers == [1, 2, 3, 4]


async def check_events(
    client: httpx.AsyncClient, base: str, release: Release, content: PayloadContent, subscription_id: str
) -> None:
    url = f"/{release}/Subscription/{subscription_id}/$events"

    async def ask(query: str, level: PayloadContent = content) -> Sent:
        response = await client.get(url + query)
        assert response.status_code == 200, response.text
        return check_rows(Sent(response.content, release, level, base, subscription_id, VITALS))

    everything = await ask("")
    assert (everything.type, everything.numbers) == ("query-event", [1, 2, 3, 4])
    assert everything.status["eventsSinceSubscriptionStart"] == "4"
    since, until = "eventsSinceNumber", "eventsUntilNumber"
    assert (await ask(f"?{since}=2&{until}=3")).numbers == [2, 3]
    assert (await ask(f"?{since}=3")).numbers == [3, 4]
    assert (await ask(f"?{until}=1")).numbers == [1]
    levels = list(PayloadContent)
    for requested in PayloadContent:
        await ask(f"?content={requested}", min(requested, content, key=levels.index))
    nothing = await ask(f"?{since}=5")
    assert nothing.type == ("query-status" if release is Release.R5 else "query-event"), "R-266"
    assert nothing.numbers == []
    body = {"resourceType": "Parameters", "parameter": [{"name": since, "valueString": "4"}]}
    posted = await client.post(url, content=orjson.dumps(body))
    assert Sent(posted.content, release, content, base, subscription_id, VITALS).numbers == [4]
    for query in ("?colour=red", f"?{since}=x", f"?{since}=1&{since}=2", "?content=all", f"?{since}=-1"):
        assert (await client.get(url + query)).status_code == 400, query
    assert (await client.get(f"/{release}/Subscription/none/$events")).status_code == 404


async def _check_metadata(client: httpx.AsyncClient, release: Release) -> None:
    statement = await get(client, f"/{release}/metadata")
    assert statement["fhirVersion"] == {"r4": "4.0.1", "r4b": "4.3.0", "r5": "5.0.0"}[release]
    assert statement["kind"] == "instance"
    by_type = {item["type"]: item for item in statement["rest"][0]["resource"]}
    about = by_type["Subscription"]
    assert {"create", "read", "update", "delete", "search-type"} <= {
        item["code"] for item in about["interaction"]
    }
    operations = {item["name"]: item["definition"] for item in about["operation"]}
    assert {"status", "events"} <= set(operations), "R-386"
    prefix = "http://hl7.org/fhir/OperationDefinition/Subscription-"
    if release is not Release.R5:
        prefix = f"{GUIDE}OperationDefinition/backport-subscription-"
        suffix = "-r4" if release is Release.R4 else ""
        assert statement["instantiates"] == [
            f"{GUIDE}CapabilityStatement/backport-subscription-server{suffix}"
        ]
        assert about["supportedProfile"] == [f"{BACKPORT}backport-subscription"], "R-383"
    assert operations["status"] == prefix + "status", "R-368"
    assert {"url", "status"} <= {item["name"] for item in about["searchParam"]}, "R-384"
    if release is Release.R4:
        canonical = f"{BACKPORT}capabilitystatement-subscriptiontopic-canonical"
        reported = {item["valueCanonical"] for item in about["extension"] if item["url"] == canonical}
        assert f"{VITALS}|1.0.0" in reported, "R-385"
        assert "code" in {item["name"] for item in by_type["Basic"]["searchParam"]}
    else:
        topic = by_type["SubscriptionTopic"]
        assert {"url", "derived-or-self", "resource", "title", "trigger-description"} <= {
            item["name"] for item in topic["searchParam"]
        }, "R-384"
    for kind in ("AuditEvent", "Basic", "OperationDefinition", "Subscription", "SubscriptionTopic"):
        for parameter in by_type.get(kind, {}).get("searchParam", []):
            results = await client.get(f"/{release}/{kind}?{parameter['name']}:missing=false")
            assert results.status_code == 200, parameter
            read_back(release, results.content)


async def test_metadata_describes_the_base(client: httpx.AsyncClient) -> None:
    for release in Release:
        await _check_metadata(client=client, release=release)


async def _check_topics(client: httpx.AsyncClient, release: Release) -> None:
    kind = "Basic" if release is Release.R4 else "SubscriptionTopic"
    everything = await get(
        client, f"/{release}/{kind}?code=SubscriptionTopic" if kind == "Basic" else f"/{release}/{kind}"
    )
    assert everything["total"] == 16
    for entry in everything["entry"]:
        resource = await get(client, entry["fullUrl"].partition(str(client.base_url).rstrip("/"))[2])
        assert resource == entry["resource"]
        assert resource["resourceType"] == kind
    missing = await client.get(f"/{release}/{kind}/none")
    assert (missing.status_code, missing.json()["resourceType"]) == (404, "OperationOutcome")
    if release is Release.R4:
        refused = await client.get("/r4/SubscriptionTopic")
        assert (refused.status_code, refused.json()["resourceType"]) == (404, "OperationOutcome")
        return
    wrong = {}
    for query, expected in (
        (f"url={VITALS}", {"vital-signs"}),
        (f"derived-or-self={VITALS}", {"vital-signs"}),
        ("resource=Patient", {"patient-demographics"}),
        ("resource=http://hl7.org/fhir/StructureDefinition/Patient", {"patient-demographics"}),
        ("title=vital", {"vital-signs"}),
        ("title:contains=metric", {"device-metric"}),
        ("trigger-description=An%20Observation%20of%20the%20category%20%60vital", {"vital-signs"}),
        ("status=active&version=1.0.0&_id=glucose", {"glucose"}),
        ("date=ge2025&_id=glucose,device-status", {"glucose", "device-status"}),
        ("date=lt2025", set()),
        ("status=draft,retired", set()),
        ("identifier:missing=false", set()),
    ):
        bundle = await get(client, f"/{release}/SubscriptionTopic?{query}")
        got = {entry["resource"]["id"] for entry in bundle.get("entry", [])}
        if got != expected:
            wrong[query] = got
    assert wrong == {}
    for query, status in (("effective=2025", 200), ("event=x", 200), ("colour=red", 400)):
        expected_status = status if release is Release.R5 else 400
        url = f"/{release}/SubscriptionTopic?{query}"
        response = await client.get(url, headers={"Prefer": "handling=strict"})
        assert response.status_code == expected_status, url


async def test_topics_are_read_and_searched(client: httpx.AsyncClient) -> None:
    for release in Release:
        await _check_topics(client=client, release=release)


async def test_a_basic_that_is_not_a_topic_is_stored_like_any_resource(client: httpx.AsyncClient) -> None:
    body = b'{"resourceType":"Basic","code":{"text":"note"}}'
    for release in ("r4", "r5"):
        created = await client.post(f"/{release}/Basic", content=body)
        read = await get(client, f"/{release}/Basic/{created.json()['id']}")
        assert read["code"] == {"text": "note"}


async def test_the_process_reports_its_health_and_metrics(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).json() == {"status": "alive"}
    ready = await until_ready(client)
    assert ready.json()["status"] == "ready"
    assert ready.json()["parts"]["store"] == "ok"
    await client.post("/r4/Observation", content=READING)
    page = await client.get("/metrics")
    assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'interaction="create"' in page.text
    of_the_disk = {"broker_store_disk_free_bytes", "broker_store_rewrite_bytes"}
    assert families(page.text).keys() | of_the_disk == documented_metrics().keys()
    assert (await client.head("/livez")).status_code == 200
