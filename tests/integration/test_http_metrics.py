"""Metrics of HTTP requests: rate, errors and duration by the row of the route, never by what clients send."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from broker.testing.readings import HEART_RATE, observation
from tests.metrics import total

_REQUESTS, _SECONDS = "broker_http_requests_total", "broker_http_duration_seconds_count"


async def test_requests_are_counted_by_the_row_of_their_route(client: httpx.AsyncClient) -> None:
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72) | {"id": "hunter2"}
    for status in (201, 200):
        assert (await client.put("/r4/Observation/hunter2", json=reading)).status_code == status
    batch = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": "Observation/hunter2"}}],
    }
    await client.post("/r4", json=batch)
    await client.get("/r5/Observation/hunter2-unknown")
    await client.get("/hunter2/nothing?hunter2=1")
    await client.request("PROPFIND", "/r4/Observation")
    await client.get("/readyz")
    await client.options("/r4/Observation/hunter2")
    page = (await client.get("/metrics")).text
    row = {"method": "PUT", "route": "/{release}/{type}/{id}"}
    assert total(page, _REQUESTS, status="201", **row) == total(page, _REQUESTS, status="200", **row) == 1
    assert total(page, _SECONDS, **row) == 2
    assert total(page, _REQUESTS, method="GET", route="/{release}/{type}/{id}", status="404") == 1
    assert total(page, _REQUESTS, method="POST", route="/{release}/", status="200") == 1
    assert total(page, _REQUESTS, route="unmatched", status="404") == 1
    assert total(page, _REQUESTS, method="other") == 1
    assert total(page, _REQUESTS, method="OPTIONS", route="*", status="204") == 1
    assert total(page, _REQUESTS, route="/readyz") == 1
    labels = {
        value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        for value in sample.labels.values()
    }
    assert not [value for value in labels if "hunter2" in value.lower()]
