"""Resources over HTTP: the FHIR interactions, their headers and status codes, and what makes repetition
harmless.
"""

import asyncio
from typing import Any

import httpx
import orjson

from broker.app import Running
from broker.model.release import Release
from broker.testing.readings import HEART_RATE, observation
from broker.testing.registration import subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.fhir.rows import read_back

VITALS = "http://fhir-broker.org/topics/vital-signs"
AT = "2026-01-01T00:00:00Z"
PATIENT = b'{"resourceType":"Patient","active":true,"extension":[{"url":"http://example.org/w","valueDecimal":70.50}]}'


def reading(value: float = 70, **more: Any) -> bytes:
    return orjson.dumps(observation(HEART_RATE, "p1", AT, value) | more)


def check_outcome(response: httpx.Response, status: int, release: Release = Release.R4) -> None:
    assert response.status_code == status, response.text
    read_back(release, response.content)
    assert response.json()["resourceType"] == "OperationOutcome"
    assert response.headers["Content-Type"].startswith("application/fhir+json")


async def until_active(client: httpx.AsyncClient, resource_id: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if (await client.get(f"/r5/Subscription/{resource_id}")).json()["status"] == "active":
                return
            await asyncio.sleep(0.01)


async def test_create_read_update_delete(client: httpx.AsyncClient, broker: Running) -> None:
    base = broker.settings.base_url
    created = await client.post("/r4/Patient", content=PATIENT)
    assert created.status_code == 201
    resource_id = created.json()["id"]
    assert created.headers["Location"] == f"{base}/r4/Patient/{resource_id}/_history/1"
    assert created.headers["ETag"] == 'W/"1"'
    assert created.headers["Last-Modified"].endswith(" GMT")
    assert b"70.50" in created.content
    read = await client.get(f"/r4/Patient/{resource_id}")
    assert (read.status_code, read.content) == (200, created.content)
    assert read.headers["ETag"] == 'W/"1"'
    assert (
        await client.get(f"/r4/Patient/{resource_id}", headers={"If-None-Match": 'W/"1"'})
    ).status_code == 304

    changed = PATIENT.replace(b"{", b'{"id":"%s",' % resource_id.encode(), 1)
    check_outcome(
        await client.put(f"/r4/Patient/{resource_id}", content=changed, headers={"If-Match": 'W/"7"'}), 412
    )
    check_outcome(
        await client.put(f"/r4/Patient/{resource_id}", content=changed, headers={"If-Match": "x"}), 400
    )
    updated = await client.put(f"/r4/Patient/{resource_id}", content=changed, headers={"If-Match": 'W/"1"'})
    assert (updated.status_code, updated.headers["ETag"]) == (200, 'W/"2"')
    assert updated.json()["meta"]["versionId"] == "2"
    assert (await client.get(f"/r4/Patient/{resource_id}/_history/1")).content == created.content
    assert (await client.get(f"/r4/Patient/{resource_id}/_history/2")).content == updated.content
    check_outcome(await client.get(f"/r4/Patient/{resource_id}/_history/3"), 404)
    check_outcome(await client.get(f"/r4/Patient/{resource_id}/_history/x"), 404)

    check_outcome(await client.delete(f"/r4/Patient/{resource_id}", headers={"If-Match": 'W/"1"'}), 412)
    assert (await client.delete(f"/r4/Patient/{resource_id}")).status_code == 204
    assert (await client.delete(f"/r4/Patient/{resource_id}")).status_code == 204
    check_outcome(await client.get(f"/r4/Patient/{resource_id}"), 410)
    check_outcome(await client.get(f"/r4/Patient/{resource_id}/_history/3"), 410)
    assert (await client.get(f"/r4/Patient/{resource_id}/_history/2")).status_code == 200
    again = await client.put(f"/r4/Patient/{resource_id}", content=changed)
    assert (again.status_code, again.headers["ETag"]) == (201, 'W/"4"')


async def test_an_update_may_create_and_needs_its_id_in_the_body(client: httpx.AsyncClient) -> None:
    body = b'{"resourceType":"Patient","id":"my.own-1"}'
    created = await client.put("/r4/Patient/my.own-1", content=body)
    assert (created.status_code, created.json()["id"]) == (201, "my.own-1")
    assert created.headers["Location"].endswith("/r4/Patient/my.own-1/_history/1")
    check_outcome(await client.put("/r4/Patient/other", content=body), 400)
    check_outcome(await client.put("/r4/Patient/other", content=PATIENT), 400)
    for bad in ("under_score", "a" * 65, "%C3%A4"):
        check_outcome(await client.put(f"/r4/Patient/{bad}", content=body), 400)
    assert (
        await client.put(f"/r4/Patient/{'a' * 64}", content=body.replace(b"my.own-1", b"a" * 64))
    ).is_success
    ignored = await client.post("/r4/Patient", content=body)
    assert ignored.json()["id"] != "my.own-1", "a create assigns its own id"


async def test_prefer_minimal_and_head_return_no_body(client: httpx.AsyncClient) -> None:
    minimal = await client.post("/r4/Patient", content=PATIENT, headers={"Prefer": "return=minimal"})
    assert (minimal.status_code, minimal.content) == (201, b"")
    url = minimal.headers["Location"].partition("/_history")[0]
    head, read = await client.head(url), await client.get(url)
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", read.headers["ETag"])
    assert head.headers["Content-Length"] == read.headers["Content-Length"]


async def test_repeated_requests_make_no_second_event(
    client: httpx.AsyncClient, subscriber: SimulatedSubscriber
) -> None:
    endpoint = subscriber.endpoint("one")
    document = orjson.dumps(subscription("r5", VITALS, subscriber.url("one")))
    await until_active(client, (await client.post("/r5/Subscription", content=document)).json()["id"])
    key = {"Idempotency-Key": "one"}
    first = await client.post("/r4/Observation", content=reading(), headers=key)
    again = await client.post("/r4/Observation", content=reading(), headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["Location"] == again.headers["Location"]
    assert again.content == first.content
    check_outcome(await client.post("/r4/Observation", content=reading(71), headers=key), 422)

    identified = reading(identifier=[{"system": "urn:d", "value": "9"}])
    for _ in range(2):
        only = {"If-None-Exist": "identifier=urn:d|9"}
        assert (await client.post("/r4/Observation", content=identified, headers=only)).is_success
    resource_id = first.json()["id"]
    for _ in range(2):
        key = {"Idempotency-Key": "two"}
        assert (
            await client.put(
                f"/r4/Observation/{resource_id}", content=reading(72, id=resource_id), headers=key
            )
        ).is_success
    # of one patient, so in order: had a repetition been an event, it would have come before the last
    last = (await client.post("/r4/Observation", content=reading(73))).json()["id"]
    assert await subscriber.wait_until(
        lambda: endpoint.last is not None and any(last in event.focus for event in endpoint.last.events)
    )
    assert endpoint.numbers == [1, 2, 3, 4]


async def test_if_none_exist_finds_an_existing_resource(client: httpx.AsyncClient) -> None:
    identified = reading(identifier=[{"system": "urn:d", "value": "1"}])
    only = {"If-None-Exist": "identifier=urn:d|1"}
    first = await client.post("/r4/Observation", content=identified, headers=only)
    again = await client.post("/r4/Observation", content=identified, headers=only)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["meta"]["versionId"] == "1"
    assert (await client.post("/r4/Observation", content=identified)).status_code == 201
    check_outcome(await client.post("/r4/Observation", content=identified, headers=only), 412)
    for unknown in ("code=1", "identifier=", "identifier=a|b&code=1"):
        headers = {"If-None-Exist": unknown}
        check_outcome(await client.post("/r4/Observation", content=identified, headers=headers), 422)


async def test_a_resource_can_be_read_at_every_base_it_converts_to(client: httpx.AsyncClient) -> None:
    resource_id = (await client.post("/r4/Observation", content=reading())).json()["id"]
    for release in Release:
        read = await client.get(f"/{release}/Observation/{resource_id}")
        assert read.status_code == 200
        read_back(release, read.content)
    flag = (
        b'{"resourceType":"Flag","status":"active","code":{"text":"x"},"subject":{"reference":"Patient/p1"}}'
    )
    flag_id = (await client.post("/r4/Flag", content=flag)).json()["id"]
    assert (await client.get(f"/r4b/Flag/{flag_id}")).status_code == 200
    check_outcome(await client.get(f"/r5/Flag/{flag_id}"), 406, Release.R5)
    check_outcome(await client.get(f"/r5/Flag/{flag_id}/_history/1"), 406, Release.R5)


async def test_invalid_requests_are_refused_with_the_reason(client: httpx.AsyncClient) -> None:
    wrong = {}
    for method, path, body, headers, status in (
        ("GET", "/r4/Patient/none", b"", {}, 404),
        ("GET", "/r4/Sandwich/1", b"", {}, 404),
        ("POST", "/r4/Sandwich", b"{}", {}, 404),
        ("GET", "/r4/SubscriptionTopic/vital-signs", b"", {}, 404),
        ("GET", "/r6/Patient/1", b"", {}, 404),
        ("GET", "/", b"", {}, 404),
        ("POST", "/", b"{}", {}, 404),
        ("GET", "/r4/Patient/1/extra/path", b"", {}, 404),
        ("GET", "/r4", b"", {}, 405),
        ("GET", "/r4/Patient?birthdate=x", b"", {}, 400),
        ("POST", "/r4/Patient/_search?birthdate=x", b"", {}, 400),
        ("PUT", "/r4/Patient", PATIENT, {}, 405),
        ("DELETE", "/r4/Patient", b"", {}, 405),
        ("DELETE", "/r4/Patient?name=x", b"", {}, 422),
        ("PATCH", "/r4/Patient/1", b"[]", {"Content-Type": "application/json"}, 400),
        ("PATCH", "/r4/Patient", b"[]", {"Content-Type": "application/json-patch+json"}, 405),
        ("POST", "/r4/Patient/1", PATIENT, {}, 405),
        ("POST", "/r5/SubscriptionTopic", b"{}", {}, 422),
        ("PUT", "/r4/metadata", b"{}", {}, 405),
        ("GET", "/r4/Patient/none", b"", {"Accept": "application/fhir+xml"}, 406),
        ("GET", "/r4/Patient/none?_format=xml", b"", {}, 406),
        ("GET", "/r4/metadata", b"", {"Accept": "application/fhir+json; fhirVersion=5.0"}, 406),
        ("POST", "/r4/Patient", b"<x/>", {"Content-Type": "application/fhir+xml"}, 415),
        ("POST", "/r4/Patient", PATIENT, {"Content-Type": "application/fhir+json; fhirVersion=5.0"}, 415),
        ("POST", "/r4/Patient", b"not json", {}, 400),
        ("POST", "/r4/Patient", b"\xff", {}, 400),
        ("POST", "/r4/Patient", b"[1]", {}, 400),
        ("POST", "/r4/Patient", b'{"resourceType":"Patient","active":NaN}', {}, 400),
        ("POST", "/r4/Patient", b'{"x":' * 200 + b"1" + b"}" * 200, {}, 413),
        ("POST", "/r4/Patient", b'{"resourceType":"Observation"}', {}, 422),
        ("POST", "/r4/Patient", b'{"resourceType":"Patient","colour":"red"}', {}, 422),
        ("POST", "/r4/Observation", b'{"resourceType":"Observation","status":"final"}', {}, 422),
        ("POST", "/r4/Observation", reading(status="nope"), {}, 422),
        ("POST", "/r4/Patient", PATIENT, {"Idempotency-Key": "x" * 300}, 422),
    ):
        response = await client.request(method, path, content=body, headers=headers)
        try:
            check_outcome(response, status)
        except (AssertionError, ValueError, KeyError) as error:
            wrong[f"{method} {path} {headers}"] = str(error)[:300]
    assert wrong == {}


async def test_formats_that_mean_json_are_accepted(client: httpx.AsyncClient) -> None:
    for accept in (
        "application/json",
        "*/*",
        "text/html, */*;q=0.1",
        "application/fhir+json;fhirVersion=4.0",
    ):
        assert (await client.get("/r4/metadata", headers={"Accept": accept})).status_code == 200, accept
    for name in ("json", "application/fhir+json", "application/fhir%2Bjson"):
        assert (await client.get(f"/r4/metadata?_format={name}")).status_code == 200, name


async def test_a_body_over_the_limit_is_refused_with_and_without_content_length(
    start_broker: StartBroker,
) -> None:
    async def in_pieces() -> Any:
        for _ in range(64):
            yield b" " * 1024

    async with (
        start_broker(max_body=32 * 1024) as broker,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        url = f"{broker.settings.base_url}/r4/Patient"
        check_outcome(await client.post(url, content=b" " * 40_000), 413)
        check_outcome(await client.post(url, content=in_pieces()), 413)
        assert (await client.post(url, content=PATIENT)).status_code == 201


async def _check_outcomes(client: httpx.AsyncClient, release: Release) -> None:
    check_outcome(await client.get(f"/{release}/Patient/none"), 404, release)
    check_outcome(await client.post(f"/{release}/Patient", content=b"{"), 400, release)
    check_outcome(await client.delete(f"/{release}/Patient/no_id"), 400, release)


async def test_every_refusal_is_a_valid_operation_outcome_of_its_base(client: httpx.AsyncClient) -> None:
    for release in Release:
        await _check_outcomes(client=client, release=release)
