"""The simulated EHR over HTTP: its interactions, what it refuses, its faults, its authorization server."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.errors import ConfigurationError
from broker.testing.ehr import SimulatedEhr
from broker.testing.ehr_faults import LoseAnswer, LoseRequest, Refuse, Slow, WriteConcurrently, WriteTwice
from broker.testing.readings import BLOOD_PRESSURE, HEART_RATE, observation
from tests.smart_clients import auth_of, key_of

AT = "2025-06-15T15:06:40Z"
PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "7"}]}


def heart_rate(value: float = 80) -> dict[str, Any]:
    return observation(HEART_RATE, "p1", AT, value)


def transaction(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


@pytest.fixture
async def ehr() -> AsyncIterator[SimulatedEhr]:
    async with SimulatedEhr(max_entries=3) as ehr:
        yield ehr


@pytest.fixture
async def client(ehr: SimulatedEhr) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=ehr.base, trust_env=False, timeout=60) as client:
        yield client


async def test_a_resource_is_created_read_updated_and_deleted(client: httpx.AsyncClient) -> None:
    created = await client.post("/Observation", json=heart_rate())
    assert created.status_code == 201
    assert created.headers["etag"] == 'W/"1"'
    own_id = created.json()["id"]
    assert created.headers["location"].endswith(f"/r4/Observation/{own_id}/_history/1")
    url = f"/Observation/{own_id}"
    changed = heart_rate(90) | {"id": own_id}
    updated = await client.put(url, json=changed, headers={"If-Match": 'W/"1"'})
    assert (updated.status_code, updated.headers["etag"]) == (200, 'W/"2"')
    late = await client.put(url, json=changed, headers={"If-Match": 'W/"1"'})
    assert late.status_code == 412
    assert (await client.get(url)).json()["valueQuantity"]["value"] == 90
    assert (await client.get(f"{url}/_history/1")).json()["valueQuantity"]["value"] == 80
    assert (await client.delete(url)).status_code == 204
    assert (await client.get(url)).status_code == 410
    history = (await client.get(f"{url}/_history")).json()
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "PUT"]
    assert (await client.get("/Observation/unknown")).status_code == 404


async def test_conditions_find_one_resource_or_are_refused(
    client: httpx.AsyncClient, ehr: SimulatedEhr
) -> None:
    condition = {"If-None-Exist": "identifier=urn:mrn|7"}
    assert (await client.post("/Patient", json=PATIENT, headers=condition)).status_code == 201
    assert (await client.post("/Patient", json=PATIENT, headers=condition)).status_code == 200
    assert len(ehr.store.resources("Patient")) == 1
    active = PATIENT | {"active": True}
    updated = await client.put("/Patient", params={"identifier": "urn:mrn|7"}, json=active)
    assert (updated.status_code, updated.headers["etag"]) == (200, 'W/"2"')
    other = await client.put("/Patient", params={"identifier": "urn:mrn|8"}, json=PATIENT)
    assert other.status_code == 201
    assert (await client.post("/Patient", json=PATIENT, headers=condition)).status_code == 412
    assert (await client.put("/Patient", json=PATIENT)).status_code == 400
    several = await client.delete("/Patient", params={"identifier": "urn:mrn|7"})
    assert several.status_code == 412
    assert (await client.delete("/Patient")).status_code == 400
    other_id = other.json()["id"]
    for _ in range(2):
        assert (await client.delete("/Patient", params={"_id": other_id})).status_code == 204
    assert [each["id"] for each in ehr.store.resources("Patient")] == [updated.json()["id"]]


async def test_resources_are_searched_page_by_page(client: httpx.AsyncClient) -> None:
    for value in range(5):
        await client.post("/Observation", json=heart_rate(60 + value))
    query = {"patient": "p1", "code": "http://loinc.org|8867-4", "date": "ge2025-06-15", "_count": "2"}
    found: list[float] = []
    page = (await client.get("/Observation", params=query)).json()
    while True:
        assert page["total"] == 5
        found += [entry["resource"]["valueQuantity"]["value"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        page = (await client.get(following[0])).json()
    assert found == [60, 61, 62, 63, 64]
    posted = await client.post("/Observation/_search", data={"date": "lt2025-06-15"})
    assert posted.json()["total"] == 0
    assert (await client.get("/Observation", params={"_count": "many"})).status_code == 400
    refused = await client.get("/Observation", params={"unknown": "1"})
    assert refused.status_code == 400
    assert "does not search by unknown" in refused.json()["issue"][0]["diagnostics"]


async def test_a_transaction_is_done_as_a_whole_and_its_links_are_rewritten(
    client: httpx.AsyncClient, ehr: SimulatedEhr
) -> None:
    reading = heart_rate() | {"subject": {"reference": "urn:uuid:6b1fb9fd-2b5b-4c77-9d0a-0d7d3f4a1a11"}}
    patient = {
        "fullUrl": "urn:uuid:6b1fb9fd-2b5b-4c77-9d0a-0d7d3f4a1a11",
        "resource": PATIENT,
        "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:mrn|7"},
    }
    sent = transaction({"resource": reading, "request": {"method": "POST", "url": "Observation"}}, patient)
    assert (await client.post("/", json=sent)).status_code == 200
    answer = await client.post("/", json=sent)
    statuses = [entry["response"]["status"] for entry in answer.json()["entry"]]
    assert statuses == ["201", "200"], "the patient was there"
    (stored,) = ehr.store.resources("Patient")
    subjects = {each["subject"]["reference"] for each in ehr.store.resources("Observation")}
    assert subjects == {f"Patient/{stored['id']}"}
    wrong = {"resource": {"resourceType": "Device"}, "request": {"method": "POST", "url": "Observation"}}
    assert (await client.post("/", json=transaction(*sent["entry"], wrong))).status_code == 400
    assert len(ehr.store.resources("Observation")) == 2, "nothing of it was done"
    assert (await client.post("/", json=transaction(*sent["entry"], *sent["entry"]))).status_code == 413
    bare = {"resource": PATIENT}
    assert (await client.post("/", json=transaction(bare))).status_code == 400
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [wrong, sent["entry"][0]]}
    answers = (await client.post("/", json=batch)).json()["entry"]
    assert [entry["response"]["status"] for entry in answers] == ["400", "201"]
    assert answers[0]["response"]["outcome"]["resourceType"] == "OperationOutcome"


async def test_resources_against_the_structure_or_a_profile_are_refused(client: httpx.AsyncClient) -> None:
    pressure = observation(BLOOD_PRESSURE, "p1", AT, 120, 80)
    assert (await client.post("/Observation", json=pressure)).status_code == 201
    cases = [
        (heart_rate() | {"status": 7}, "status"),
        (heart_rate() | {"surprise": 1}, "surprise"),
        (heart_rate() | {"category": []}, "category"),
        (heart_rate() | {"valueQuantity": {"value": 1, "code": "1/s"}}, "the unit is none of /min"),
        (pressure | {"component": pressure["component"][:1]}, "one component with http://loinc.org|8462-4"),
    ]
    for resource, reason in cases:
        refused = await client.post("/Observation", json=resource)
        assert refused.status_code == 422, reason
        assert reason in refused.json()["issue"][0]["diagnostics"]


async def test_required_profiles_have_to_be_claimed() -> None:
    wanted = "http://hl7.org/fhir/StructureDefinition/vitalsigns"
    async with (
        SimulatedEhr(required_profiles={"Observation": [wanted]}) as ehr,
        httpx.AsyncClient(base_url=ehr.base, trust_env=False, timeout=60) as client,
    ):
        assert (await client.post("/Observation", json=heart_rate())).status_code == 422
        claiming = heart_rate() | {"meta": {"profile": [wanted]}}
        assert (await client.post("/Observation", json=claiming)).status_code == 201
        assert (await client.post("/Patient", json=PATIENT)).status_code == 201


async def test_it_fails_on_request(client: httpx.AsyncClient, ehr: SimulatedEhr) -> None:
    ehr.faults.add(Refuse(429, retry_after_s=3), Refuse(503), method="POST")
    first = await client.post("/Patient", json=PATIENT)
    assert (first.status_code, first.headers["retry-after"]) == (429, "3")
    assert (await client.get("/Patient")).status_code == 200, "the other fault is for a POST"
    assert (await client.post("/Patient", json=PATIENT)).status_code == 503
    assert not ehr.store.resources("Patient")
    ehr.faults.add(LoseRequest(), LoseAnswer(), Slow(0.01), path="Patient")
    for count in (0, 1):
        with pytest.raises(httpx.TransportError):
            await client.post("/Patient", json=PATIENT)
        assert len(ehr.store.resources("Patient")) == count
    assert (await client.post("/Patient", json=PATIENT)).status_code == 201
    ehr.faults.add(WriteTwice())
    await client.post("/Patient", json=PATIENT)
    assert len(ehr.store.resources("Patient")) == 4
    (first_patient, *_) = ehr.store.resources("Patient")
    url = f"/Patient/{first_patient['id']}"
    ehr.faults.add(WriteConcurrently())
    conflict = await client.put(url, json=first_patient, headers={"If-Match": 'W/"1"'})
    assert conflict.status_code == 412
    ehr.faults.add(WriteConcurrently(), path="")
    request = {"method": "PUT", "url": url.strip("/"), "ifMatch": 'W/"2"'}
    conflict = await client.post("/", json=transaction({"resource": first_patient, "request": request}))
    assert conflict.status_code == 412
    assert ehr.faults.is_empty
    answered = [request.answered for request in ehr.requests]
    assert answered == [429, 200, 503, 0, 0, 201, 201, 412, 412]


async def test_it_says_what_it_can(client: httpx.AsyncClient) -> None:
    capabilities = (await client.get("/metadata")).json()
    (observations,) = [each for each in capabilities["rest"][0]["resource"] if each["type"] == "Observation"]
    assert observations["conditionalCreate"] is True
    assert {"name": "identifier", "type": "token"} in observations["searchParam"]
    assert "http://hl7.org/fhir/StructureDefinition/heartrate" in observations["supportedProfile"]


async def test_only_registered_clients_with_a_scope_may_write() -> None:
    async with (
        SimulatedEhr(is_guarded=True) as ehr,
        httpx.AsyncClient(base_url=ehr.base, trust_env=False, timeout=60) as client,
    ):
        assert (await client.post("/Patient", json=PATIENT)).status_code == 401
        assert (await client.get("/metadata")).status_code == 200
        jwks = {"keys": [dict(key_of("gateway").public_jwk)]}
        ehr.authorization.register("gateway", "system/Patient.cu system/Observation.read", jwks=jwks)
        auth = auth_of(ehr.origin, "gateway", "system/Patient.c")
        assert (await client.post("/Patient", json=PATIENT, auth=auth)).status_code == 201
        assert (await client.get("/Patient", auth=auth)).status_code == 403
        assert (await client.post("/Observation", json=heart_rate(), auth=auth)).status_code == 403
        entry = {"resource": PATIENT, "request": {"method": "POST", "url": "Patient"}}
        assert (await client.post("/", json=transaction(entry), auth=auth)).status_code == 200
        other = {"resource": heart_rate(), "request": {"method": "POST", "url": "Observation"}}
        assert (await client.post("/", json=transaction(entry, other), auth=auth)).status_code == 403
        ehr.authorization.revoke_tokens()
        assert (await client.post("/Patient", json=PATIENT, auth=auth)).status_code == 201, "a new token"
        reader = auth_of(ehr.origin, "gateway", "system/Observation.rs")
        assert (await client.get("/Observation", auth=reader)).status_code == 200
        for name, scope in (("gateway", "system/*.cruds"), ("unknown", "system/Patient.c")):
            with pytest.raises(ConfigurationError):
                await client.get("/Patient", auth=auth_of(ehr.origin, name, scope))


async def test_an_assertion_counts_once_and_for_its_token_endpoint() -> None:
    async with (
        SimulatedEhr(is_guarded=True) as ehr,
        httpx.AsyncClient(base_url=ehr.origin, trust_env=False, timeout=60) as client,
    ):
        key = key_of("gateway")
        ehr.authorization.register("gateway", "system/*.rs", jwks={"keys": [dict(key.public_jwk)]})

        async def ask(assertion: str) -> httpx.Response:
            form = {
                "grant_type": "client_credentials",
                "scope": "system/Patient.rs",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": assertion,
            }
            return await client.post("/token", data=form)

        good = key.client_assertion("gateway", f"{ehr.origin}/token")
        assert (await ask(good)).status_code == 200
        elsewhere = key.client_assertion("gateway", "https://other.example/token")
        foreign = key_of("other").client_assertion("gateway", f"{ehr.origin}/token")
        for bad in (good, elsewhere, foreign, "a.b.c", ""):
            refused = await ask(bad)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
