"""A Subscription that writes to a FHIR server, and a simulated server over HTTP."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from broker.egress.http import HttpResponse
from broker.testing.registration import BACKPORT, subscription
from tests.integration.broker_fixture import VITAL_SIGNS
from tests.unit.channels.simulated_fhir_server import BASE, SimulatedFhirServer

CHANNEL = {"system": "http://fhir-broker.org/channel-types", "code": "fhir-write"}
Access = Callable[[Mapping[str, str]], bool]


def write_subscription(
    release: str = "r4",
    endpoint: str = "fhir-write:ehr",
    *,
    topic: str = VITAL_SIGNS,
    content: str = "full-resource",
    **options: Any,
) -> dict[str, Any]:
    registered = subscription(release, topic, endpoint, content=content, **options)
    if release == "r5":
        return registered | {"channelType": CHANNEL}
    extension = {"url": f"{BACKPORT}backport-channel-type", "valueCoding": CHANNEL}
    registered["channel"]["_type"] = {"extension": [extension]}
    return registered


def capabilities() -> dict[str, Any]:
    def resource(name: str, *codes: str) -> dict[str, Any]:
        return {
            "type": name,
            "interaction": [{"code": code} for code in codes],
            "conditionalCreate": True,
            "conditionalUpdate": True,
            "searchParam": [{"name": "identifier"}],
        }

    resources = [
        resource("Observation", "create", "update"),
        resource("Patient", "search-type"),
        resource("Device", "create", "search-type"),
    ]
    rest = {"mode": "server", "interaction": [{"code": "transaction"}], "resource": resources}
    return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [rest]}


async def serve(
    server: SimulatedFhirServer,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    may_access: Access = lambda _headers: True,
) -> None:
    """The simulated server on one connection. It answers 401 to requests that have no access."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        method, path, _ = head[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head[1:])
        body = await reader.readexactly(int(headers["Content-Length"]))
        given = tuple(headers.items())
        url = BASE + path.removeprefix("/fhir")
        if may_access(headers):
            answer = await server.send(
                method, url, headers=given, attempt_headers=given, body=body, timeout_s=1
            )
        else:
            answer = HttpResponse(401, None, b"")
        assert isinstance(answer, HttpResponse)
        location = f"Location: {answer.location}\r\n" if answer.location else ""
        line = f"HTTP/1.1 {answer.status} Whatever\r\n{location}Content-Length: {len(answer.body)}\r\n\r\n"
        writer.write(line.encode() + answer.body)
        await writer.drain()
