"""Search of stored resources over HTTP: what an EHR that pulls asks, through each base, by GET and POST."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import pytest

from broker.fhir.date_times import earliest
from broker.model.release import Release
from tests.integration.search_client import bundle_at, links
from tests.integration.stored_readings import DAYS, LOINC, matches, pages, put, reading, warnings


@pytest.fixture
async def readings(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Twenty readings, and what they refer to."""
    stored = [reading(number) for number in range(20)]
    await put(client, *({"resourceType": "Patient", "id": f"p{number}"} for number in range(3)))
    await put(client, *({"resourceType": "Device", "id": f"d{number}"} for number in range(2)))
    await put(client, {"resourceType": "Practitioner", "id": "doc"}, *stored)
    return stored


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("patient=p1", range(1, 20, 3)),
        ("subject=Patient/p1", range(1, 20, 3)),
        (f"patient=p1&code={LOINC}|8310-5", range(1, 20, 3)),
        (f"code={LOINC}|8310-5&date=2026-03-02", (1, 16)),
        ("code=8310-5,29463-7&device=Device/d0", (2, 4, 8, 10, 14, 16)),
        ("date=ge2026-03-04&patient=p0", (3, 9, 18)),
        ("date=lt2026-03-02", range(0, 20, 5)),
        ("status=amended", range(0, 20, 4)),
        ("status:not=final&patient=p0", (0, 12)),
        ("value-quantity=gt77", (18, 19)),
        ("combo-code=8867-4&value-quantity=lt63", (0,)),
        ("_id=o03,o07,nobody", (3, 7)),
        ("_id=o03&status=final", (3,)),
        ("patient=p1&code=8867-4", ()),
        ("device:missing=true", ()),
    ],
)
async def test_filters_select_in_each_release_by_get_and_post(
    client: httpx.AsyncClient, readings: list[dict[str, Any]], query: str, numbers: Sequence[int]
) -> None:
    expected = [f"o{number:02d}" for number in numbers]
    for release in Release:
        assert matches(await bundle_at(client, f"/{release}/Observation?{query}")) == expected, release
    response = await client.post(
        "/r5/Observation/_search",
        content=query,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert matches(response.json()) == expected


async def test_identifiers_tags_and_moments_select(client: httpx.AsyncClient) -> None:
    name = {"system": "urn:serial", "value": "SN-1"}
    tag = {"system": "urn:tags", "code": "ward-3"}
    await put(
        client,
        {"resourceType": "Device", "id": "a", "identifier": [name], "meta": {"tag": [tag]}},
        {"resourceType": "Device", "id": "b", "identifier": [name | {"system": "urn:other"}]},
        {"resourceType": "Device", "id": "c"},
    )
    for query, expected in {
        "identifier=SN-1": ["a", "b"],
        "identifier=urn:serial|SN-1": ["a"],
        "identifier=urn:other|SN-1,nothing": ["b"],
        "identifier=urn:serial|": ["a"],
        "identifier:not=SN-1": ["c"],
        "_tag=urn:tags|ward-3": ["a"],
        "_tag=ward-4": [],
    }.items():
        assert matches(await bundle_at(client, f"/r5/Device?{query}")) == expected, query
    first = await bundle_at(client, "/r4/Device?_lastUpdated=le2100")
    moments = [entry["resource"]["meta"]["lastUpdated"] for entry in first["entry"]]
    assert matches(first) == ["a", "b", "c"]
    assert moments == sorted(moments)
    assert matches(await bundle_at(client, f"/r4/Device?_lastUpdated=gt{moments[-1]}")) == []
    assert "c" in matches(await bundle_at(client, f"/r4/Device?_lastUpdated=ge{moments[-1]}"))


@pytest.mark.parametrize("order", ["_lastUpdated", "-_lastUpdated", "date", "-date"])
async def test_pages_follow_the_order_and_undated_readings_come_last(
    client: httpx.AsyncClient, readings: list[dict[str, Any]], order: str
) -> None:
    undated = reading(20)
    del undated["effectiveDateTime"]
    period = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-09T08:00:00Z"}
    long = reading(21) | {"effectivePeriod": period}
    del long["effectiveDateTime"]
    await put(client, undated, long)
    found = await pages(client, f"/r4/Observation?_sort={order}&_count=6")
    resources = [entry["resource"] for page in found for entry in page["entry"]]
    assert sorted(each["id"] for each in resources) == [f"o{number:02d}" for number in range(22)]
    if order.endswith("date"):
        assert resources.pop()["id"] == "o20"
        dates = [
            earliest(each.get("effectiveDateTime") or each["effectivePeriod"]["start"]) for each in resources
        ]
    else:
        dates = [earliest(each["meta"]["lastUpdated"]) for each in resources]
    assert None not in dates
    assert dates == sorted(dates, key=str, reverse=order.startswith("-"))


@pytest.mark.parametrize("query", ["", "patient=p0,p1,p2&", "_id=o00,o01,o02,o03,o04,o05,u1,u2&"])
@pytest.mark.parametrize(
    ("first", "second"), [("date", "-_lastUpdated"), ("-date", "-_lastUpdated"), ("-_lastUpdated", "date")]
)
async def test_a_second_key_orders_what_is_equal_in_the_first(
    client: httpx.AsyncClient, readings: list[dict[str, Any]], query: str, first: str, second: str
) -> None:
    undated = [reading(number, id=f"u{number}") for number in (1, 2)]
    for each in undated:
        del each["effectiveDateTime"]
    await put(client, *undated)
    found = await pages(client, f"/r4/Observation?{query}_sort={first},{second}&_count=3")
    resources = [entry["resource"] for page in found for entry in page["entry"]]
    assert len(resources) == (8 if "_id" in query else 22)

    def key(resource: dict[str, Any], sort: str) -> tuple[bool, float]:
        text = resource["meta"]["lastUpdated"] if "_last" in sort else resource.get("effectiveDateTime")
        moment = datetime.fromisoformat(text).timestamp() if text else 0
        return not text, -moment if sort.startswith("-") else moment

    assert resources == sorted(resources, key=lambda each: (key(each, first), key(each, second)))
    for page in found:
        assert httpx.URL(links(page)["self"]).params["_sort"] == f"{first},{second}"


@pytest.mark.parametrize("order", ["date", "-date,_lastUpdated"])
async def test_the_pages_of_a_search_show_one_moment(
    client: httpx.AsyncClient, readings: list[dict[str, Any]], order: str
) -> None:
    """What is updated, deleted or created between two pages makes nothing appear twice, or not at all."""
    url: str | None = f"/r4/Observation?_count=4&_sort={order}"
    found: list[dict[str, Any]] = []
    numbers = itertools.count(50)
    while url is not None:
        page = await bundle_at(client, url)
        found += [entry["resource"] for entry in page.get("entry", ())]
        url = links(page).get("next")
        moved = {"effectiveDateTime": f"2026-03-0{1 + len(found) % DAYS}T07:00:00Z"}
        await put(client, reading(len(found) % 20) | moved, reading(19 - len(found) // 2) | moved)
        assert (await client.delete(f"/r4/Observation/o{(len(found) * 3) % 20:02d}")).status_code == 204
        await put(client, reading(next(numbers)))
    assert sorted(each["id"] for each in found) == [f"o{number:02d}" for number in range(20)]
    assert {each["meta"]["versionId"] for each in found} == {"1"}


async def test_polling_by_the_moment_of_the_last_search_misses_nothing(client: httpx.AsyncClient) -> None:
    written: set[str] = set()

    async def write(producer: int) -> None:
        for number in range(40):
            body = reading(number, id=f"p{producer}-{number}")
            response = await client.put(f"/r4/Observation/{body['id']}", json=body)
            assert response.status_code == 201, response.text
            written.add(body["id"])

    seen: list[str] = []
    since = "2000-01-01"

    async def poll() -> None:
        nonlocal since
        found = await pages(client, f"/r4/Observation?_lastUpdated=gt{since}&_count=10")
        seen.extend(each for page in found for each in matches(page))
        since = found[0]["meta"]["lastUpdated"]

    producers = asyncio.gather(*(write(producer) for producer in range(3)))
    while not producers.done():
        await poll()
    await producers
    await poll()
    assert sorted(seen) == sorted(written)


async def test_results_have_the_shape_that_is_asked_for(
    client: httpx.AsyncClient, readings: list[dict[str, Any]]
) -> None:
    found = await bundle_at(client, "/r4/Observation?patient=p1&_count=3&_total=accurate&_elements=code")
    assert (found["total"], len(matches(found))) == (7, 3)
    assert set(found["entry"][0]["resource"]) == {"resourceType", "id", "meta", "code", "status"}
    url = links(found)["self"]
    assert url.startswith(f"{client.base_url}/r4/Observation?patient=p1&")
    assert matches(await bundle_at(client, url)) == matches(found)
    assert found["entry"][0]["fullUrl"] == f"{client.base_url}/r4/Observation/o01"
    for query, total in {
        "_summary=count": 20,
        "_count=0&code=8310-5": 7,
        "_summary=count&value-quantity=gt77": 2,
        "_count=0&_id=o01,o02": 2,
    }.items():
        counted = await bundle_at(client, f"/r4/Observation?{query}")
        assert (counted["total"], counted.get("entry")) == (total, None), query
    assert "total" not in await bundle_at(client, "/r4/Observation")
    assert (await bundle_at(client, "/r4/Observation?patient=p1&_total=estimate"))["total"] == 7
    summary = await bundle_at(client, "/r4/Observation?_summary=true&_count=1")
    assert "device" not in summary["entry"][0]["resource"]


async def test_resources_are_included_once(client: httpx.AsyncClient, readings: list[dict[str, Any]]) -> None:
    query = "_include=Observation:patient&_include=Observation:device&_include=Observation:performer"
    found = await bundle_at(client, f"/r4/Observation?patient=p1,p2&_count=8&{query}")
    assert sorted(matches(found, "include")) == ["d0", "d1", "doc", "p1", "p2"]
    assert len(matches(found)) == 8
    typed = await bundle_at(client, "/r5/Observation?_id=o01&_include=Observation:subject:Group")
    assert matches(typed, "include") == []
    reverse = await bundle_at(client, "/r4/Patient?_id=p1&_revinclude=Observation:patient")
    assert (matches(reverse), len(matches(reverse, "include"))) == (["p1"], 7)
    for wrong in ("_include=*", "_include=Observation:code", "_include:iterate=Patient:link"):
        answer = await bundle_at(client, f"/r4/Observation?_id=o01&{wrong}")
        assert matches(answer) == ["o01"]
        assert "It was ignored." in warnings(answer), wrong


async def test_nothing_is_ignored_in_silence(
    client: httpx.AsyncClient, readings: list[dict[str, Any]]
) -> None:
    for query in (
        "wrong=1",
        "_sort=code",
        "_sort=status",
        "_text=x",
        "subject.name=ana",
        "_has:Observation:patient:code=1",
        "code=",
    ):
        answer = await bundle_at(client, f"/r4/Observation?{query}&_id=o01")
        assert matches(answer) == ["o01"]
        assert "It was ignored." in warnings(answer), query
        assert query not in links(answer)["self"].replace("&_id=o01", "")
        strict = await client.get(f"/r4/Observation?{query}&_id=o01", headers={"Prefer": "handling=strict"})
        assert strict.status_code == 400, query
    for query in (
        "date=monday",
        "code:above=x",
        "patient=Device/1",
        "value-quantity=many",
        "_page=9",
        "_count=-1",
        "_lastUpdated=x",
    ):
        assert (await client.get(f"/r4/Observation?{query}")).status_code == 400, query


async def test_a_link_of_a_snapshot_that_is_too_old_is_gone(client: httpx.AsyncClient) -> None:
    assert (await client.get("/r4/Observation?_page=at.1000000")).status_code == 410
