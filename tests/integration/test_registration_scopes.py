"""Who registers a Subscription has to be able to read what it exposes (S-089, R-179): the types of its topic
and of its chained filters, and with full-resource what the topic includes. A conditional request needs to
search.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.scopes import parse_scopes
from broker.testing.registration import subscription
from tests.conftest import StartBroker

TOPICS = "http://fhir-broker.org/topics/"
NOWHERE = "http://127.0.0.1:9/never"
CREATE = "system/Subscription.c"


async def authenticate(headers: Mapping[str, str]) -> Principal:
    """A client with the scopes of the header X-Scopes; the open one without it."""
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    return Principal("client", DEFAULT_TENANT, parse_scopes(scopes), frozenset())


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


def missing(response: httpx.Response) -> set[str]:
    """The scopes that a refusal names; none for what was accepted."""
    if response.status_code in {200, 201}:
        return set()
    assert response.status_code == 403, response.text
    challenge = response.headers["WWW-Authenticate"]
    scopes = set(challenge.partition('scope="')[2].rstrip('"').split())
    assert 'error="insufficient_scope"' in challenge
    assert all(scope in response.json()["issue"][0]["diagnostics"] for scope in scopes)
    return scopes


@pytest.mark.parametrize(
    ("topic", "options", "needed"),
    [
        ("vital-signs", {}, {"Observation"}),
        ("vital-signs", {"content": "empty"}, {"Observation"}),
        ("vital-signs", {"filters": ["patient=Patient/1"]}, {"Observation"}),
        ("vital-signs", {"content": "full-resource"}, {"Observation", "Patient", "Device", "DeviceMetric"}),
        ("vital-signs", {"filters": ["patient.identifier=urn:mrn|7"]}, {"Observation", "Patient"}),
        ("encounter-start", {}, {"Encounter"}),
        ("patient-demographics", {}, {"Patient"}),
    ],
)
async def test_a_registration_names_the_scopes_that_are_missing(
    client: httpx.AsyncClient, topic: str, options: dict[str, Any], needed: set[str]
) -> None:
    scopes = {f"system/{name}.r" for name in needed}
    for release in ("r4", "r5"):
        document = subscription(release, TOPICS + topic, NOWHERE, **options)
        url = f"/{release}/Subscription"

        async def post(granted: set[str], url: str = url, body: Any = document) -> httpx.Response:
            headers = {"X-Scopes": " ".join({CREATE, "system/Subscription.u", *granted})}
            return await client.post(url, json=body, headers=headers)

        assert missing(await post(set())) == scopes
        for scope in scopes:
            assert missing(await post(scopes - {scope})) == {scope}
        assert missing(await post({"system/Observation.s", "system/Device.cud"})) == scopes
        accepted = await post(scopes)
        assert accepted.status_code == 201, accepted.text
        assert (await post({"system/*.r"})).status_code == 201
        changed = await client.put(
            f"{url}/{accepted.json()['id']}",
            json=document | {"id": accepted.json()["id"]},
            headers={"X-Scopes": "system/Subscription.u"},
        )
        assert missing(changed) == scopes
        parameters = [{"name": "subscription", "resource": document}]
        dry = {"resourceType": "Parameters", "parameter": parameters}
        assert missing(await post(set(), f"{url}/$dry-run", dry)) == scopes
        assert (await post(scopes, f"{url}/$dry-run", dry)).status_code == 200


async def test_explain_needs_to_read_the_resource(client: httpx.AsyncClient) -> None:
    read = "system/Observation.r"
    document = subscription("r4", TOPICS + "vital-signs", NOWHERE)
    created = await client.post("/r4/Subscription", json=document, headers={"X-Scopes": f"{CREATE} {read}"})
    patient = (await client.post("/r4/Patient", json={"resourceType": "Patient"})).json()
    url = f"/r4/Subscription/{created.json()['id']}/$explain"

    async def explain(parameter: dict[str, Any], scopes: str) -> httpx.Response:
        body = {"resourceType": "Parameters", "parameter": [parameter]}
        return await client.post(url, json=body, headers={"X-Scopes": f"system/Subscription.r {scopes}"})

    for parameter in (
        {"name": "reference", "valueString": f"Patient/{patient['id']}"},
        {"name": "resource", "resource": {"resourceType": "Patient", "id": patient["id"]}},
    ):
        assert missing(await explain(parameter, read)) == {"system/Patient.r"}
        assert (await explain(parameter, "system/Patient.r")).status_code == 200


async def test_a_conditional_reference_needs_to_search_its_target(client: httpx.AsyncClient) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "7"}]}
    assert (await client.post("/r4/Patient", json=patient)).status_code == 201
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pulse"},
        "subject": {"reference": "Patient?identifier=urn:mrn|7"},
    }
    entry = {"resource": observation, "request": {"method": "POST", "url": "Observation"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}

    async def post(scopes: str) -> httpx.Response:
        return await client.post("/r4", json=bundle, headers={"X-Scopes": scopes})

    assert (await post("system/Observation.c")).status_code == 403
    assert (await post("system/Observation.c system/Patient.r")).status_code == 403
    assert (await post("system/Observation.c system/Patient.s")).status_code == 200


async def test_a_patch_shows_the_resource_only_to_who_may_read_it(client: httpx.AsyncClient) -> None:
    created = await client.post("/r4/Patient", json={"resourceType": "Patient", "language": "de"})
    url = f"/r4/Patient/{created.json()['id']}"
    patch = [{"op": "add", "path": "/active", "value": True}]
    headers = {"Content-Type": "application/json-patch+json"}
    blind = await client.patch(url, json=patch, headers=headers | {"X-Scopes": "system/Patient.u"})
    assert (blind.status_code, blind.content) == (200, b"")
    assert blind.headers["ETag"] == 'W/"2"'
    seeing = await client.patch(url, json=patch, headers=headers | {"X-Scopes": "system/Patient.ru"})
    assert seeing.json()["language"] == "de"
