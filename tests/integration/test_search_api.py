"""Searches over Subscriptions, topics and operations: what is found, what is refused or ignored, and how it
is paged.
"""

from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from broker.model.release import Release
from tests.integration.search_client import VITALS, Bundle, bundle_at, ids, links, register

STORES = ("embedded", "cluster")
LENIENT = {"Prefer": "handling=lenient"}


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


async def test_a_search_that_is_not_understood_is_refused_with_the_parameter(
    client: httpx.AsyncClient,
) -> None:
    for query in (
        "status:exact=off",
        "url:exact=x",
        "status:missing=maybe",
        "_lastUpdated=yesterday",
        "_lastUpdated=xx2020",
        "status=off,",
        "_count=-1",
        "_count=x",
        "_count=\u0662",
        "_count=1&_count=2",
        "_summary=all",
        "_total=maybe",
        "_page=7",
        "_page=after.x&_sort=status",
        "_elements=colour",
        "_elements=status&_summary=true",
        "_sort:desc=status",
    ):
        response = await client.get(f"/r4/Subscription?{query}", headers=LENIENT)
        assert (response.status_code, response.json()["resourceType"]) == (400, "OperationOutcome"), query
        assert response.json()["issue"][0]["expression"], "which parameter it was"


UNSUPPORTED = (
    "colour=red",
    "name:exact=",
    "_sort=colour",
    "status=",
    "_include=Subscription:topic",
    "_count=",
)


@pytest.mark.parametrize("release", Release)
async def test_an_unsupported_parameter_is_ignored_and_reported_or_refused_by_strict_handling(
    client: httpx.AsyncClient, release: Release
) -> None:
    subscription_id = await register(client, release)
    for query in UNSUPPORTED:
        url = f"/{release}/Subscription?{query}&_sort=-status&status=off"
        for headers in ({}, LENIENT):
            bundle = await bundle_at(client, url, **headers)
            match, outcome = bundle["entry"]
            assert match["resource"]["id"] == subscription_id
            assert (outcome["search"]["mode"], outcome["resource"]["resourceType"]) == (
                "outcome",
                "OperationOutcome",
            )
            (issue,) = outcome["resource"]["issue"]
            name = query.partition("=")[0]
            assert (issue["severity"], issue["expression"][0]) == ("warning", name.partition(":")[0])
            assert bundle["total"] == 1
            assert dict(parse_qsl(urlsplit(links(bundle)["self"]).query)) == {
                "status": "off",
                "_sort": "-status",
            }
        strict = await client.get(url, headers={"Prefer": "handling=strict"})
        assert strict.status_code == 400, query
        assert strict.json()["issue"][0]["severity"] == "error"
    counted = await bundle_at(client, f"/{release}/Subscription?status=off&_count=0&_totalMethod=count")
    assert counted["total"] == 1, "how fhirpy counts"
    assert [entry["search"]["mode"] for entry in counted["entry"]] == ["outcome"]


async def test_get_with_search_in_the_path_is_the_search_of_the_type(client: httpx.AsyncClient) -> None:
    subscription_id = await register(client, "r4")
    for path in ("r4/Subscription", "r5/SubscriptionTopic", "r4/Basic", "r4b/OperationDefinition"):
        plain = await bundle_at(client, f"/{path}?_count=1")
        searched = await bundle_at(client, f"/{path}/_search?_count=1")
        assert searched["entry"] == plain["entry"]
        assert links(searched) == links(plain)
    found = await bundle_at(client, "/r4/Subscription/_search?status=off&_format=json&_pretty=true")
    assert ids(found) == [subscription_id]
    assert (await client.get("/r4/_search")).status_code == 404


async def test_a_media_type_is_found_with_an_unescaped_plus(client: httpx.AsyncClient) -> None:
    subscription_id = await register(client, "r4")
    for value in (
        "application/fhir+json",
        "application/fhir%2Bjson",
        "urn:ietf:bcp:13|application/fhir+json",
    ):
        assert ids(await bundle_at(client, f"/r4/Subscription?payload={value}")) == [subscription_id], value


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


async def test_a_search_by_post_has_the_links_of_the_search_by_get(client: httpx.AsyncClient) -> None:
    subscription_id, two = sorted([await register(client, "r4"), await register(client, "r4")])
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    posted = await client.post("/r4/Subscription/_search?status=off", data={"_count": "1"}, headers=form)
    bundle = posted.json()
    assert ids(bundle) == [subscription_id]
    following = await client.get(links(bundle)["next"])
    assert ids(following.json()) == [two]
    as_form = {"_format": "json", "_pretty": "true", "status": "off"}
    formatted = await client.post("/r4/Subscription/_search", data=as_form, headers=form)
    assert formatted.content.startswith(b'{\n  "')
    unsupported = await client.post("/r4/Subscription/_search", data={"_format": "xml"}, headers=form)
    assert unsupported.status_code == 406
    refused = await client.post("/r4/Subscription/_search", content=b'{"status":"off"}')
    assert refused.status_code == 415
    for path, release in (("SubscriptionTopic", "r5"), ("Basic", "r4"), ("OperationDefinition", "r4b")):
        results = await client.post(f"/{release}/{path}/_search", data={"_count": "1"}, headers=form)
        assert (results.status_code, len(results.json()["entry"])) == (200, 1), path
