"""The log of a process: one format for all lines, the id of a request on its lines, and no contents."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from broker.testing.subscriber import SimulatedSubscriber
from tests.integration.broker_fixture import BrokerFixture, Script
from tests.integration.commands import Command
from tests.ports import free_port

_JSON = {"Content-Type": "application/fhir+json"}
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def _send_what_is_no_http(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"no http\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def _refused(client: httpx.AsyncClient) -> dict[str, tuple[str, str, int]]:
    """Sends requests of every part of the process that are refused; their method, path and status by id."""
    requests = {
        "fhir": ("PUT", "/r4/Patient/p1", b'{"resourceType":"Patient","id":"hunter2"}'),
        "type": ("GET", "/r5/Nothing?name=hunter2", b""),
        "elsewhere": ("GET", "/hunter/nothing?name=hunter2", b""),
        "method": ("POST", "/metrics", b"hunter2"),
    }
    refused = {}
    for name, (method, path, content) in requests.items():
        headers = _JSON | {"X-Request-Id": name}
        response = await client.request(method, path, content=content, headers=headers)
        assert response.headers["x-request-id"] == name
        refused[name] = (method, path.partition("?")[0], response.status_code)
    return refused


async def test_all_lines_are_json_on_request(tmp_path: Path, subscriber: SimulatedSubscriber) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {"port": str(port), "data_dir": str(tmp_path / "data"), "log_level": "debug"}
    with Command.of_broker(tmp_path, "serve", log_format="json", **settings) as serve:
        await serve.until_ready(base)
        async with httpx.AsyncClient(base_url=base, trust_env=False, headers=_JSON, timeout=60) as client:
            fixture = BrokerFixture(client, subscriber)
            await fixture.subscribe("a")
            client.headers["traceparent"] = f"00-{_TRACE}-00f067aa0ba902b7-01"
            subscriber.endpoint("a").answer = Script(503)
            await fixture.send(1)
            await fixture.until_numbers("a", 1)
            await fixture.send(1)
            await fixture.until_numbers("a", 2)
            refused = await _refused(client)
        await _send_what_is_no_http(port)
        assert await serve.stop() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in serve.output.splitlines()]
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"], line
        assert all(line[name] for name in ("time", "level", "logger", "message")), line
    assert {
        line["request_id"]: (line["method"], line["path"], line["status"])
        for line in lines
        if line["message"] == "request refused"
    } == refused
    assert "hunter2" not in serve.output
    traced = {"request refused", "notification delivered", "notification not delivered"}
    assert traced <= {line["message"] for line in lines if line.get("trace_id") == _TRACE}
    assert [line["logger"] for line in lines if "Invalid HTTP request" in line["message"]] == [
        "uvicorn.error"
    ]
    [activated] = [line for line in lines if line["message"] == "subscription status changed"]
    assert (activated["level"], activated["before"], activated["status"]) == ("info", "requested", "active")
    delivered = [line for line in lines if line["message"] == "notification delivered"]
    assert [(line["level"], line["attempt"], line["last_event"]) for line in delivered] == [
        ("debug", 1, None),
        ("info", 2, 1),
        ("debug", 1, 2),
    ]
