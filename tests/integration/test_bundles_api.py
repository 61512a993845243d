"""Bundles posted to a base: a batch is many requests, a transaction is one."""

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from broker.model.change import DEFAULT_TENANT
from broker.model.release import Release
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from tests.conftest import LAYOUT
from tests.fhir.rows import read_back
from tests.store_cluster import StoreCluster
from tests.stores import SharedStore

STORES = ("embedded", "cluster")

VITALS = "http://fhir-broker.org/topics/vital-signs"
URN = "urn:uuid:0b54f6a0-1111-4222-8333-0123456789ab"
URN2 = "urn:uuid:0b54f6a0-1111-4222-8333-0123456789ac"
Entry = dict[str, Any]


def request(method: str, url: str, resource: Any = None, *, full_url: str = "", **more: str) -> Entry:
    entry: Entry = {"request": {"method": method, "url": url, **more}}
    if resource is not None:
        entry["resource"] = resource
    if full_url:
        entry["fullUrl"] = full_url
    return entry


def reading(subject: str = "Patient/p1", **more: Any) -> dict[str, Any]:
    return (
        observation(HEART_RATE, "p1", "2026-01-01T00:00:00Z", 70) | {"subject": {"reference": subject}} | more
    )


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **more}


async def send(
    client: httpx.AsyncClient, kind: str, *entries: Entry, release: str = "r4", **headers: str
) -> httpx.Response:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.post(f"/{release}", content=orjson.dumps(bundle), headers=named)
    read_back(Release(release), response.content)
    return response


def statuses(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [entry["response"]["status"][:3] for entry in response.json()["entry"]]


def refusal(response: httpx.Response, status: int) -> list[str]:
    """The places a refused Bundle names."""
    assert response.status_code == status, response.text
    assert response.json()["resourceType"] == "OperationOutcome"
    return [place for issue in response.json()["issue"] for place in issue.get("expression", [])]


@pytest.mark.parametrize("release", Release)
async def test_the_entries_of_a_batch_succeed_or_fail_independently(
    client: httpx.AsyncClient, release: Release
) -> None:
    response = await send(
        client,
        "batch",
        request("POST", "Observation", reading()),
        request("POST", "Observation", {"resourceType": "Observation"}),
        request("PUT", "Patient/mine", patient(id="mine")),
        request("GET", "Patient/none"),
        request("GET", "metadata"),
        request("DELETE", "Patient/never"),
        request("PATCH", "Patient/1", patient()),
        request("POST", "Subscription", subscription(release, VITALS, "http://127.0.0.1:9/x")),
        request(
            "POST", "Subscription", subscription(release, "http://example.org/no", "http://127.0.0.1:9/x")
        ),
        request("GET", "Subscription/$status"),
        request("GET", "http://elsewhere.example/fhir/Patient/1"),
        request("POST", "Sandwich", patient()),
        release=release,
    )
    bundle = response.json()
    assert bundle["type"] == "batch-response"
    assert statuses(response) == [
        *("201", "422", "201", "404", "200"),
        *("404", "422", "201", "422", "200", "422", "404"),
    ]
    for entry in bundle["entry"]:
        is_failure = entry["response"]["status"] >= "4"
        assert ("outcome" in entry["response"]) is is_failure
        assert not (is_failure and "resource" in entry)
    created = bundle["entry"][0]["response"]
    assert created["etag"] == 'W/"1"'
    assert created["lastModified"]
    assert (await client.get(created["location"])).json()["resourceType"] == "Observation"
    assert bundle["entry"][7]["resource"]["status"] == "requested"
    read = await client.get(f"/{release}/Subscription")
    assert read.json()["total"] == 1


async def test_a_batch_may_use_the_absolute_urls_of_its_base(client: httpx.AsyncClient) -> None:
    base = f"{client.base_url}".rstrip("/")
    response = await send(client, "batch", request("PUT", f"{base}/r4/Patient/p", patient(id="p")))
    assert statuses(response) == ["201"]
    other = await send(client, "batch", request("GET", f"{base}/r5/Patient/p"))
    assert statuses(other) == ["422"]


async def test_conditions_of_batch_entries_are_evaluated(client: httpx.AsyncClient) -> None:
    identified = patient(identifier=[{"system": "urn:m", "value": "1"}])
    await send(client, "batch", request("PUT", "Patient/p", patient(id="p")))
    response = await send(
        client,
        "batch",
        request("PUT", "Patient/p", patient(id="p"), ifMatch='W/"7"'),
        request("GET", "Patient/p", ifNoneMatch='W/"1"'),
        request("POST", "Patient", identified, ifNoneExist="identifier=urn:m|1"),
    )
    assert statuses(response) == ["412", "304", "201"]
    again = await send(
        client, "batch", request("POST", "Patient", identified, ifNoneExist="identifier=urn:m|1")
    )
    assert statuses(again) == ["200"]


async def test_a_transaction_rewrites_references_between_its_entries(client: httpx.AsyncClient) -> None:
    note = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{URN}</div>'}
    response = await send(
        client,
        "transaction",
        request("POST", "Observation", reading(URN, device={"reference": URN2}, text=note)),
        request("POST", "Patient", patient(), full_url=URN),
        request("PUT", "Device/d1", {"resourceType": "Device", "id": "d1"}, full_url=URN2),
    )
    assert response.json()["type"] == "transaction-response"
    assert statuses(response) == ["201", "201", "201"]
    locations = [entry["response"]["location"] for entry in response.json()["entry"]]
    stored = (await client.get(locations[0])).json()
    assert stored["subject"]["reference"] == "/".join(locations[1].split("/")[-4:-2])
    assert stored["device"]["reference"] == "Device/d1"
    assert URN in stored["text"]["div"], "the text of a narrative is left alone"


def ids() -> Iterator[str]:
    return (f"q{n}" for n in range(1_000))


def partition_of(resource_id: str) -> int:
    return LAYOUT.partition_of(DEFAULT_TENANT, resource_id)


def id_in_the_partition_of_p() -> str:
    """The id of another resource in the partition of Patient/p: a Cluster writes both in a transaction."""
    return next(item for item in ids() if partition_of(item) == partition_of("p"))


async def test_a_transaction_is_all_or_nothing(client: httpx.AsyncClient) -> None:
    await send(client, "batch", request("PUT", "Patient/p", patient(id="p")))
    other = id_in_the_partition_of_p()
    good = request("PUT", f"Patient/{other}", patient(id=other))
    invalid = request("POST", "Observation", {"resourceType": "Observation"})
    assert refusal(await send(client, "transaction", good, invalid), 422)
    stale = request("PUT", "Patient/p", patient(id="p"), ifMatch='W/"7"')
    assert refusal(await send(client, "transaction", good, stale), 412) == ["Bundle.entry[1]"]
    unread = request("GET", "Patient/p")
    assert refusal(await send(client, "transaction", good, unread), 405) == ["Bundle.entry[1].request"]
    about = request("POST", "Subscription", subscription("r4", VITALS, "http://127.0.0.1:9/x"))
    assert refusal(await send(client, "transaction", good, about), 422) == ["Bundle.entry[1].request"]
    twice = request("DELETE", f"Patient/{other}")
    assert refusal(await send(client, "transaction", good, twice), 422) == ["Bundle.entry[1]"]
    # deletes are written first, whatever their place
    last = request("DELETE", "Patient/p", ifMatch='W/"7"')
    assert refusal(await send(client, "transaction", good, last), 412) == ["Bundle.entry[1]"]
    assert (await client.get(f"/r4/Patient/{other}")).status_code == 404
    assert (await client.get("/r4/Patient/p")).headers["ETag"] == 'W/"1"'


async def test_a_transaction_over_several_partitions_is_refused_by_a_cluster_and_written_by_one_server(
    client: httpx.AsyncClient, shared_store: SharedStore
) -> None:
    far = next(item for item in ids() if partition_of(item) != partition_of("p"))
    entries = (
        request("PUT", "Patient/p", patient(id="p")),
        request("POST", "Patient", patient()),
        request("PUT", f"Patient/{far}", patient(id=far)),
    )
    response = await send(client, "transaction", *entries)
    if not isinstance(shared_store, StoreCluster):
        assert statuses(response) == ["201", "201", "201"]
        return
    assert refusal(response, 422) == ["Bundle.entry[2]"]
    assert (await client.get("/r4/Patient/p")).status_code == 404
    assert statuses(await send(client, "transaction", *entries[:2])) == ["201", "201"]


async def test_issues_of_a_transaction_say_which_entry_they_are_about(client: httpx.AsyncClient) -> None:
    good = request("POST", "Patient", patient())
    for wrong, place in (
        (request("POST", "Observation", {"resourceType": "Observation", "status": "final"}), "resource.code"),
        (request("PUT", "Patient/a", patient(id="b")), "resource.id"),
        (request("PUT", "Patient/a", patient()), "resource.id"),
        (request("POST", "Patient", {"resourceType": "Device"}), "resource.resourceType"),
        (request("POST", "Patient", patient(active="yes")), "resource.active"),
        (request("POST", "Patient", patient(), ifNoneExist="name=x"), "request"),
        (request("PUT", "Patient/no_id", patient(id="no_id")), "resource.id"),
        (request("POST", "Sandwich", patient()), "request"),
    ):
        response = await send(client, "transaction", good, wrong)
        places = refusal(response, response.status_code)
        assert 400 <= response.status_code < 500
        assert places == [f"Bundle.entry[1].{place}"], places


async def test_if_none_exist_in_a_transaction_refers_to_the_stored_resource(
    client: httpx.AsyncClient,
) -> None:
    identified = patient(identifier=[{"system": "urn:m", "value": "1"}])
    existing_id = (await client.post("/r4/Patient", content=orjson.dumps(identified))).json()["id"]
    response = await send(
        client,
        "transaction",
        request("POST", "Patient", identified, full_url=URN, ifNoneExist="identifier=urn:m|1"),
        request("POST", "Observation", reading(URN)),
    )
    assert statuses(response) == ["200", "201"]
    location = response.json()["entry"][1]["response"]["location"]
    assert (await client.get(location)).json()["subject"]["reference"] == f"Patient/{existing_id}"


async def test_a_transaction_repeated_under_its_key_changes_nothing_more(client: httpx.AsyncClient) -> None:
    entries = (
        request("POST", "Patient", patient(), full_url=URN),
        request("POST", "Observation", reading(URN)),
        request("PUT", "Patient/p", patient(id="p")),
    )
    first = await send(client, "transaction", *entries, Idempotency_Key="k")
    again = await send(client, "transaction", *entries, Idempotency_Key="k")
    assert statuses(first) == ["201", "201", "201"]
    assert all(status in {"200", "201"} for status in statuses(again))
    locations = [[entry["response"]["location"] for entry in item.json()["entry"]] for item in (first, again)]
    assert locations[0] == locations[1]


async def test_deletes_of_a_transaction_answer_204(client: httpx.AsyncClient) -> None:
    await send(client, "batch", request("PUT", "Patient/p", patient(id="p")))
    response = await send(
        client, "transaction", request("DELETE", "Patient/p"), request("POST", "Patient", patient())
    )
    assert statuses(response) == ["204", "201"]
    assert (await client.get("/r4/Patient/p")).status_code == 410


async def test_invalid_bundles_are_refused(client: httpx.AsyncClient) -> None:
    assert refusal(await send(client, "history"), 422) == ["Bundle.type"]
    assert refusal(await client.post("/r4", content=orjson.dumps(patient())), 422)
    assert refusal(await send(client, "batch", {"resource": patient()}), 422) == ["Bundle.entry[0].request"]
    same = [request("POST", "Patient", patient(), full_url=URN)] * 2
    assert refusal(await send(client, "transaction", *same), 422) == ["Bundle.entry[1].fullUrl"]
    many = [request("GET", "Patient/x")] * 1001
    assert refusal(await send(client, "batch", *many), 413) == ["Bundle.entry"]
    empty = await send(client, "batch")
    assert (empty.status_code, empty.json().get("entry")) == (200, None)
    trailing = await client.post("/r4/", content=b'{"resourceType":"Bundle","type":"batch"}')
    assert trailing.status_code == 200
