"""The example payload of every shipped mapping, sent by HTTP, through the inbox stream and by MQTT: the same
Observations, conformant to their profiles, each an event.
"""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio as redis

from broker.egress.mqtt_publisher import MqttPublisher
from broker.mapping.mapping_set import load_mappings
from broker.mapping.payloads import parse_payload
from broker.mapping.reading import MappedReading
from broker.store.embedded import url_of
from tests.integration.broker_fixture import until
from tests.integration.commands import Command
from tests.integration.mosquitto import running_mosquitto
from tests.ports import free_port
from tests.readings.counting import event_count, observations, quarantined_count, subscribe

EXAMPLES = sorted((Path(__file__).parents[2] / "mappings" / "examples").glob("*.json"))
WAYS = ("http", "inbox", "mqtt")
_OWN = ("id", "meta", "identifier", "device", "issued", "hasMember")
"""What differs between the ways: the device has another identifier in each."""
_EFFECTIVE = "effectiveDateTime"


def payload(path: Path, way: str) -> bytes:
    """The example, of a device of its own for each way."""
    document = json.loads(path.read_bytes())
    document["device"]["value"] += f"-{way}"
    return json.dumps(document).encode()


def expected_count() -> int:
    """Observations of all examples."""
    mappings = load_mappings(None)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    mapped = [each for path in EXAMPLES for each in mappings.map(parse_payload(path.read_bytes()), now)]
    assert all(isinstance(each, MappedReading) for each in mapped)
    return len(mapped)


async def send(base: str, data: Path, mqtt_server: Any) -> None:
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
        for path in EXAMPLES:
            response = await client.post(
                "/readings", content=payload(path, "http"), headers={"Content-Type": "application/json"}
            )
            assert response.status_code == 201, (path.name, response.text)
    async with redis.Redis.from_url(url_of(data)) as store:
        for path in EXAMPLES:
            await store.xadd("fhir:inbox", {"reading": payload(path, "inbox")})
    publisher = await MqttPublisher.open(mqtt_server)
    for path in EXAMPLES:
        await publisher.publish(f"devices/{path.stem}", payload(path, "mqtt"))
    await publisher.close()


async def by_way(client: httpx.AsyncClient, names: set[str], started: datetime) -> dict[str, list[str]]:
    """The Observations of each way without what is their own, in one order. The time of a reading that has
    none is that of its receipt, which was after the test had `started`.
    """
    found: dict[str, list[str]] = {way: [] for way in WAYS}
    devices: dict[str, str] = {}
    for name in names:
        document: dict[str, Any] = (await client.get(f"/r4/{name}")).json()
        reference = document["device"]["reference"]
        if reference not in devices:
            device = (await client.get(f"/r4/{reference}")).json()
            if device["resourceType"] == "DeviceMetric":
                device = (await client.get(f"/r4/{device['source']['reference']}")).json()
            devices[reference] = device["identifier"][0]["value"].rpartition("-")[2]
        profile = document.get("meta", {}).get("profile", [])
        left = {member: value for member, value in document.items() if member not in _OWN}
        if _EFFECTIVE in left and datetime.fromisoformat(left[_EFFECTIVE]) >= started:
            left[_EFFECTIVE] = "time of receipt"
        found[devices[reference]].append(json.dumps([profile, left], sort_keys=True))
    return {way: sorted(texts) for way, texts in found.items()}


async def test_every_example_gives_the_same_conformant_observations_by_every_way(tmp_path: Path) -> None:
    base, url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    started = datetime.now(UTC)
    (tmp_path / "topics.toml").write_text('[[topic]]\nfilter = "devices/+"\n')
    shared = {
        "base_url": base,
        "data_dir": str(tmp_path / "data"),
        "reading_patients": "create",
        "profile_policy": "reject",
    }
    serve = Command.of_broker(tmp_path, "serve", port=base.rpartition(":")[2], **shared)
    expected = 3 * expected_count()
    async with running_mosquitto(tmp_path) as mosquitto:
        mqtt = Command.of_broker(
            tmp_path,
            "mqtt",
            port=url.rpartition(":")[2],
            mqtt_url=f"mqtt://127.0.0.1:{mosquitto.port}",
            mqtt_topics=str(tmp_path / "topics.toml"),
            **shared,
        )
        with serve:
            await serve.until_ready(base)
            subscription_id = await subscribe(base)
            with mqtt:
                await mqtt.until_ready(url)
                await send(base, tmp_path / "data", mosquitto.server("gateway"))
                async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:

                    async def are_there() -> bool:
                        assert await quarantined_count(client) == 0
                        return await event_count(client, subscription_id) >= expected

                    await until(are_there)
                    names = await observations(client, subscription_id, expected)
                    found = await asyncio.wait_for(by_way(client, names, started), 60)
    assert len(names) == expected
    assert found["http"] == found["inbox"] == found["mqtt"]
    assert len(found["http"]) == expected // 3
