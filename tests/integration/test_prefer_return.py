"""Every write of every type answers in the form that the client prefers: the resource, nothing, or an
OperationOutcome.
"""

from typing import Any

import httpx
import orjson
import pytest

from broker.model.release import Release
from broker.testing.registration import subscription
from tests.fhir.rows import read_back
from tests.integration.search_client import FLAG_TOPIC, NOWHERE, VITALS

FORMS = ("minimal", "representation", "OperationOutcome")


def check_form(release: Release, response: httpx.Response, form: str, resource_type: str) -> None:
    assert response.is_success, response.text
    if form == "minimal":
        assert response.content == b""
        return
    read_back(release, response.content)
    expected = resource_type if form == "representation" else "OperationOutcome"
    assert response.json()["resourceType"] == expected


@pytest.mark.parametrize("release", Release)
async def test_creates_updates_and_deletes(client: httpx.AsyncClient, release: Release) -> None:
    off = subscription(release, VITALS, NOWHERE) | {"status": "off"}
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:m", "value": str(release)}]}
    for form in FORMS:
        headers = {"Prefer": f"return={form}"}
        for body in (off, patient):
            resource_type = str(body["resourceType"])
            created = await client.post(
                f"/{release}/{resource_type}", content=orjson.dumps(body), headers=headers
            )
            assert created.status_code == 201
            assert created.headers["ETag"] == 'W/"1"'
            check_form(release, created, form, resource_type)
            url = created.headers["Location"].partition("/_history")[0]
            with_id = orjson.dumps(body | {"id": url.rpartition("/")[2]})
            check_form(release, await client.put(url, content=with_id, headers=headers), form, resource_type)
            if body is patient:
                exists = {"If-None-Exist": f"identifier=urn:m|{release}"}
                found = await client.post(
                    f"/{release}/Patient", content=orjson.dumps(body), headers=headers | exists
                )
                assert found.status_code == 200
                check_form(release, found, form, resource_type)
            gone = await client.delete(url, headers=headers)
            assert gone.status_code == (200 if form == "OperationOutcome" else 204)
            if form == "OperationOutcome":
                check_form(release, gone, form, resource_type)


async def test_topics_in_both_forms(client: httpx.AsyncClient) -> None:
    for form in FORMS:
        headers = {"Prefer": f"return={form}"}
        url = "/r5/SubscriptionTopic/flags"
        put = await client.put(url, content=orjson.dumps(FLAG_TOPIC), headers=headers)
        check_form(Release.R5, put, form, "SubscriptionTopic")
        basic = (await client.get("/r4/Basic/flags")).content
        put = await client.put("/r4/Basic/flags", content=basic, headers=headers)
        check_form(Release.R4, put, form, "Basic")
        deleted = await client.delete(url, headers=headers)
        assert deleted.status_code == (200 if form == "OperationOutcome" else 204)


@pytest.mark.parametrize("bundle_type", ["batch", "transaction"])
async def test_entries_of_bundles(client: httpx.AsyncClient, bundle_type: str) -> None:
    entries: list[dict[str, Any]] = [
        {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}},
        {
            "resource": {"resourceType": "Patient", "id": "p"},
            "request": {"method": "PUT", "url": "Patient/p"},
        },
    ]
    bundle = {"resourceType": "Bundle", "type": bundle_type, "entry": entries}
    for form in FORMS:
        response = await client.post(
            "/r4", content=orjson.dumps(bundle), headers={"Prefer": f"return={form}"}
        )
        read_back(Release.R4, response.content)
        assert len(response.json()["entry"]) == len(entries)
        for entry in response.json()["entry"]:
            assert entry["response"]["status"] in {"200 OK", "201 Created"}
            assert ("resource" in entry) is (form == "representation")
            assert ("outcome" in entry["response"]) is (form == "OperationOutcome")
