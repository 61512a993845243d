"""What a start asks of the embedded store does not grow with the readings that it retains."""

import ipaddress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
import redis.asyncio as redis

from broker.app import Running, running
from broker.settings import Settings
from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import WAIT_S, BrokerFixture

_READINGS = 4_000
_KEY_BYTES = 40
"""Less than the name of a resource's key has: who lists the keys gets more for each."""
_AT_ONCE = 500
_AT = "2025-03-01T08:00:00Z"


class Asked(NamedTuple):
    """What the store has been asked since its process started, and how many keys it has."""

    keys: int
    commands: int
    """Also those of scripts."""
    lookups: int
    """Of keys that were read."""
    bytes_sent: int


async def asked_by(broker: Running) -> Asked:
    client = redis.Redis.from_url(broker.store_url, protocol=2)
    try:
        stats: dict[str, dict[str, Any]] = await client.info("commandstats")
        totals = await client.info("stats")
        keys = await client.dbsize()
    finally:
        await client.aclose()
    return Asked(
        keys,
        sum(stat["calls"] for stat in stats.values()),
        totals["keyspace_hits"] + totals["keyspace_misses"],
        totals["total_net_output_bytes"],
    )


async def post_readings(client: httpx.AsyncClient, count: int) -> None:
    """Posts new readings, many in a request."""
    for start in range(0, count, _AT_ONCE):
        request = {"method": "POST", "url": "Observation"}
        entries = [
            {"resource": observation(HEART_RATE, "ana", _AT, 60 + n % 60), "request": request}
            for n in range(start, min(count, start + _AT_ONCE))
        ]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        response = await client.post("/r4", content=orjson.dumps(bundle))
        assert response.status_code == 200, response.text
        assert all(entry["response"]["status"].startswith("201") for entry in response.json()["entry"])


async def test_what_a_start_reads_does_not_depend_on_the_number_of_retained_readings(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    settings = Settings(
        port=0,
        data_dir=tmp_path / "data",
        egress_allow=(ipaddress.ip_network("127.0.0.0/8"),),
        partitions=4,
        shards=4,
    )
    headers = {"Content-Type": "application/fhir+json"}
    endpoint = subscriber.endpoint("a")
    starts = []
    for count in (10, _READINGS, 0):
        async with running(settings) as broker:
            starts.append(await asked_by(broker))
            async with httpx.AsyncClient(
                base_url=broker.settings.base_url, headers=headers, timeout=60, trust_env=False
            ) as client:
                fixture = BrokerFixture(client, subscriber)
                if not endpoint.received:
                    await fixture.subscribe("a", max_count=100)
                expected = len(endpoint.numbers) + count
                await post_readings(client, count)
                await fixture.until_numbers("a", expected, 4 * WAIT_S)
                # else the next start chains the audit entries of the last seconds, as many as there are
                assert (await client.get("/r4/AuditEvent?_count=1")).status_code == 200
    _, few, many = starts
    assert many.keys >= few.keys + _READINGS, "they are retained"
    # loops that start with the broker add some in each second before this looks
    assert many.commands < few.commands + _READINGS / 4
    assert many.lookups < few.lookups + _READINGS / 4
    assert many.bytes_sent < few.bytes_sent + _READINGS * _KEY_BYTES
