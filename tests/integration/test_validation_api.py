"""`$validate`, and that what it refuses is refused by every way in: HTTP, batch, transaction, inbox."""

import json
from typing import Any

import httpx
import orjson
import pytest
from fhirpy import AsyncFHIRClient

from broker.app import Running
from broker.model.release import Release
from broker.store.protocol import Store
from tests.fhir.rows import read_back
from tests.integration.test_inbox import put, refusals, until_empty

PATIENT = {"resourceType": "Patient"}
WITH_ERROR = PATIENT | {"birthDate": "2024-02-30"}
REPEATED = '{"resourceType":"Patient","gender":"unknown","gender":"male"}'


def parameters(resource: Any = None, **values: str) -> bytes:
    listed: list[Any] = [{"name": "resource", "resource": resource}] if resource is not None else []
    listed += [{"name": name, "valueString": value} for name, value in values.items()]
    return orjson.dumps({"resourceType": "Parameters", "parameter": listed})


async def validate(
    client: httpx.AsyncClient, path: str, body: Any, release: Release = Release.R4
) -> list[dict[str, Any]]:
    """The issues of an answer of 200."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    response = await client.post(f"/{release}/{path}", content=content)
    assert response.status_code == 200, response.text
    read_back(release, response.content)
    issues: list[dict[str, Any]] = response.json()["issue"]
    return issues


async def test_a_resource_is_validated_without_being_stored(client: httpx.AsyncClient) -> None:
    for release in Release:
        for path in ("Patient/$validate", "Patient/none/$validate"):
            for body in (PATIENT, parameters(PATIENT), parameters(PATIENT, mode="create")):
                (issue,) = await validate(client, path, body, release)
                assert (issue["severity"], issue["code"]) == ("information", "informational")
            for body in (WITH_ERROR, parameters(WITH_ERROR), parameters(WITH_ERROR, mode="create")):
                (issue,) = await validate(client, path, body, release)
                assert (issue["severity"], issue["expression"]) == ("error", ["Patient.birthDate"])
    assert (await client.get("/r4/Patient/none")).status_code == 404
    (issue,) = await validate(client, "Patient/$validate", {"resourceType": "Device"})
    assert issue["expression"] == ["resourceType"]
    (issue,) = await validate(client, "Parameters/$validate", {"resourceType": "Parameters"})
    assert issue["severity"] == "information"


async def test_the_mode_says_what_must_be_right(client: httpx.AsyncClient) -> None:
    with_id = PATIENT | {"id": "a"}
    search = PATIENT | {"managingOrganization": {"reference": "Organization?identifier=x"}}
    for path, body, expected in (
        ("Patient/a/$validate?mode=update", with_id, None),
        ("Patient/$validate?mode=update", with_id, None),
        ("Patient/a/$validate", parameters(with_id, mode="update"), None),
        ("Patient/b/$validate", parameters(with_id, mode="update"), "Patient.id"),
        ("Patient/$validate?mode=update", PATIENT, "Patient.id"),
        ("Patient/$validate", search, None),
        ("Patient/$validate?mode=create", search, "Patient.managingOrganization.reference"),
        ("Patient/a/$validate?mode=delete", b"", None),
        ("Patient/a/$validate", parameters(mode="delete"), None),
    ):
        (issue,) = await validate(client, path, body)
        assert issue.get("expression", [None]) == [expected], path
    (issue,) = await validate(client, "Patient/$validate", parameters(mode="delete"))
    assert issue["severity"] == "error"


async def test_what_cannot_be_validated_is_refused(client: httpx.AsyncClient) -> None:
    core = "http://hl7.org/fhir/StructureDefinition/Patient"
    (issue,) = await validate(client, "Patient/$validate", parameters(PATIENT, profile=core))
    assert issue["severity"] == "information"
    (issue,) = await validate(client, f"Patient/$validate?mode=profile&profile={core}|4.0.1", WITH_ERROR)
    assert issue["expression"] == ["Patient.birthDate"]
    unknown = "http://example.org/StructureDefinition/p"
    for path, body, status, named in (
        ("Patient/$validate", parameters(PATIENT, profile=unknown), 422, unknown),
        (f"Patient/$validate?profile={unknown}", PATIENT, 422, unknown),
        ("Patient/$validate?mode=replace", PATIENT, 400, "replace"),
        ("Patient/$validate?mode=profile", PATIENT, 400, "profile"),
        ("Patient/$validate?mode=create&mode=update", PATIENT, 400, "mode"),
        ("Patient/$validate?mode=create", parameters(PATIENT, mode="create"), 400, "mode"),
        ("Patient/$validate?colour=red", PATIENT, 400, "colour"),
        ("Patient/$validate", parameters(PATIENT, colour="red"), 400, "colour"),
        ("Patient/$validate", b"", 400, "resource"),
        ("Patient/$validate", b"{", 400, "JSON"),
        ("Patient/$validate", REPEATED.encode(), 400, "Patient.gender"),
        ("Nothing/$validate", PATIENT, 404, "Nothing"),
    ):
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        response = await client.post(f"/r4/{path}", content=content)
        assert response.status_code == status, (path, response.text)
        assert named in response.text


async def test_the_mode_profile_judges_the_stored_resource(client: httpx.AsyncClient) -> None:
    core = "http://hl7.org/fhir/StructureDefinition/Patient"
    created = (await client.post("/r4/Patient", json=PATIENT)).json()["id"]
    for release in Release:
        for path, body in (
            (f"Patient/{created}/$validate?mode=profile&profile={core}", b""),
            (f"Patient/{created}/$validate", parameters(mode="profile", profile=core)),
        ):
            (issue,) = await validate(client, path, body, release)
            assert issue["severity"] == "information"
    heart_rate = "http://hl7.org/fhir/StructureDefinition/heartrate"
    url = f"/r4/Patient/{created}/$validate?mode=profile&profile={heart_rate}"
    assert (await client.post(url)).status_code == 422
    unknown = await client.post(f"/r4/Patient/unknown/$validate?mode=profile&profile={core}")
    assert unknown.status_code == 404


async def test_a_batch_may_contain_validations(client: httpx.AsyncClient) -> None:
    request = {"method": "POST", "url": "Patient/$validate"}
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": request, "resource": resource} for resource in (PATIENT, WITH_ERROR)],
    }
    entries = (await client.post("/r4", content=orjson.dumps(bundle))).json()["entry"]
    assert [entry["resource"]["issue"][0]["severity"] for entry in entries] == ["information", "error"]


async def test_fhirpy_validates(broker: Running) -> None:
    for release in Release:
        fhirpy = AsyncFHIRClient(f"{broker.settings.base_url}/{release}")
        assert await fhirpy.resource("Patient").is_valid()
        assert not await fhirpy.resource("Patient", birthDate="2024-02-30").is_valid()


@pytest.mark.parametrize(
    ("text", "element"),
    [
        (REPEATED, "gender"),
        ('{"resourceType":"Patient","multipleBirthInteger":1e0}', "multipleBirthInteger"),
        ('{"resourceType":"Patient","extension":[{"url":"urn:x"}]}', "extension[0]"),
    ],
)
async def test_every_way_in_refuses_and_names_the_element(
    client: httpx.AsyncClient, store: Store, text: str, element: str
) -> None:
    single = await client.post("/r4/Patient", content=text)
    assert single.status_code in {400, 422}
    assert single.json()["issue"][0]["expression"] == [f"Patient.{element}"]
    for kind in ("batch", "transaction"):
        request = '{"method":"POST","url":"Patient"}'
        entry = f'{{"request":{request},"resource":{text}}}'
        bundle = f'{{"resourceType":"Bundle","type":"{kind}","entry":[{entry}]}}'
        response = await client.post("/r4", content=bundle)
        answered = response.json()
        if response.status_code == 200:
            assert answered["entry"][0]["response"]["status"].startswith("4")
            answered = answered["entry"][0]["response"]["outcome"]
        assert answered["issue"][0]["expression"][0].endswith(f".{element}")
    await put(store, resource=text)
    await until_empty(store)
    outcomes = [json.loads(refused["outcome"]) for refused in await refusals(store)]
    assert [outcome["issue"][0]["expression"] for outcome in outcomes] == [[f"Patient.{element}"]]


async def test_valid_numbers_are_stored_and_read_as_they_were_written(client: httpx.AsyncClient) -> None:
    for number in ("1e400", "1E-400", "2.00", "123456789012345678901234567890.10"):
        reading = (
            '{"resourceType":"Observation","status":"final","code":{"text":"x"},'
            f'"meta":{{"extension":[{{"url":"urn:x","valueDecimal":{number}}}]}},'
            f'"valueQuantity":{{"value":{number}}}}}'
        )
        created = await client.post("/r5/Observation", content=reading)
        assert created.status_code == 201, created.text
        for release in Release:
            read = await client.get(f"/{release}/Observation/{created.json()['id']}")
            assert read.text.count(f":{number}}}") == 2
