"""A simulated device gateway: posts resources to a FHIR base, each with an idempotency key, and repeats a
request that got no answer, 429 or 503.
"""

import asyncio
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

_JSON = {"Content-Type": "application/fhir+json"}
_ATTEMPTS = 20
_PAUSE_S = 0.25


class SimulatedGateway:
    """Sends to one base, for example `http://127.0.0.1:8080/r4`.

    `attempts` bounds the requests for one resource, a quarter of a second apart. `auth` authenticates them at
    a broker with access control. `accepted` counts the answers 2xx.
    """

    def __init__(self, base: str, *, attempts: int = _ATTEMPTS, auth: httpx.Auth | None = None) -> None:
        self.base = base
        self._attempts = attempts
        self.accepted = 0
        self.refused: list[tuple[str, str]] = []
        self._client = httpx.AsyncClient(timeout=20, trust_env=False, auth=auth)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, resource: Mapping[str, Any] | bytes, *, label: str = "") -> bool:
        """Creates the resource, or updates it if it has an id. Returns whether it was accepted.

        Retries while the broker does not answer, or answers 429 or 503.
        """
        body = resource if isinstance(resource, bytes) else orjson.dumps(resource)
        values = orjson.loads(body)
        resource_type, resource_id = values["resourceType"], values.get("id")
        headers = _JSON | {"Prefer": "return=minimal", "Idempotency-Key": str(uuid.uuid4())}
        method, url = "POST", f"{self.base}/{resource_type}"
        if resource_id:
            method, url = "PUT", f"{url}/{resource_id}"
        response = None
        for _ in range(self._attempts):
            try:
                response = await self._client.request(method, url, content=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(_PAUSE_S)
                continue
            if response.status_code not in {429, 503}:
                break
            await asyncio.sleep(_PAUSE_S)
        if response is not None and response.is_success:
            self.accepted += 1
            return True
        self.refused.append((label or resource_type, _reason(response)))
        return False


def _reason(response: httpx.Response | None) -> str:
    if response is None:
        return "the broker does not answer"
    try:
        return "; ".join(issue["diagnostics"] for issue in response.json()["issue"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
