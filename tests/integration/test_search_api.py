"""Searches over Subscriptions, topics and operations: what is found, how much of it is shown, and how it is
paged.
"""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import pytest

from broker.model.release import Release
from broker.testing.registration import subscription
from tests.fhir.rows import read_back

STORES = ("embedded", "cluster")

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
LENIENT = {"Prefer": "handling=lenient"}
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
Bundle = dict[str, Any]


async def register(client: httpx.AsyncClient, release: str, endpoint: str = NOWHERE, **more: Any) -> str:
    document = subscription(release, VITALS, endpoint) | {"status": "off"} | more
    response = await client.post(f"/{release}/Subscription", content=orjson.dumps(document))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


async def bundle_at(client: httpx.AsyncClient, url: str, **headers: str) -> Bundle:
    response = await client.get(url, headers=headers)
    assert response.status_code == 200, f"{url}: {response.text}"
    release = urlsplit(url).path.split("/")[1]
    if "_summary" not in url and "_elements" not in url:
        read_back(Release(release), response.content)
    results: Bundle = response.json()
    return results


def ids(bundle: Bundle) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", [])]


def links(bundle: Bundle) -> dict[str, str]:
    return {link["relation"]: link["url"] for link in bundle["link"]}


@pytest.mark.parametrize("release", Release)
async def test_search_parameters_combine_and_support_not_and_missing(
    client: httpx.AsyncClient, release: Release
) -> None:
    contact = [{"system": "email", "value": "a@example.org"}]
    subscription_id = await register(client, release, "http://127.0.0.1:9/a/b", contact=contact)
    two = await register(client, release, "http://127.0.0.1:9/ab")
    wrong = {}
    for query, expected in (
        ("", {subscription_id, two}),
        (f"_id={subscription_id}", {subscription_id}),
        (f"_id={subscription_id},{two}", {subscription_id, two}),
        (f"_id={subscription_id}&_id={two}", set()),
        (f"_id:not={subscription_id}", {two}),
        ("contact:missing=true", {two}),
        ("contact:missing=false", {subscription_id}),
        ("contact:not=a@example.org", {two}),
        ("status:not=off", set()),
        ("status=http://hl7.org/fhir/subscription-status|off", {subscription_id, two}),
        ("status=http://example.org|off", set()),
        ("url:below=http://127.0.0.1:9/a", {subscription_id}),
        ("url:above=http://127.0.0.1:9/ab/c", {two}),
        (f"topic={VITALS}", {subscription_id, two}),
        (f"topic={VITALS}|1.0.0", {subscription_id, two}),
        (f"topic={VITALS}|2", set()),
        ("_lastUpdated=gt2020", {subscription_id, two}),
        ("_lastUpdated=lt2020-01-01T00:00:00Z", set()),
    ):
        got = set(ids(await bundle_at(client, f"/{release}/Subscription?{query}")))
        if got != expected:
            wrong[query] = got
    assert wrong == {}


async def test_strings_and_references_have_their_own_modifiers(client: httpx.AsyncClient) -> None:
    owner = {"reference": "Organization/o1"}
    subscription_id = await register(client, "r5", name="Ärzte, Station 3", managingEntity=owner)
    two = await register(client, "r5", name="other")
    wrong = {}
    for query, expected in (
        ("name=arzte", {subscription_id}),
        ("name:contains=STATION", {subscription_id}),
        ("name:exact=%C3%84rzte\\, Station 3", {subscription_id}),
        ("name:exact=other", {two}),
        ("name:exact=Other", set()),
        ("name=arzte\\, station,oth", {subscription_id, two}),
        ("owner=o1", {subscription_id}),
        ("owner:Organization=o1", {subscription_id}),
        ("owner:Practitioner=o1", set()),
    ):
        got = set(ids(await bundle_at(client, f"/r5/Subscription?{query}")))
        if got != expected:
            wrong[query] = got
    assert wrong == {}


async def test_dates_of_topics_are_spans_of_their_precision(client: httpx.AsyncClient) -> None:
    every = set(ids(await bundle_at(client, "/r5/SubscriptionTopic")))
    topic = (await client.get("/r5/SubscriptionTopic/vital-signs")).json()
    year, month = topic["date"][:4], topic["date"][:7]
    for query, is_found in (
        (f"date={year}", True),
        (f"date={month}", True),
        (f"date=ne{year}", False),
        (f"date=ge{month}&date=le{month}", True),
        (f"date=gt{year}", False),
        (f"date=sa{int(year) - 1}", True),
        (f"date=eb{int(year) + 1}", True),
        (f"date={topic['date'][:10]}T12:00:00Z", False),
    ):
        got = set(ids(await bundle_at(client, f"/r5/SubscriptionTopic?{query}")))
        assert got <= every
        assert ("vital-signs" in got) is is_found, query


async def test_an_unsupported_search_is_refused_with_the_parameter(client: httpx.AsyncClient) -> None:
    for query in (
        "colour=red",
        "status:exact=off",
        "url:exact=x",
        "status:missing=maybe",
        "_lastUpdated=yesterday",
        "_lastUpdated=xx2020",
        "status=",
        "status=off,",
        "_count=-1",
        "_count=x",
        "_count=\u0662",
        "_count=1&_count=2",
        "_summary=all",
        "_total=maybe",
        "_page=7",
        "_elements=colour",
        "_elements=status&_summary=true",
        "_sort=status",
        "_include=Subscription:topic",
    ):
        response = await client.get(f"/r4/Subscription?{query}")
        assert (response.status_code, response.json()["resourceType"]) == (400, "OperationOutcome"), query
        assert response.json()["issue"][0]["expression"], "which parameter it was"


async def test_lenient_handling_ignores_an_unknown_parameter_and_says_so_in_the_self_link(
    client: httpx.AsyncClient,
) -> None:
    subscription_id = await register(client, "r4")
    bundle = await bundle_at(client, "/r4/Subscription?colour=red&status=off", **LENIENT)
    assert ids(bundle) == [subscription_id]
    assert dict(parse_qsl(urlsplit(links(bundle)["self"]).query)) == {"status": "off"}
    refused = await client.get("/r4/Subscription?status:exact=off", headers=LENIENT)
    assert refused.status_code == 400, "a known parameter with a modifier it can't have changes what is asked"
    strict = await client.get("/r4/Subscription?colour=red", headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400


@pytest.mark.parametrize("release", Release)
async def test_page_links_are_stable_while_items_are_added_and_removed(
    client: httpx.AsyncClient, release: Release
) -> None:
    every = sorted([await register(client, release) for _ in range(7)])
    seen, url = [], f"/{release}/Subscription?_count=3&status=off"
    pages = []
    while url:
        bundle = await bundle_at(client, url.removeprefix(str(client.base_url).rstrip("/")))
        assert bundle["total"] == 7
        seen += ids(bundle)
        pages.append(bundle)
        url = links(bundle).get("next", "")
    assert seen == every
    assert [len(ids(item)) for item in pages] == [3, 3, 1]
    assert "previous" not in links(pages[0])

    async def follow(bundle: Bundle, relation: str) -> Bundle:
        return await bundle_at(client, links(bundle)[relation].removeprefix(str(client.base_url).rstrip("/")))

    for page in pages:
        assert ids(await follow(page, "self")) == ids(page)
        assert ids(await follow(page, "first")) == ids(pages[0])
        assert ids(await follow(page, "last")) == ids(pages[2])
    assert ids(await follow(pages[2], "previous")) == ids(pages[1])
    assert ids(await follow(pages[1], "previous")) == ids(pages[0])
    await client.delete(f"/{release}/Subscription/{every[0]}")
    assert ids(await follow(pages[0], "next")) == every[3:6], "nothing is passed over"
    await client.delete(f"/{release}/Subscription/{every[2]}")
    assert ids(await follow(pages[0], "next")) == every[3:6], "not even if the page's last item is gone"


@pytest.mark.parametrize("release", Release)
async def test_summaries_and_elements_return_marked_subsets(
    client: httpx.AsyncClient, release: Release
) -> None:
    text = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">vital signs</div>'}
    extension = [{"url": "http://example.org/e", "valueDecimal": 1}]
    subscription_id = await register(client, release, text=text, extension=extension)
    url = f"/{release}/Subscription?_id={subscription_id}"
    mandatory = (
        {"status", "topic", "channelType"}
        if release is Release.R5
        else {"status", "reason", "criteria", "channel"}
    )
    shown: dict[str, set[str]] = {}
    for view in (
        *("_summary=true", "_summary=text", "_summary=data", "_summary=false"),
        *("_elements=text", "_elements=extension,end"),
    ):
        (entry,) = (await bundle_at(client, f"{url}&{view}"))["entry"]
        resource = entry["resource"]
        shown[view] = {name for name in resource if not name.startswith("_")}
        assert (SUBSETTED in resource["meta"].get("tag", [])) is (view != "_summary=false"), view
        assert resource["meta"]["versionId"] == "1"
        assert {"resourceType", "id", "meta"} | mandatory <= shown[view], view
    own = {"resourceType", "id", "meta"} | mandatory
    assert shown["_summary=text"] == shown["_elements=text"] == own | {"text"}
    assert shown["_elements=extension,end"] == own | {"extension"}
    assert "text" not in shown["_summary=data"]
    assert "extension" in shown["_summary=data"]
    assert not {"text", "extension"} & shown["_summary=true"]
    assert {"text", "extension"} <= shown["_summary=false"]


async def test_a_summary_of_a_topic_has_only_summary_elements_at_every_depth(
    client: httpx.AsyncClient,
) -> None:
    (entry,) = (await bundle_at(client, "/r5/SubscriptionTopic?_id=vital-signs&_summary=true"))["entry"]
    summary = entry["resource"]
    whole = (await client.get("/r5/SubscriptionTopic/vital-signs")).json()
    assert summary["url"] == whole["url"]
    assert "description" not in summary
    assert {name for item in summary["resourceTrigger"] for name in item} >= {"resource"}


async def test_a_total_is_returned_unless_it_is_declined(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await register(client, "r4b")
    url = "/r4b/Subscription?"
    assert (await bundle_at(client, url + "_total=accurate&_count=1"))["total"] == 2
    assert (await bundle_at(client, url + "_total=estimate"))["total"] == 2
    without = await bundle_at(client, url + "_total=none")
    assert "total" not in without
    assert len(without["entry"]) == 2
    for counting in ("_count=0", "_summary=count", "_summary=count&_total=none"):
        counted = await bundle_at(client, url + counting)
        assert (counted["total"], "entry" in counted) == (2, False)


async def test_a_search_by_post_has_the_links_of_the_search_by_get(client: httpx.AsyncClient) -> None:
    subscription_id, two = sorted([await register(client, "r4"), await register(client, "r4")])
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    posted = await client.post("/r4/Subscription/_search?status=off", data={"_count": "1"}, headers=form)
    bundle = posted.json()
    assert ids(bundle) == [subscription_id]
    following = await client.get(links(bundle)["next"])
    assert ids(following.json()) == [two]
    refused = await client.post("/r4/Subscription/_search", content=b'{"status":"off"}')
    assert refused.status_code == 415
    for path, release in (("SubscriptionTopic", "r5"), ("Basic", "r4"), ("OperationDefinition", "r4b")):
        results = await client.post(f"/{release}/{path}/_search", data={"_count": "1"}, headers=form)
        assert (results.status_code, len(results.json()["entry"])) == (200, 1), path
