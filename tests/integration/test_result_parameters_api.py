"""Parameters that shape a result, over HTTP: order, total, and how much of each resource searches and reads
return.
"""

from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import pytest

from broker.model.release import Release
from tests.integration.search_client import bundle_at, ids, links, register

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


@pytest.mark.parametrize("release", Release)
async def test_matches_are_sorted_by_several_keys_on_all_pages(
    client: httpx.AsyncClient, release: Release
) -> None:
    endpoints = ["b", "a", "c", "a", "b"]
    urls = {await register(client, release, f"http://127.0.0.1:9/{name}"): name for name in endpoints}
    expected = sorted(urls, key=lambda each: (urls[each], each))
    descending = sorted(urls, key=lambda each: (-ord(urls[each]), each))
    for sort, wanted in (("url,_id", expected), ("-url", descending), ("status,url", expected)):
        seen: list[str] = []
        url = f"/{release}/Subscription?status=off&_sort={sort}&_count=2&_elements=status&_total=accurate"
        while url:
            bundle = await bundle_at(client, url)
            parameters = dict(parse_qsl(urlsplit(links(bundle)["self"]).query))
            assert parameters == dict(parse_qsl(urlsplit(url).query)), "links keep all of them"
            assert parameters["_sort"] == sort
            seen += ids(bundle)
            url = links(bundle).get("next", "").removeprefix(str(client.base_url).rstrip("/"))
        assert seen == wanted, sort


async def test_reads_are_narrowed_and_indented(client: httpx.AsyncClient) -> None:
    patient = {
        "resourceType": "Patient",
        "active": True,
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
        "maritalStatus": {"text": "x"},
        "meta": {"tag": [{"code": "t", "extension": [{"url": "http://e.org", "valueDecimal": 1.10}]}]},
    }
    text = orjson.dumps(patient).replace(b"1.1}", b"1.10}")
    url = (await client.post("/r4/Patient", content=text)).headers["Location"]
    version, current = url, url.partition("/_history")[0]
    subscription_id = await register(client, "r5")
    for read in (version, current):
        narrowed = await client.get(f"{read}?_elements=active&_format=json&_pretty=true")
        shown = narrowed.json()
        assert set(shown) == {"resourceType", "id", "meta", "active"}
        assert SUBSETTED in shown["meta"]["tag"]
        assert b"1.10" in narrowed.content, "the spelling stays"
        assert narrowed.content.startswith(b'{\n  "')
        assert "maritalStatus" not in (await client.get(f"{read}?_summary=true")).json()
        assert "text" not in (await client.get(f"{read}?_summary=data")).json()
        assert (await client.get(f"{read}?_summary=false")).json() == (await client.get(read)).json()
        for refused in ("_summary=count", "_summary=all", "_elements=colour"):
            assert (await client.get(f"{read}?{refused}")).status_code == 400, refused
    for path, query, missing in (
        (f"r5/Subscription/{subscription_id}", "_elements=topic", "parameter"),
        (f"r5/Subscription/{subscription_id}/_history/1", "_summary=true", "text"),
        ("r5/SubscriptionTopic/vital-signs", "_summary=true", "description"),
        ("r4/Basic/vital-signs", "_elements=code", "extension"),
        ("r5/OperationDefinition/status", "_summary=true", "parameter"),
        ("r4b/metadata", "_elements=kind", "rest"),
    ):
        response = await client.get(f"/{path}?{query}")
        assert response.status_code == 200, response.text
        assert missing not in response.json(), path
        assert SUBSETTED in response.json()["meta"]["tag"]


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
