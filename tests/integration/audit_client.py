"""Reads the audit trail of a broker over HTTP, for tests."""

import json
from typing import Any

import httpx

Event = dict[str, Any]


class AuditReader:
    """Reads with the auditor's role; what the reading itself leaves can be told apart by the type."""

    def __init__(self, client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> None:
        self._client = client
        self._headers = headers or {}

    async def search(self, query: str = "", release: str = "r4") -> list[Event]:
        """The AuditEvents of a search, newest first."""
        response = await self._client.get(f"/{release}/AuditEvent?{query}", headers=self._headers)
        assert response.status_code == 200, response.text
        return [each["resource"] for each in response.json().get("entry", ())]

    async def export(self, release: str = "r4", query: str = "") -> list[Event]:
        """Every AuditEvent, oldest first."""
        response = await self._client.get(
            f"/{release}/AuditEvent/$export-trail?{query}", headers=self._headers
        )
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("application/fhir+ndjson")
        return [json.loads(line) for line in response.text.splitlines()]

    async def verify(self, **query: str) -> dict[str, Any]:
        """The parameters of `$verify-trail` by name."""
        response = await self._client.get("/r4/AuditEvent/$verify-trail", params=query, headers=self._headers)
        assert response.status_code == 200, response.text
        return {
            each["name"]: next(value for key, value in each.items() if key.startswith("value"))
            for each in response.json()["parameter"]
        }


def word(event: Event) -> str:
    """The subtype of an AuditEvent of R4."""
    return str(event["subtype"][0]["code"])


def references(event: Event) -> list[str]:
    """What the AuditEvent is about."""
    return [entity["what"]["reference"] for entity in event.get("entity", ())]


def agent(event: Event) -> str:
    return str(event["agent"][0]["who"]["identifier"]["value"])
