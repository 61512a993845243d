"""Who may search which types of stored resources: scopes, and the indexes that the operator sets."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.scopes import parse_scopes
from tests.conftest import StartBroker
from tests.integration.search_client import Bundle, bundle_at, ids, links
from tests.integration.stored_readings import matches, put, reading, warnings


async def authenticate(headers: Mapping[str, str]) -> Principal:
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    return Principal("client", DEFAULT_TENANT, parse_scopes(scopes), frozenset())


@pytest.fixture
async def guarded(start_broker: StartBroker) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        start_broker(authenticate=authenticate) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        yield client


async def test_a_client_finds_only_what_its_scopes_allow(guarded: httpx.AsyncClient) -> None:
    await put(guarded, *(reading(number) for number in range(12)))
    await put(guarded, {"resourceType": "Patient", "id": "p1"}, {"resourceType": "Device", "id": "d1"})
    restricted = {"x-scopes": "system/Observation.rs?patient=Patient/p1 system/Patient.rs"}
    query = "/r4/Observation?_include=Observation:patient&_include=Observation:device&_total=accurate"
    found = await bundle_at(guarded, query, **restricted)
    assert matches(found) == ["o01", "o04", "o07", "o10"]
    assert (found["total"], matches(found, "include")) == (4, ["p1"])
    assert "may not read Device" in warnings(found)
    estimate = await bundle_at(guarded, "/r5/Observation?_total=estimate&_summary=count", **restricted)
    assert estimate["total"] == 4
    reverse = await bundle_at(guarded, "/r4/Patient?_revinclude=Observation:patient", **restricted)
    assert sorted(matches(reverse, "include")) == ["o01", "o04", "o07", "o10"]
    # what was changed between two pages is shown as it was if it may still be seen
    first = await bundle_at(guarded, "/r4/Observation?_count=1", **restricted)
    await put(
        guarded, reading(4) | {"subject": {"reference": "Patient/p2"}}, reading(7) | {"status": "amended"}
    )
    rest = await pages_as(guarded, links(first)["next"], restricted)
    assert rest == ["o07/1", "o10/1"]
    for scopes in ("system/Observation.r", "system/Patient.rs"):
        refused = await guarded.get("/r4/Observation", headers={"x-scopes": scopes})
        assert refused.status_code == 403, scopes


async def pages_as(client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> list[str]:
    """The matches from this page on, as `id/version`."""
    found: list[str] = []
    following: str | None = url
    while following is not None:
        page = await bundle_at(client, following, **headers)
        found += [
            f"{entry['resource']['id']}/{entry['resource']['meta']['versionId']}"
            for entry in page.get("entry", [])
        ]
        following = links(page).get("next")
    return found


async def test_a_type_without_indexes_is_not_searched(start_broker: StartBroker) -> None:
    indexes = (("Device", ()),)
    async with (
        start_broker(search_indexes=indexes) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        await put(client, {"resourceType": "Device", "id": "d1"}, reading(1))
        assert ids(await bundle_at(client, "/r4/Device")) == ["d1"]
        for method, path in (("GET", "Observation"), ("POST", "Observation/_search")):
            refused = await client.request(method, f"/r4/{path}")
            assert refused.status_code == 405
            assert "BROKER_SEARCH_INDEXES" in refused.text
        statement = (await client.get("/r4/metadata")).json()
        about = {each["type"]: each for each in statement["rest"][0]["resource"]}
        assert "searchParam" not in about["Observation"]
        assert {"_id", "identifier", "type", "patient"} <= {
            each["name"] for each in about["Device"]["searchParam"]
        }


async def test_changed_indexes_are_built_of_what_is_stored(start_broker: StartBroker) -> None:
    """Searches are refused until every stored resource is in the indexes."""

    async def search(broker: Running, query: str) -> Bundle:
        async with httpx.AsyncClient(
            base_url=broker.settings.base_url, trust_env=False, timeout=60
        ) as client:
            async with asyncio.timeout(60):
                while (response := await client.get(query)).status_code == 503:
                    assert "Retry-After" in response.headers
                    await asyncio.sleep(0.02)
            assert response.status_code == 200, response.text
            return dict(response.json())

    async with (
        start_broker(search_indexes=()) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        await put(client, *(reading(number) for number in range(12)))
        await put(client, reading(1) | {"status": "amended"})
        assert (await client.delete("/r4/Observation/o02")).status_code == 204
    for indexes in (("subject+code@date",), ("device",), ()):
        async with start_broker(search_indexes=(("Observation", indexes),)) as broker:
            found = await search(broker, "/r4/Observation?device=Device/d1&_sort=-date&_total=accurate")
            assert found["total"] == 6
            assert set(matches(found)) == {"o01", "o03", "o05", "o07", "o09", "o11"}
            found = await search(broker, "/r4/Observation?patient=p1&code=8310-5&_sort=date")
            assert sorted(matches(found)) == ["o01", "o04", "o07", "o10"]
