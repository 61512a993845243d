"""The history of a resource over HTTP: every stored version once, newest first, page by page."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import OPEN_PRINCIPAL, Principal
from broker.model.release import Release
from broker.model.scopes import parse_scopes
from tests.conftest import StartBroker
from tests.integration.search_client import Bundle, bundle_at, links

LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    scopes = headers.get("x-scopes")
    if scopes is None:
        return OPEN_PRINCIPAL
    return Principal("client", DEFAULT_TENANT, parse_scopes(scopes), frozenset())


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


async def put(client: httpx.AsyncClient, path: str, **members: Any) -> str:
    """Stores a resource; returns its `meta.lastUpdated`."""
    resource_type, resource_id = path.split("/")
    body = {"resourceType": resource_type, "id": resource_id} | members
    response = await client.put(f"/r4/{path}", json=body)
    assert response.is_success, response.text
    return str(response.json()["meta"]["lastUpdated"])


def versions(bundle: Bundle) -> list[int]:
    return [int(entry["response"]["etag"][3:-1]) for entry in bundle.get("entry", [])]


async def refused(client: httpx.AsyncClient, query: str) -> str:
    response = await client.get(f"/r4/Patient/ana/_history?{query}")
    assert response.status_code == 400, f"{query}: {response.text}"
    return str(response.json()["issue"][0]["expression"][0])


@pytest.mark.parametrize("release", Release)
async def test_a_history_says_what_happened_in_each_version(
    client: httpx.AsyncClient, release: Release
) -> None:
    await put(client, "Patient/ana", active=True)
    await put(client, "Patient/ana", active=False)
    await client.delete("/r4/Patient/ana")
    last = await put(client, "Patient/ana", gender="female")
    url = f"/{release}/Patient/ana/_history"
    bundle = await bundle_at(client, url)
    assert (bundle["type"], versions(bundle)) == ("history", [4, 3, 2, 1])
    entries = bundle["entry"]
    assert [(each["request"]["method"], each["response"]["status"]) for each in entries] == [
        ("POST", "201"),
        ("DELETE", "204"),
        ("PUT", "200"),
        ("POST", "201"),
    ]
    assert [each.get("resource", {}).get("active") for each in entries] == [None, None, False, True]
    assert "resource" not in entries[1]
    assert entries[0]["response"]["lastModified"] == last
    for entry in entries:
        location = entry["response"]["location"]
        read = await client.get(location)
        assert read.status_code == (200 if "resource" in entry else 410)
        assert entry["fullUrl"] == location.partition("/_history")[0]
    assert set(links(bundle)) == {"self", "first"}
    missing = await client.get(f"/{release}/Patient/none/_history")
    assert missing.status_code == 404


async def test_pages_have_each_version_once_while_others_are_written(client: httpx.AsyncClient) -> None:
    for number in range(7):
        await put(client, "Patient/ana", multipleBirthInteger=number)
    seen, url = list[int](), "/r4/Patient/ana/_history?_count=3"
    while url:
        bundle = await bundle_at(client, url)
        seen += versions(bundle)
        await put(client, "Patient/ana", active=True)
        url = links(bundle).get("next", "")
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_history_is_limited_to_a_time(client: httpx.AsyncClient) -> None:
    moments = list[str]()
    while len(set(moments)) < 4:  # four versions, each of a millisecond of its own
        moments.append(await put(client, "Patient/ana", multipleBirthInteger=len(moments)))
    newest = len(moments)
    first = moments.index(moments[-1]) + 1  # the first version of the last millisecond
    bundle = await bundle_at(client, f"/r4/Patient/ana/_history?_since={moments[-1]}")
    assert versions(bundle) == list(range(newest, first - 1, -1))
    assert "_since=" in links(bundle)["self"]
    assert versions(await bundle_at(client, "/r4/Patient/ana/_history?_since=2999-01-01T00:00:00Z")) == []
    at_first = await bundle_at(client, f"/r4/Patient/ana/_history?_at={moments[0]}")
    assert versions(at_first)[-1] == 1
    assert all(entry["response"]["lastModified"] == moments[0] for entry in at_first["entry"])
    now = await bundle_at(client, "/r4/Patient/ana/_history?_at=2999")
    assert versions(now) == [newest]
    second = moments[0][:19]
    in_second = await bundle_at(client, f"/r4/Patient/ana/_history?_at={second}Z")
    assert len(versions(in_second)) == sum(moment.startswith(second) for moment in moments)
    assert versions(await bundle_at(client, "/r4/Patient/ana/_history?_at=2001-01-01")) == []
    await client.delete("/r4/Patient/ana")
    assert versions(await bundle_at(client, "/r4/Patient/ana/_history?_at=2999")) == []


async def test_what_a_history_does_not_have_is_refused(client: httpx.AsyncClient) -> None:
    await put(client, "Patient/ana", birthDate="1970-01-01", gender="female")
    for query, name in (
        ("_since=yesterday", "_since"),
        ("_since=2026-01-01&_at=2026-01-01", "_at"),
        ("_sort=_lastUpdated", "_sort"),
        ("_count=0", "_count"),
        ("_page=x", "_page"),
        ("_since:exact=2026", "_since:exact"),
        ("active=true", "active"),
    ):
        assert await refused(client, query) == name
    (entry,) = (await bundle_at(client, "/r4/Patient/ana/_history?_elements=gender"))["entry"]
    assert "birthDate" not in entry["resource"]
    for path in ("Subscription/none", "AuditEvent/1", "SubscriptionTopic/none"):
        assert (await client.get(f"/r5/{path}/_history")).status_code == 405


async def test_a_version_without_a_conversion_is_named(client: httpx.AsyncClient) -> None:
    flag = {
        "resourceType": "Flag",
        "id": "f1",
        "status": "active",
        "code": {"text": "fall"},
        "subject": {"reference": "Patient/ana"},
    }
    assert (await client.put("/r4/Flag/f1", json=flag)).is_success
    (entry,) = (await bundle_at(client, "/r5/Flag/f1/_history"))["entry"]
    assert (entry["request"]["method"], entry["response"]["status"]) == ("GET", "406")
    assert "no conversion" in entry["response"]["outcome"]["issue"][0]["diagnostics"]


async def test_a_scope_with_a_restriction_hides_versions(client: httpx.AsyncClient) -> None:
    await put(client, "Patient/ana", meta={"security": [LABEL]})
    await put(client, "Patient/ana", active=True)
    await put(client, "Patient/ana", meta={"security": [LABEL]}, active=True)
    url = "/r4/Patient/ana/_history"
    scoped = {"X-Scopes": "system/Patient.r?_security=R"}
    assert versions(await bundle_at(client, url, **scoped)) == [3, 1]
    await put(client, "Patient/ana", active=True)
    assert (await client.get(url, headers=scoped)).status_code == 404
    assert (await client.get(url, headers={"X-Scopes": "system/Patient.s"})).status_code == 403
