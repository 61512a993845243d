"""Bulk exports over HTTP: kick-off, status, files, cancellation, and who may export what."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal, PrincipalRole
from broker.model.release import Release
from broker.model.scopes import parse_scopes
from broker.store import keys
from broker.store.protocol import Store
from broker.store.resources import read_stored
from tests.conftest import StartBroker
from tests.fhir.rows import read_back
from tests.integration.audit_client import AuditReader, references, word
from tests.integration.broker_fixture import until
from tests.integration.search_client import bundle_at
from tests.integration.test_history_api import LABEL, put

ASYNC = {"Prefer": "respond-async"}
FLAG = {
    "resourceType": "Flag",
    "id": "f1",
    "status": "active",
    "code": {"text": "fall"},
    "subject": {"reference": "Patient/ana"},
}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    roles = frozenset({str(PrincipalRole.AUDITOR)})
    return Principal(headers.get("x-client", "client"), DEFAULT_TENANT, parse_scopes(scopes), roles)


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


class Exporter:
    """Exports with the headers of a client."""

    def __init__(self, client: httpx.AsyncClient, base: str = "r4", **headers: str) -> None:
        self.client = client
        self.base = base
        self.headers = headers

    async def start(self, query: str = "") -> str:
        """The path of the status."""
        url = f"/{self.base}/$export?{query}"
        response = await self.client.get(url, headers=ASYNC | self.headers)
        assert response.status_code == 202, response.text
        return urlsplit(response.headers["Content-Location"]).path

    async def manifest(self, status: str) -> dict[str, Any]:
        results: list[httpx.Response] = []

        async def is_complete() -> bool:
            response = await self.client.get(status, headers=self.headers)
            if response.status_code == 202:
                assert "files checked" in response.headers["X-Progress"]
                assert int(response.headers["Retry-After"]) > 0
                return False
            assert response.status_code == 200, response.text
            results.append(response)
            return True

        await until(is_complete)
        assert results[0].headers["Content-Type"] == "application/json"
        assert results[0].headers["Expires"].endswith("GMT")
        manifest: dict[str, Any] = results[0].json()
        return manifest

    async def lines(self, url: str) -> list[dict[str, Any]]:
        headers = {"Accept": "application/fhir+ndjson"} | self.headers
        response = await self.client.get(urlsplit(url).path, headers=headers)
        assert response.status_code == 200, response.text
        if response.content:
            assert response.headers["Content-Type"] == "application/fhir+ndjson"
        for line in response.content.splitlines():
            read_back(Release(self.base), line)
        return [json.loads(line) for line in response.content.splitlines()]

    async def export(self, query: str = "") -> dict[str, list[str]]:
        """References of what was exported, by the parts of the manifest."""
        manifest = await self.manifest(await self.start(query))
        found: dict[str, list[str]] = {"at": [manifest["transactionTime"]], "output": [], "deleted": []}
        for part in ("output", "deleted"):
            for file in manifest[part]:
                lines = await self.lines(file["url"])
                assert len(lines) == file["count"]
                for line in lines:
                    assert line["resourceType"] == file["type"]
                    found[part].append(
                        f"{line['resourceType']}/{line['id']}"
                        if part == "output"
                        else line["entry"][0]["request"]["url"]
                    )
            found[part].sort()
        found["error"] = [
            line["issue"][0]["diagnostics"]
            for file in manifest["error"]
            for line in await self.lines(file["url"])
        ]
        return found


@pytest.mark.parametrize("base", Release)
async def test_an_export_continues_where_the_last_one_ended(client: httpx.AsyncClient, base: Release) -> None:
    exporter = Exporter(client, base)
    await put(client, "Patient/ana", active=True)
    await put(client, "Patient/ben")
    await put(client, "Device/d1")
    first = await exporter.export()
    assert (first["output"], first["deleted"]) == (["Device/d1", "Patient/ana", "Patient/ben"], [])
    await put(client, "Patient/ana", active=False)
    await put(client, "Patient/cem")
    await client.delete("/r4/Patient/ben")
    await client.delete("/r4/Device/d1")
    second = await exporter.export(f"_since={first['at'][0]}&_type=Patient,Observation")
    assert (second["output"], second["deleted"]) == (["Patient/ana", "Patient/cem"], ["Patient/ben"])
    third = await exporter.export(f"_since={second['at'][0]}")
    assert third["output"] == third["deleted"] == []


async def test_a_file_shows_the_moment_of_its_export(client: httpx.AsyncClient) -> None:
    exporter = Exporter(client)
    await put(client, "Patient/ana", multipleBirthInteger=1)
    status = await exporter.start()
    await put(client, "Patient/ana", multipleBirthInteger=2)
    await put(client, "Patient/ben")
    (file,) = (await exporter.manifest(status))["output"]
    for _ in range(2):
        assert [line["multipleBirthInteger"] for line in await exporter.lines(file["url"])] == [1]
    assert (await client.delete(status)).status_code == 202
    assert (await client.get(status)).status_code == 404
    assert (await client.get(urlsplit(file["url"]).path)).status_code == 404


async def test_queries_and_elements_select(client: httpx.AsyncClient) -> None:
    await put(client, "Patient/ana", gender="female", birthDate="1970-01-01")
    await put(client, "Patient/ben", gender="male")
    await put(client, "Patient/cem", gender="other")
    await put(client, "Device/d1")
    exporter = Exporter(client)
    found = await exporter.export("_typeFilter=Patient%3Fgender=female,other")
    assert found["output"] == ["Device/d1", "Patient/ana", "Patient/cem"]
    query = "_typeFilter=Patient%3F"
    either = f"_type=Patient&{query}gender=male&{query}gender=female%26birthdate=1970"
    assert (await exporter.export(either))["output"] == ["Patient/ana", "Patient/ben"]
    manifest = await exporter.manifest(await exporter.start("_type=Patient&_elements=gender"))
    lines = await exporter.lines(manifest["output"][0]["url"])
    assert [set(line) for line in lines] == [{"resourceType", "id", "meta", "gender"}] * 3
    parameters = {
        "resourceType": "Parameters",
        "parameter": [{"name": "_type", "valueString": "Device"}],
    }
    posted = await client.post("/r4/$export", json=parameters, headers=ASYNC)
    path = urlsplit(posted.headers["Content-Location"]).path
    assert [file["type"] for file in (await exporter.manifest(path))["output"]] == ["Device"]


async def test_what_cannot_be_exported_is_in_the_errors(client: httpx.AsyncClient) -> None:
    assert (await client.put("/r4/Flag/f1", json=FLAG)).is_success
    assert (await Exporter(client).export())["error"] == []
    found = await Exporter(client, "r5").export()
    assert found["output"] == []
    assert "Flag/f1 was not exported" in found["error"][0]


async def test_a_resource_that_cannot_be_read_is_named_and_holds_up_nothing(
    client: httpx.AsyncClient, store: Store
) -> None:
    for name in ("damaged", "intact"):
        await put(client, f"Patient/{name}")
    key = keys.resource(
        store.layout.partition_of(DEFAULT_TENANT, "damaged"), DEFAULT_TENANT, "Patient", "damaged"
    )
    (stored,) = await store.send([("GET", key)])
    text = read_stored(stored).text
    await store.send([("SET", key, stored.removesuffix(text) + b"damaged")])
    found = await Exporter(client).export()
    assert found["output"] == ["Patient/intact"]
    assert "Patient/damaged was not exported" in found["error"][0]
    for path, number in (("Patient/damaged/_history", 1), ("Patient/_history", 2), ("_history", 2)):
        bundle = await bundle_at(client, f"/r4/{path}")
        statuses = {entry["fullUrl"].rpartition("/")[2]: entry["response"] for entry in bundle["entry"]}
        assert len(statuses) == number
        assert statuses["damaged"]["status"] == "500"
        assert "cannot be read" in statuses["damaged"]["outcome"]["issue"][0]["diagnostics"]
    await store.send([("SET", key, stored)])


async def test_what_is_not_supported_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/r4/$export")).status_code == 400
    for query in (
        "_outputFormat=csv",
        "_type=Unheard",
        "_since=2026",
        "_typeFilter=Patient",
        "_typeFilter=Patient%3Fnothing=1",
        "_typeFilter=Patient%3Fgender=male&_type=Device",
        "includeAssociatedData=x",
    ):
        response = await client.get(f"/r4/$export?{query}", headers=ASYNC)
        assert response.status_code == 400, f"{query}: {response.text}"
    assert (await client.get("/r4/_export/0123")).status_code == 404
    capabilities = (await client.get("/r4/metadata")).json()["rest"][0]["operation"]
    assert {each["name"]: each["definition"] for each in capabilities}["export"].endswith(
        "/bulkdata/OperationDefinition/export"
    )


async def test_a_client_exports_what_it_may_search(client: httpx.AsyncClient) -> None:
    await put(client, "Patient/ana", meta={"security": [LABEL]})
    await put(client, "Patient/ben")
    await put(client, "Device/d1")
    restricted = {"X-Scopes": "system/Patient.rs?_security=R"}
    exporter = Exporter(client, **restricted)
    status = await exporter.start()
    (file,) = (await exporter.manifest(status))["output"]
    assert [line["id"] for line in await exporter.lines(file["url"])] == ["ana"]
    refused = await client.get("/r4/$export?_type=Device", headers=ASYNC | restricted)
    assert refused.status_code == 403
    await put(client, "Patient/ana")  # it has lost the label that opened it
    assert await exporter.lines(file["url"]) == []
    other = {"X-Scopes": "system/*.rs", "X-Client": "other"}
    for path in (status, urlsplit(file["url"]).path):
        assert (await client.get(path, headers=other)).status_code == 404
    less = {"X-Scopes": "system/Device.rs"}
    assert (await client.get(urlsplit(file["url"]).path, headers=less)).content == b""
    events = await AuditReader(client, restricted).export()
    shown = [references(event) for event in events if word(event) == "operation" and references(event)]
    assert ["Patient/ana/_history/1"] in shown
