"""A scope with a restriction opens the resources that meet it, in every release; all others do not exist for
the client.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.scopes import parse_scopes
from tests.conftest import StartBroker

CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "meta": {"security": [LABEL], "tag": [{"system": "urn:tags", "code": "ward-3"}]},
    "status": "final",
    "category": [{"coding": [{"system": CATEGORY, "code": "vital-signs"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
    "subject": {"reference": "Patient/ana"},
}
PATIENT = {"resourceType": "Patient", "id": "ana"}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    return Principal("client", DEFAULT_TENANT, parse_scopes(scopes), frozenset())


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


async def put(client: httpx.AsyncClient, resource: dict[str, Any]) -> None:
    response = await client.put(f"/r4/{resource['resourceType']}/{resource['id']}", json=resource)
    assert response.is_success, response.text


@pytest.mark.parametrize(
    ("scopes", "is_open"),
    [
        (f"system/Observation.rs?category={CATEGORY}|vital-signs", True),
        ("system/Observation.r?category=vital-signs", True),
        ("system/Observation.r?category=laboratory,vital-signs", True),
        ("system/Observation.r?category=laboratory", False),
        ("system/Observation.r?category=http://other|vital-signs", False),
        ("system/Observation.r?category=vital-signs&code=http://loinc.org|8867-4", True),
        ("system/Observation.r?category=vital-signs&code=http://loinc.org|29463-7", False),
        ("system/Observation.r?code=29463-7 system/Observation.r?code=8867-4", True),
        ("system/Observation.r?patient=Patient/ana", True),
        ("system/Observation.r?patient=ana", True),
        ("system/Observation.r?patient=Patient/ben", False),
        ("system/*.r?_security=R", True),
        ("system/*.r?_security=N", False),
        ("system/Observation.r?_tag=urn:tags|ward-3", True),
        ("system/Observation.r?_tag=urn:tags|ward-4", False),
        ("system/Observation.r?category=laboratory system/Observation.r", True),
    ],
)
async def test_a_read_is_restricted_to_what_the_scope_names(
    client: httpx.AsyncClient, scopes: str, *, is_open: bool
) -> None:
    await put(client, OBSERVATION)
    headers = {"X-Scopes": scopes}
    for release in ("r4", "r4b", "r5"):
        for path in ("Observation/o1", "Observation/o1/_history/1"):
            response = await client.get(f"/{release}/{path}", headers=headers)
            assert response.status_code == (200 if is_open else 404), (path, response.text)
        entry = {"request": {"method": "GET", "url": "Observation/o1"}}
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
        batch = (await client.post(f"/{release}", json=bundle, headers=headers)).json()
        assert batch["entry"][0]["response"]["status"][:3] == ("200" if is_open else "404")


async def test_what_is_excluded_looks_as_if_it_did_not_exist(client: httpx.AsyncClient) -> None:
    headers = {"X-Scopes": "system/*.r?_security=R"}
    await put(client, OBSERVATION)
    await put(client, PATIENT)
    excluded = await client.get("/r4/Patient/ana", headers=headers)
    absent = await client.get("/r4/Patient/bob", headers=headers)
    assert excluded.status_code == absent.status_code == 404
    assert excluded.text == absent.text.replace("bob", "ana")
    assert {"ETag", "Last-Modified"}.isdisjoint(excluded.headers)
    conditional = headers | {"If-None-Match": 'W/"1"'}
    assert (await client.get("/r4/Patient/ana", headers=conditional)).status_code == 404
    await put(client, {name: value for name, value in OBSERVATION.items() if name != "meta"})
    assert (await client.get("/r4/Observation/o1", headers=headers)).status_code == 404, "judged as it is now"
    earlier = await client.get("/r4/Observation/o1/_history/1", headers=headers)
    assert earlier.status_code == 404, "so are its earlier versions"
    assert (await client.get("/r4/Observation/o1/_history/2", headers=headers)).status_code == 404
    assert (await client.delete("/r4/Observation/o1")).status_code == 204
    assert (await client.get("/r4/Observation/o1", headers=headers)).status_code == 404
    assert (await client.get("/r4/Observation/o1")).status_code == 410


async def test_a_restricted_scope_opens_nothing_else(client: httpx.AsyncClient) -> None:
    await put(client, OBSERVATION)
    headers = {"X-Scopes": "system/*.rs?_security=R"}
    for method, path in (
        ("GET", "Subscription"),
        ("GET", "SubscriptionTopic"),
        ("GET", "OperationDefinition"),
        ("DELETE", "Observation/o1"),
        ("POST", "Observation/$validate"),
    ):
        response = await client.request(method, f"/r4/{path}", headers=headers)
        assert response.status_code == 403, path
