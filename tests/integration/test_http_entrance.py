"""What clients and load balancers send besides plain JSON: compression, marks, slashes, preflights, other
methods.
"""

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from broker.app import Running
from broker.testing.readings import HEART_RATE, observation
from tests.conftest import StartBroker

READING = json.dumps(observation(HEART_RATE, "ana", "2026-03-01T08:00:00Z", 71)).encode()
ORIGIN = "https://app.example.org"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,if-match",
}


async def post(client: httpx.AsyncClient, body: bytes, path: str = "/r4/Observation", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, content=body, headers={"Content-Type": "application/fhir+json"} | named)


def issue(response: httpx.Response) -> dict[str, Any]:
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    found: dict[str, Any] = outcome["issue"][0]
    return found


async def test_a_gzip_body_is_unpacked(client: httpx.AsyncClient) -> None:
    response = await post(client, gzip.compress(READING), Content_Encoding="gzip")
    assert response.status_code == 201
    assert response.json()["valueQuantity"]["value"] == 71


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        (gzip.compress(b" " * 20_000_000), "gzip", 413, "too-long"),
        (gzip.compress(READING)[:-9], "gzip", 400, "incomplete"),
        (gzip.compress(READING) + b"more", "gzip", 400, "incomplete"),
        (READING, "gzip", 400, "structure"),
        (READING, "br", 415, "not-supported"),
        (READING, "gzip, gzip", 415, "not-supported"),
    ],
)
async def test_a_body_that_can_not_be_unpacked_is_refused(
    client: httpx.AsyncClient, body: bytes, encoding: str, status: int, code: str
) -> None:
    response = await post(client, body, Content_Encoding=encoding)
    assert (response.status_code, issue(response)["code"]) == (status, code)


async def test_a_byte_order_mark_and_a_slash_at_the_end_are_accepted(client: httpx.AsyncClient) -> None:
    assert (await post(client, b"\xef\xbb\xbf" + READING, "/r4/Observation/")).status_code == 201
    assert (await client.get("/r5/metadata/")).status_code == 200


async def test_options_is_answered_everywhere(broker: Running, client: httpx.AsyncClient) -> None:
    for path in ("/r4", "/r4/Observation", "/r5/Observation/x", "/livez", "/"):
        response = await client.request("OPTIONS", path)
        assert response.status_code == 204
        assert "PUT" in response.headers["allow"]
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.settings.port)
    host = f"127.0.0.1:{broker.settings.port}"
    writer.write(f"OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PROPFIND", "/r4/Observation", 405),
        ("MKCOL", "/r5/Subscription/x", 405),
        ("DELETE", "/metrics", 405),
        ("POST", "/livez", 405),
        ("GET", "/nothing", 404),
        ("PURGE", "/r4/x/y/z/w", 404),
    ],
)
async def test_an_unknown_method_or_path_gets_an_outcome(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert issue(response)["code"] in {"not-supported", "not-found"}


async def test_browser_apps_of_listed_origins_are_allowed_and_no_others(start_broker: StartBroker) -> None:
    async with (
        start_broker(cors_origins=(ORIGIN,)) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60) as client,
    ):
        allowed = await client.request("OPTIONS", "/r4/Subscription", headers={"Origin": ORIGIN} | PREFLIGHT)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        other = {"Origin": "https://other.example.org"} | PREFLIGHT
        refused = await client.request("OPTIONS", "/r4/Subscription", headers=other)
        assert "access-control-allow-origin" not in refused.headers
        made = await post(client, READING, Origin=ORIGIN)
        assert made.headers["access-control-allow-origin"] == ORIGIN
        assert "ETag" in made.headers["access-control-expose-headers"]


async def test_without_the_setting_no_origin_is_allowed(client: httpx.AsyncClient) -> None:
    response = await client.request("OPTIONS", "/r4/Subscription", headers={"Origin": ORIGIN} | PREFLIGHT)
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_each_response_has_a_request_id_and_refusals_are_logged_with_it(
    client: httpx.AsyncClient,
) -> None:
    with capture_logs(processors=[merge_contextvars]) as lines:
        accepted = await post(client, READING)
        refused = await post(
            client, b'{"resourceType":"Observation","status":"secret"}', X_Request_Id="gateway-7"
        )
    assert len(accepted.headers["x-request-id"]) == 32
    assert refused.headers["x-request-id"] == "gateway-7"
    refusals = [line for line in lines if line["event"] == "request refused"]
    assert [(line["request_id"], line["status"]) for line in refusals] == [("gateway-7", 422)]
    assert "secret" not in str(refusals)


async def test_a_request_id_that_could_break_a_log_line_is_replaced(client: httpx.AsyncClient) -> None:
    response = await post(client, READING, X_Request_Id="a b=c")
    assert len(response.headers["x-request-id"]) == 32


async def test_a_wrong_system_of_a_channel_type_is_named(client: httpx.AsyncClient) -> None:
    document = {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": "http://fhir-broker.org/topics/vital-signs",
        "channelType": {"system": "http://example.org/channels", "code": "rest-hook"},
        "endpoint": "http://127.0.0.1:9/",
        "content": "id-only",
    }
    response = await client.post("/r5/Subscription", json=document)
    assert response.status_code == 422
    assert "http://example.org/channels" in issue(response)["diagnostics"]
    assert issue(response)["expression"] == ["Subscription.channelType"]


async def test_a_plus_of_a_media_type_need_not_be_escaped_in_a_search(client: httpx.AsyncClient) -> None:
    document = {
        "resourceType": "Subscription",
        "status": "requested",
        "topic": "http://fhir-broker.org/topics/vital-signs",
        "channelType": {"code": "websocket"},
        "contentType": "application/fhir+json",
        "content": "id-only",
    }
    assert (await client.post("/r5/Subscription", json=document)).status_code == 201
    for query in ("application/fhir+json", "application%2Ffhir%2Bjson"):
        assert (await client.get(f"/r5/Subscription?payload={query}")).json()["total"] == 1


@pytest.mark.parametrize(("tags", "status"), [(('W/"99"', 'W/"1"'), 200), (('W/"99"', 'W/"98"'), 412)])
async def test_a_precondition_on_several_header_lines_is_one_list(
    client: httpx.AsyncClient, tags: tuple[str, str], status: int
) -> None:
    patient = {"resourceType": "Patient", "id": "ana"}
    assert (await client.put("/r4/Patient/ana", json=patient)).status_code == 201
    headers = [("Content-Type", "application/fhir+json"), *(("If-Match", tag) for tag in tags)]
    changed = json.dumps(patient | {"active": True})
    assert (await client.put("/r4/Patient/ana", content=changed, headers=headers)).status_code == status
