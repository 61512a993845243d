"""Readings that tests of searches store, and what they read of the pages that they get."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.integration.search_client import Bundle, bundle_at, links

LOINC = "http://loinc.org"
CODES = ("8867-4", "8310-5", "29463-7")
DAYS = 5


def reading(number: int, **more: Any) -> dict[str, Any]:
    """Readings of three patients, three codes and two devices, on five days."""
    return {
        "resourceType": "Observation",
        "id": f"o{number:02d}",
        "status": "final" if number % 4 else "amended",
        "code": {"coding": [{"system": LOINC, "code": CODES[number % 3]}]},
        "subject": {"reference": f"Patient/p{number % 3}"},
        "performer": [{"reference": "Practitioner/doc"}],
        "device": {"reference": f"Device/d{number % 2}"},
        "effectiveDateTime": f"2026-03-{1 + number % DAYS:02d}T08:00:00Z",
        "valueQuantity": {"value": 60 + number, "unit": "/min"},
    } | more


async def put(client: httpx.AsyncClient, *resources: Mapping[str, Any], release: str = "r4") -> None:
    for resource in resources:
        url = f"/{release}/{resource['resourceType']}/{resource['id']}"
        response = await client.put(url, json=resource)
        assert response.is_success, response.text


async def pages(client: httpx.AsyncClient, url: str) -> list[Bundle]:
    found = [await bundle_at(client, url)]
    while "next" in links(found[-1]):
        found.append(await bundle_at(client, links(found[-1])["next"]))
    return found


def matches(bundle: Bundle, mode: str = "match") -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", []) if entry["search"]["mode"] == mode]


def warnings(bundle: Bundle) -> str:
    outcomes = [entry for entry in bundle.get("entry", []) if entry["search"]["mode"] == "outcome"]
    return " ".join(issue["diagnostics"] for entry in outcomes for issue in entry["resource"]["issue"])
