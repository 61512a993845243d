"""Resources with identifiers, and requests with preconditions in their headers."""

from typing import Any

import httpx
import orjson


def patient(value: str = "", **more: Any) -> dict[str, Any]:
    identifier = {"identifier": [{"system": "urn:m", "value": value}]} if value else {}
    return {"resourceType": "Patient"} | identifier | more


def reading(subject: str, performer: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pulse"},
        "subject": {"reference": subject},
        "performer": [{"reference": performer}],
    }


async def send(
    client: httpx.AsyncClient, method: str, url: str, body: Any = None, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = b"" if body is None else orjson.dumps(body)
    return await client.request(method, url, content=content, headers=named)


async def status(client: httpx.AsyncClient, method: str, url: str, body: Any = None, **headers: str) -> int:
    return (await send(client, method, url, body, **headers)).status_code
