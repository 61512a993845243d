"""Sends patches to a broker."""

import json
from typing import Any

import httpx

from tests.unit.ingest.fhirpath_patches import parameters

JSON_PATCH = "application/json-patch+json"


def op(op: str, path: str, **more: Any) -> dict[str, Any]:
    return {"op": op, "path": path, **more}


async def json_patch(
    client: httpx.AsyncClient, url: str, *operations: dict[str, Any], **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.patch(
        url, content=json.dumps(operations).encode(), headers={"Content-Type": JSON_PATCH} | named
    )


async def fhirpath_patch(
    client: httpx.AsyncClient, url: str, *operations: dict[str, Any], **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps(parameters(*operations)).encode()
    return await client.patch(url, content=content, headers=named)


async def put(client: httpx.AsyncClient, url: str, **members: Any) -> httpx.Response:
    *_, resource_type, resource_id = url.split("/")
    body = {"resourceType": resource_type, "id": resource_id} | members
    response = await client.put(url, content=json.dumps(body).encode())
    assert response.is_success, response.text
    return response
