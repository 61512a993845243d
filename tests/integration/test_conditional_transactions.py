"""Conditional references and conditional entries of transactions: resolved, or refused."""

from typing import Any

import httpx

from tests.integration.conditional_client import patient, reading, send

NPI = "http://hl7.org/fhir/sid/us-npi"
URN = "urn:uuid:0b54f6a0-1111-4222-8333-0123456789ab"


def entry(method: str, url: str, resource: Any = None, full_url: str = "", **request: str) -> dict[str, Any]:
    parts: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    if resource is not None:
        parts["resource"] = resource
    if full_url:
        parts["fullUrl"] = full_url
    return parts


async def transact(client: httpx.AsyncClient, *entries: dict[str, Any]) -> httpx.Response:
    return await send(
        client, "POST", "/r4", {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    )


async def test_conditional_references_are_resolved_in_transactions(client: httpx.AsyncClient) -> None:
    search = f"Practitioner?identifier={NPI}|1"
    none = await transact(client, entry("POST", "Observation", reading("Patient/p", search)))
    assert none.status_code == 412
    element = "Bundle.entry[0].resource.performer[0].reference"
    assert none.json()["issue"][0]["expression"] == [element]
    practitioner = {"resourceType": "Practitioner", "identifier": [{"system": NPI, "value": "1"}]}
    await send(client, "PUT", "/r4/Practitioner/a", practitioner | {"id": "a"})
    stored = await transact(client, entry("POST", "Observation", reading("Patient/p", search)))
    location = stored.json()["entry"][0]["response"]["location"]
    assert (await client.get(location)).json()["performer"][0]["reference"] == "Practitioner/a"
    await send(client, "PUT", "/r4/Practitioner/b", practitioner | {"id": "b"})
    several = await transact(client, entry("POST", "Observation", reading("Patient/p", search)))
    assert several.status_code == 412
    for wrong in ("Practitioner?name=x", "Sandwich?identifier=1", "Practitioner?identifier="):
        refused = await transact(client, entry("POST", "Observation", reading("Patient/p", wrong)))
        assert refused.status_code == 422, wrong
        assert refused.json()["issue"][0]["expression"] == [element]


async def test_a_conditional_reference_finds_what_the_transaction_itself_writes(
    client: httpx.AsyncClient,
) -> None:
    response = await transact(
        client,
        entry("POST", "Observation", reading("Patient?identifier=urn:m|1", "Patient/p")),
        entry("POST", "Patient", patient("1"), ifNoneExist="identifier=urn:m|1"),
    )
    locations = [each["response"]["location"] for each in response.json()["entry"]]
    subject = (await client.get(locations[0])).json()["subject"]["reference"]
    assert subject == "/".join(locations[1].split("/")[-4:-2])


async def test_a_conditional_reference_outside_a_transaction_is_refused(client: httpx.AsyncClient) -> None:
    refused = await send(client, "POST", "/r4/Observation", reading("Patient?identifier=1", "Patient/p"))
    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == ["Observation.subject.reference"]


async def test_a_transaction_may_update_and_delete_by_criteria(client: httpx.AsyncClient) -> None:
    await send(client, "PUT", "/r4/Patient/a", patient("1", id="a"))
    response = await transact(
        client,
        entry("PUT", "Patient?identifier=urn:m|1", patient("1", active=True), full_url=URN),
        entry("POST", "Observation", reading(URN, "Patient/p")),
        entry("DELETE", "Patient?identifier=urn:m|none"),
    )
    assert [each["response"]["status"][:3] for each in response.json()["entry"]] == ["200", "201", "204"]
    observation = (await client.get(response.json()["entry"][1]["response"]["location"])).json()
    assert observation["subject"]["reference"] == "Patient/a"
    overlap = await transact(
        client,
        entry("PUT", "Patient?identifier=urn:m|1", patient("1")),
        entry("PUT", "Patient/a", patient("1", id="a")),
    )
    assert overlap.status_code == 422
    new_only = entry("PUT", "Patient/a", patient("1", id="a"), ifNoneMatch="*")
    assert (await transact(client, new_only)).status_code == 412
