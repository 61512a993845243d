"""Counts what became of readings: events of a subscription to all of them, and quarantined payloads."""

import re
from typing import Any

import httpx

from broker.testing.registration import register_subscription, subscription
from tests.integration.broker_fixture import until

DEVICE_READINGS = "http://fhir-broker.org/topics/device-reading"
_PAGE = 200


async def subscribe(base: str) -> str:
    """The id of an active subscription to the readings of all devices; nobody receives its events."""
    document = subscription("r4", DEVICE_READINGS, "")
    document["channel"]["type"] = "websocket"
    del document["channel"]["endpoint"]
    async with httpx.AsyncClient(base_url=base, timeout=30, trust_env=False) as client:
        registered = await register_subscription(client, "/r4", document)
        url = f"/r4/Subscription/{registered['id']}"

        async def is_active() -> bool:
            return bool((await client.get(url)).json()["status"] == "active")

        await until(is_active)
    return str(registered["id"])


async def event_count(client: httpx.AsyncClient, subscription_id: str) -> int:
    bundle = (await client.get(f"/r5/Subscription/{subscription_id}/$status")).json()
    return int(bundle["entry"][0]["resource"]["eventsSinceSubscriptionStart"])


async def quarantined_count(client: httpx.AsyncClient) -> int:
    metrics = (await client.get("/metrics")).text
    count = re.search(r'^broker_dead_letters\{kind="reading"\} ([0-9.]+)$', metrics, re.MULTILINE)
    return int(float(count[1])) if count else 0


async def observations(client: httpx.AsyncClient, subscription_id: str, events: int) -> set[str]:
    """The Observations that the first `events` name, each as `Observation/id`."""
    names: set[str] = set()
    for first in range(1, events + 1, _PAGE):
        bundle: dict[str, Any] = (
            await client.get(
                f"/r5/Subscription/{subscription_id}/$events",
                params={"eventsSinceNumber": first, "eventsUntilNumber": min(first + _PAGE - 1, events)},
            )
        ).json()
        for event in bundle["entry"][0]["resource"].get("notificationEvent", []):
            path = event["focus"]["reference"].partition("/_history/")[0]
            names.add("/".join(path.split("/")[-2:]))
    return names
