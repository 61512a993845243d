"""What was deleted is gone: reads answer 410, and its versions are not given out again."""

import httpx
import orjson
import pytest

from broker.model.release import Release
from broker.testing.registration import subscription
from tests.fhir.rows import read_back
from tests.integration.search_client import FLAG_TOPIC, NOWHERE, VITALS, bundle_at, ids, register

STORES = ("embedded", "cluster")


async def check_gone(client: httpx.AsyncClient, url: str, release: Release) -> None:
    response = await client.get(url)
    assert response.status_code == 410, response.text
    read_back(release, response.content)
    assert response.json()["issue"][0]["code"] == "deleted"


@pytest.mark.parametrize("release", Release)
async def test_a_deleted_subscription_is_gone_until_it_is_put_again(
    client: httpx.AsyncClient, release: Release
) -> None:
    subscription_id = await register(client, release)
    url = f"/{release}/Subscription/{subscription_id}"
    document = subscription(release, VITALS, NOWHERE) | {"status": "off", "id": subscription_id}
    assert (await client.delete(url)).status_code == 204
    await check_gone(client, url, release)
    await check_gone(client, f"{url}/_history/2", release)
    await check_gone(client, f"{url}/$status", release)
    earlier = await client.get(f"{url}/_history/1")
    assert earlier.status_code == 404
    assert "deleted" in earlier.text
    assert (await client.delete(url)).status_code == 204, "repeating a delete does nothing"
    assert ids(await bundle_at(client, f"/{release}/Subscription?_id={subscription_id}")) == []
    refused = await client.put(url, content=orjson.dumps(document), headers={"If-Match": 'W/"1"'})
    assert refused.status_code == 412
    again = await client.put(url, content=orjson.dumps(document))
    assert (again.status_code, again.headers["ETag"]) == (201, 'W/"3"'), "no version is given out twice"
    assert (await client.get(url)).status_code == 200
    assert (await client.get(f"/{release}/Subscription/none")).status_code == 404
    assert (await client.delete(f"/{release}/Subscription/none")).status_code == 404


async def test_a_deleted_topic_is_gone_at_every_base(client: httpx.AsyncClient) -> None:
    body = orjson.dumps(FLAG_TOPIC)
    url = "/r5/SubscriptionTopic/flags"
    assert (await client.put(url, content=body)).status_code == 201
    assert (await client.delete(url)).status_code == 204
    await check_gone(client, url, Release.R5)
    await check_gone(client, "/r4b/SubscriptionTopic/flags", Release.R4B)
    await check_gone(client, "/r4/Basic/flags", Release.R4)
    assert (await client.delete(url)).status_code == 204
    assert (await client.put(url, content=body)).headers["ETag"] == 'W/"3"'
    assert (await client.get("/r4/Basic/flags")).status_code == 200
    for path in ("r5/SubscriptionTopic/none", "r4/Basic/none"):
        assert (await client.get(f"/{path}")).status_code == 404
