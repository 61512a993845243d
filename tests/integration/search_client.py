"""Registers Subscriptions and searches them: what the tests of searches share."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from broker.model.release import Release
from broker.testing.registration import subscription
from tests.fhir.rows import read_back

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
FLAG_TOPIC = {
    "resourceType": "SubscriptionTopic",
    "id": "flags",
    "url": "http://example.org/topics/flags",
    "version": "1",
    "status": "active",
    "resourceTrigger": [{"description": "Any change of a flag", "resource": "Flag"}],
}
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
