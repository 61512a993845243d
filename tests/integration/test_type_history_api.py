"""Histories of a type and of the system over HTTP: pages of one moment, polls, and who sees what."""

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.release import Release
from broker.model.scopes import parse_scopes
from broker.settings import Settings
from tests.conftest import StartBroker
from tests.integration.search_client import Bundle, bundle_at, links
from tests.integration.test_history_api import LABEL, put


async def authenticate(headers: Mapping[str, str]) -> Principal:
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    tenant = Tenant(headers.get("x-tenant", DEFAULT_TENANT))
    return Principal("client", tenant, parse_scopes(scopes), frozenset())


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


def versions(bundle: Bundle) -> list[str]:
    paths = [urlsplit(entry["response"]["location"]).path for entry in bundle.get("entry", [])]
    return [path.partition("/")[2].partition("/")[2].replace("/_history/", " ") for path in paths]


async def read_all(client: httpx.AsyncClient, url: str) -> list[str]:
    """The versions of all pages; a reading is written between them."""
    seen = list[str]()
    while url:
        bundle = await bundle_at(client, url)
        moments = [entry["response"]["lastModified"] for entry in bundle.get("entry", [])]
        assert moments == sorted(moments, reverse=True)
        assert all(moment <= bundle["meta"]["lastUpdated"] for moment in moments)
        seen += versions(bundle)
        url = links(bundle).get("next", "")
        await put(client, "Patient/ana", multipleBirthInteger=len(seen))
        await put(client, f"Patient/new{len(seen)}")
    return seen


async def moment_of(client: httpx.AsyncClient) -> str:
    return str((await bundle_at(client, "/r4/Patient/_history"))["meta"]["lastUpdated"])


@pytest.mark.parametrize("release", Release)
async def test_a_history_has_every_version_of_its_moment_once(
    client: httpx.AsyncClient, release: Release
) -> None:
    for number in range(3):
        await put(client, "Patient/ana", multipleBirthInteger=number)
        await put(client, f"Patient/p{number}")
        await put(client, "Device/d1", lotNumber=str(number))
    await client.delete("/r4/Patient/p1")
    patients = {"Patient/p0 1", "Patient/p1 1", "Patient/p1 2", "Patient/p2 1"}
    patients |= {f"Patient/ana {number}" for number in (1, 2, 3)}
    found = await read_all(client, f"/{release}/Patient/_history?_count=2")
    assert sorted(found) == sorted(patients)
    found = await read_all(client, f"/{release}/_history?_count=3")
    devices = {f"Device/d1 {number}" for number in (1, 2, 3)}
    assert len(found) == len(set(found))
    assert patients | devices <= set(found)


async def test_a_poll_has_what_was_written_since_the_last(client: httpx.AsyncClient) -> None:
    since = ""
    for number in range(5):
        await put(client, "Patient/ana", multipleBirthInteger=number)
        await put(client, f"Patient/p{number}")
        bundle = await bundle_at(client, f"/r4/_history?_count=100{since}")
        expected = {f"Patient/ana {number + 1}", f"Patient/p{number} 1"}
        assert set(versions(bundle)) == expected, "nothing is dated at the moment of a poll afterwards"
        since = f"&_since={bundle['meta']['lastUpdated']}"


async def test_at_shows_what_was_current_then(client: httpx.AsyncClient) -> None:
    await put(client, "Patient/ana", multipleBirthInteger=1)
    await put(client, "Patient/gone")
    await put(client, "Device/d1")
    await client.delete("/r4/Patient/gone")
    written = moment = await moment_of(client)
    while moment == written:  # a later one than that of any version so far
        moment = await moment_of(client)
    await put(client, "Patient/ana", multipleBirthInteger=2)
    await put(client, "Patient/new")
    await client.delete("/r4/Device/d1")
    for url, expected in (
        (f"/r4/_history?_at={moment}", ["Patient/ana 1", "Device/d1 1"]),
        (f"/r4/Patient/_history?_at={moment}", ["Patient/ana 1"]),
        ("/r4/_history?_at=2999", ["Patient/new 1", "Patient/ana 2"]),
        ("/r4/_history?_at=2001", []),
    ):
        paged, following = list[str](), f"{url}&_count=1"
        while following:
            bundle = await bundle_at(client, following)
            paged += versions(bundle)
            following = links(bundle).get("next", "")
        assert sorted(paged) == sorted(expected), url
        assert sorted(versions(await bundle_at(client, url))) == sorted(expected), url


async def test_a_client_sees_what_it_may_search(client: httpx.AsyncClient) -> None:
    await put(client, "Patient/ana", meta={"security": [LABEL]})
    await put(client, "Patient/ben")
    await put(client, "Patient/cem", meta={"security": [LABEL]})
    await put(client, "Patient/cem")
    await put(client, "Device/d1")

    async def seen(path: str, scopes: str) -> list[str] | int:
        response = await client.get(f"/r4/{path}", headers={"X-Scopes": scopes})
        return sorted(versions(response.json())) if response.status_code == 200 else response.status_code

    assert await seen("Patient/_history", "system/Patient.rs?_security=R") == ["Patient/ana 1"]
    assert await seen("_history", "system/Patient.rs?_security=R") == ["Patient/ana 1"]
    assert await seen("_history", "system/Device.s") == ["Device/d1 1"]
    assert await seen("_history", "system/Patient.r") == 403
    assert await seen("Patient/_history", "system/Patient.r") == 403
    other = {"X-Scopes": "system/*.rs", "X-Tenant": "other"}
    assert versions(await bundle_at(client, "/r4/_history", **other)) == []


async def test_a_type_without_an_index_has_no_history(start_broker: StartBroker, settings: Settings) -> None:
    del settings
    async with (
        start_broker(search_indexes=(("Patient", ()),)) as running,
        httpx.AsyncClient(base_url=running.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        await put(client, "Device/d1")
        await put(client, "Patient/ana")
        refused = await client.get("/r4/Device/_history")
        assert refused.status_code == 405
        assert "BROKER_SEARCH_INDEXES" in refused.text
        assert versions(await bundle_at(client, "/r4/_history")) == ["Patient/ana 1"]
        metadata = (await client.get("/r4/metadata")).json()["rest"][0]
        offered = {
            each["type"]: {item["code"] for item in each["interaction"]} for each in metadata["resource"]
        }
        assert "history-type" in offered["Patient"]
        assert not {"history-type", "search-type"} & offered["Device"]
