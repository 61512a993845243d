"""PATCH over HTTP: JSON Patch and FHIRPath Patch on every writable type, alone and in Bundles."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from tests.conftest import StartBroker
from tests.integration.patch_client import JSON_PATCH, fhirpath_patch, json_patch, op, put
from tests.unit.ingest.fhirpath_patches import operation, parameters

FORMATS = f"{JSON_PATCH}, application/fhir+json"
BASES = ("r4", "r4b", "r5")


def binary(*operations: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"resourceType": "Binary", "contentType": JSON_PATCH, "data": data}


def entry(url: str, resource: dict[str, Any], method: str = "PATCH", **request: str) -> dict[str, Any]:
    return {"resource": resource, "request": {"method": method, "url": url, **request}}


async def send(
    client: httpx.AsyncClient, kind: str, *entries: dict[str, Any], **headers: str
) -> httpx.Response:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": entries}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/r4", content=json.dumps(bundle).encode(), headers=named)


@pytest.mark.parametrize("base", BASES)
async def test_both_formats_change_a_resource_and_its_version(client: httpx.AsyncClient, base: str) -> None:
    url = f"/{base}/Patient/formats"
    first = await put(client, url, active=True, birthDate="1920-01-01")
    response = await json_patch(
        client, url, op("test", "/active", value=True), op("replace", "/active", value=False)
    )
    assert response.status_code == 200, response.text
    assert response.json()["active"] is False
    assert response.headers["etag"] != first.headers["etag"]
    assert response.json()["meta"]["versionId"] == response.headers["etag"].strip('W/"')
    response = await fhirpath_patch(
        client,
        url,
        operation("replace", "Patient.birthDate", value={"valueDate": "1930-02-03"}),
        operation("add", "Patient", name="name", value={"valueHumanName": {"family": "N"}}),
    )
    assert response.status_code == 200, response.text
    stored = (await client.get(url)).json()
    assert stored == response.json()
    assert (stored["active"], stored["birthDate"], stored["name"]) == (False, "1930-02-03", [{"family": "N"}])
    minimal = await json_patch(client, url, op("remove", "/name"), Prefer="return=minimal")
    assert (minimal.status_code, minimal.content) == (200, b"")


async def test_numbers_that_a_patch_does_not_touch_keep_their_spelling(client: httpx.AsyncClient) -> None:
    body = (
        b'{"resourceType":"Observation","id":"spelled","status":"final","code":{"text":"c"},'
        b'"valueQuantity":{"value":70.00}}'
    )
    await client.put("/r4/Observation/spelled", content=body)
    await json_patch(client, "/r4/Observation/spelled", op("replace", "/status", value="amended"))
    text = (await client.get("/r4/Observation/spelled")).text
    assert '"value":70.00' in text
    assert '"status":"amended"' in text


async def test_a_resource_of_another_release_is_patched_in_the_form_of_the_base(
    client: httpx.AsyncClient,
) -> None:
    encounter = {"status": "in-progress", "class": {"code": "AMB"}}
    await put(client, "/r4/Encounter/across", **encounter)
    response = await json_patch(client, "/r5/Encounter/across", op("replace", "/status", value="completed"))
    assert response.status_code == 200, response.text
    assert response.json()["status"] == "completed"
    assert (await client.get("/r4/Encounter/across")).json()["status"] == "finished"
    await put(
        client, "/r5/Flag/r5-only", status="active", code={"text": "f"}, subject={"reference": "Group/1"}
    )
    response = await json_patch(client, "/r4/Flag/r5-only", op("replace", "/status", value="inactive"))
    assert response.status_code == 406


async def test_what_cannot_be_patched_is_refused_and_nothing_is_written(client: httpx.AsyncClient) -> None:
    url = "/r4/Patient/refused"
    before = await put(client, url, active=True)
    etag = before.headers["etag"]
    fhir, xml = {"Content-Type": "application/fhir+json"}, {"Content-Type": "application/xml-patch+xml"}
    as_json_patch = {"Content-Type": JSON_PATCH}
    deep = b'[{"op":"add","path":"/active","value":' + b"[" * 2000 + b"]" * 2000 + b"}]"
    wrong = {}
    for name, path, content, headers, status in (
        ("a test that fails", url, [op("test", "/active", value=False)], as_json_patch, 422),
        ("a path to nothing", url, [op("remove", "/name")], as_json_patch, 422),
        ("an invalid result", url, [op("add", "/active", value="yes")], as_json_patch, 422),
        ("an unknown element", url, [op("add", "/colour", value="red")], as_json_patch, 422),
        ("an empty element", url, [op("add", "/name", value=[])], as_json_patch, 422),
        ("another id", url, [op("replace", "/id", value="other")], as_json_patch, 422),
        ("another type", url, [op("replace", "", value={"resourceType": "Group"})], as_json_patch, 422),
        ("a huge index", url, [op("add", "/name/99999999999999", value={})], as_json_patch, 422),
        ("no patch", url, {"op": "add"}, as_json_patch, 400),
        ("not JSON", url, b"{", as_json_patch, 400),
        ("too deep", url, deep, as_json_patch, 413),
        ("a resource", url, {"resourceType": "Patient", "id": "refused"}, fhir, 422),
        ("a JSON Patch as FHIR", url, [op("remove", "/active")], fhir, 400),
        (
            "Parameters as JSON Patch",
            url,
            parameters(operation("delete", "Patient.active")),
            as_json_patch,
            400,
        ),
        ("parameters without operations", url, {"resourceType": "Parameters"}, fhir, 400),
        (
            "a FHIRPath to nothing",
            url,
            parameters(operation("replace", "Patient.name", value={"valueString": "x"})),
            fhir,
            422,
        ),
        ("xml", url, b"<diff/>", xml, 415),
        ("no such resource", "/r4/Patient/never", [op("remove", "/active")], as_json_patch, 404),
        ("an invalid id", "/r4/Patient/no_id", [op("remove", "/active")], as_json_patch, 400),
        ("an unknown type", "/r4/Sandwich/1", [op("remove", "/active")], as_json_patch, 404),
        ("a type", "/r4/Patient", [op("remove", "/active")], as_json_patch, 405),
        ("an old version", url, [op("remove", "/active")], as_json_patch | {"If-Match": 'W/"99"'}, 412),
        (
            "a condition",
            url,
            [op("remove", "/active")],
            as_json_patch | {"If-None-Exist": "identifier=1"},
            422,
        ),
    ):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        response = await client.patch(path, content=body, headers=headers)
        outcome = response.json()
        if response.status_code != status or outcome["resourceType"] != "OperationOutcome":
            wrong[name] = (response.status_code, response.text[:300])
        assert (response.headers.get("accept-patch") == FORMATS) is (status == 415)
    assert wrong == {}
    assert (await client.get(url)).headers["etag"] == etag
    await client.delete(url)
    assert (await json_patch(client, url, op("remove", "/active"))).status_code == 410


async def test_options_and_metadata_name_the_formats(client: httpx.AsyncClient) -> None:
    assert (await client.options("/r4/Patient/1")).headers["accept-patch"] == FORMATS
    for base in BASES:
        statement = (await client.get(f"/{base}/metadata")).json()
        assert statement["patchFormat"] == FORMATS.split(", ")
        resources = {each["type"]: each for each in statement["rest"][0]["resource"]}
        for resource_type in ("Patient", "Subscription", "Basic" if base == "r4" else "SubscriptionTopic"):
            codes = [each["code"] for each in resources[resource_type]["interaction"]]
            assert "patch" in codes, (base, resource_type)
        assert resources["Patient"].get("conditionalPatch") is (True if base == "r5" else None)


async def test_if_match_and_criteria_are_honoured(client: httpx.AsyncClient) -> None:
    url, criteria = "/r4/Patient/conditional", "/r4/Patient?identifier=urn:patch|1"
    identifier = [{"system": "urn:patch", "value": "1"}]
    assert (await json_patch(client, criteria, op("remove", "/active"))).status_code == 404
    first = await put(client, url, active=True, identifier=identifier)
    etag = first.headers["etag"]
    change = op("add", "/gender", value="male")
    assert (await json_patch(client, criteria, change, If_Match='W/"99"')).status_code == 412
    response = await json_patch(client, criteria, change, If_Match=etag)
    assert (response.status_code, response.json().get("gender")) == (200, "male"), response.text
    assert (await json_patch(client, url, change, If_Match=etag)).status_code == 412
    response = await fhirpath_patch(client, criteria, operation("delete", "Patient.gender"))
    assert (response.status_code, "gender" in response.json()) == (200, False), response.text
    await put(client, "/r4/Patient/conditional-too", identifier=identifier)
    assert (await json_patch(client, criteria, change)).status_code == 412
    assert (await json_patch(client, "/r4/Patient?name=x", change)).status_code == 422


async def test_a_repetition_under_the_same_idempotency_key_is_answered_without_a_change(
    client: httpx.AsyncClient,
) -> None:
    url = "/r4/Patient/repeated"
    await put(client, url, active=True)
    once = (op("test", "/active", value=True), op("remove", "/active"))
    first = await json_patch(client, url, *once, Idempotency_Key="once")
    again = await json_patch(client, url, *once, Idempotency_Key="once")
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert first.headers["etag"] == again.headers["etag"]
    assert first.content == again.content
    append = op("add", "/name", value=[{"family": "N"}])
    first = await json_patch(client, url, append, Idempotency_Key="twice")
    again = await json_patch(client, url, append, Idempotency_Key="twice")
    assert first.headers["etag"] == again.headers["etag"]
    other = await json_patch(client, url, op("remove", "/name"), Idempotency_Key="twice")
    assert other.status_code == 422
    assert (await json_patch(client, url, *once)).status_code == 422


async def test_concurrent_patches_lose_no_update(
    client: httpx.AsyncClient, start_broker: StartBroker
) -> None:
    base, path = str(client.base_url).rstrip("/"), "/r4/Patient/crowded"
    await put(client, path, name=[{"family": "F"}])
    async with (
        start_broker(base_url=base) as second,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{second.settings.port}",
            headers=client.headers,
            trust_env=False,
            timeout=60,
        ) as other,
    ):
        responses = await asyncio.gather(
            *(json_patch(client, path, op("add", "/name/-", value={"family": f"j{n}"})) for n in range(6)),
            *(fhirpath_patch(other, path, _add_family(f"p{n}")) for n in range(6)),
        )
    assert [response.status_code for response in responses] == [200] * 12
    families = {name["family"] for name in (await client.get(path)).json()["name"]}
    assert families == {"F", *(f"j{n}" for n in range(6)), *(f"p{n}" for n in range(6))}
    assert len({response.headers["etag"] for response in responses}) == 12


def _add_family(family: str) -> dict[str, Any]:
    return operation("add", "Patient", name="name", value={"valueHumanName": {"family": family}})


async def test_entries_of_a_batch_are_patches_of_both_formats(client: httpx.AsyncClient) -> None:
    await put(client, "/r4/Patient/in-batch", active=True)
    response = await send(
        client,
        "batch",
        entry("Patient/in-batch", binary(op("replace", "/active", value=False))),
        entry("Patient/never", binary(op("remove", "/active"))),
        entry("Patient/in-batch", {"resourceType": "Patient", "id": "in-batch"}),
    )
    statuses = [each["response"]["status"][:3] for each in response.json()["entry"]]
    assert statuses == ["200", "404", "422"]
    add = operation("add", "Patient", name="gender", value={"valueCode": "male"})
    response = await send(client, "batch", entry("Patient/in-batch", parameters(add)))
    assert response.json()["entry"][0]["response"]["status"] == "200 OK"
    stored = (await client.get("/r4/Patient/in-batch")).json()
    assert (stored["active"], stored["gender"]) == (False, "male")


async def test_patches_in_a_transaction_are_written_with_the_other_entries_or_not_at_all(
    client: httpx.AsyncClient,
) -> None:
    identifier = [{"system": "urn:patch", "value": "transaction"}]
    for name in ("a", "b"):
        await put(
            client,
            f"/r4/Patient/in-transaction-{name}",
            active=True,
            identifier=identifier if name == "a" else [{"value": name}],
        )
    link = operation(
        "add",
        "Patient",
        name="managingOrganization",
        value={"valueReference": {"reference": "urn:uuid:0b54f6a0-1111-4222-8333-0123456789ab"}},
    )
    organization = entry("Organization", {"resourceType": "Organization", "name": "O"}, "POST") | {
        "fullUrl": "urn:uuid:0b54f6a0-1111-4222-8333-0123456789ab"
    }
    good = entry("Patient?identifier=urn:patch|transaction", parameters(link))
    failing = entry("Patient/in-transaction-b", binary(op("test", "/active", value=False)))
    response = await send(client, "transaction", good, failing, organization)
    assert response.status_code == 422, response.text
    assert response.json()["issue"][0]["expression"] == ["Bundle.entry[1].request"]
    assert "managingOrganization" not in (await client.get("/r4/Patient/in-transaction-a")).json()
    passing = entry("Patient/in-transaction-b", binary(op("remove", "/active")))
    response = await send(client, "transaction", good, passing, organization)
    assert response.status_code == 200, response.text
    statuses = [each["response"]["status"][:3] for each in response.json()["entry"]]
    assert statuses == ["200", "200", "201"]
    patched = (await client.get("/r4/Patient/in-transaction-a")).json()
    created = response.json()["entry"][2]["response"]["location"]
    assert patched["managingOrganization"]["reference"] == "/".join(created.split("/r4/")[1].split("/")[:2])
    assert "active" not in (await client.get("/r4/Patient/in-transaction-b")).json()
