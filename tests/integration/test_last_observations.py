"""`Observation/$lastn`: the newest Observations of each code of a subject."""

from typing import Any

import httpx

from tests.integration.search_client import bundle_at, ids

LOINC = "http://loinc.org"
PULSE, WEIGHT, LOCAL = (LOINC, "8867-4"), (LOINC, "29463-7"), ("urn:codes", "pulse")


async def put(
    client: httpx.AsyncClient, name: str, day: int | None, *codings: tuple[str, str], **members: Any
) -> None:
    code: dict[str, Any] = {"coding": [{"system": system, "code": value} for system, value in codings]}
    body = {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": code if codings else {"text": "Mood"},
        "subject": {"reference": "Patient/ana"},
    }
    if day is not None:
        body["effectiveDateTime"] = f"2026-03-{day:02d}T08:00:00Z"
    response = await client.put(f"/r4/Observation/{name}", json=body | members)
    assert response.is_success, response.text


async def test_the_newest_of_each_code_are_found(client: httpx.AsyncClient) -> None:
    await put(client, "p1", 1, PULSE)
    await put(client, "p4", 4, PULSE)
    await put(client, "p2", 2, PULSE, LOCAL)
    await put(client, "p3", 3, LOCAL)
    await put(client, "w1", 1, WEIGHT)
    await put(client, "w2", 2, WEIGHT)
    await put(client, "m3", 3)
    await put(client, "m0", None)
    await put(client, "other", 9, PULSE, subject={"reference": "Patient/ben"})
    for base in ("r4", "r5"):
        url = f"/{base}/Observation/$lastn?patient=ana"
        bundle = await bundle_at(client, url)
        assert ids(bundle) == ["p4", "p3", "m3", "w2"], "p3 came before p2 tied its code to that of p4"
        assert bundle["total"] == 4
        assert ids(await bundle_at(client, f"{url}&code={LOINC}|8867-4,{LOINC}|29463-7&max=2")) == [
            "p4",
            "w2",
            "p2",
            "w1",
        ]
        assert ids(await bundle_at(client, f"{url}&max=9&date=lt2026-03-03")) == ["w2", "p2", "w1", "p1"]
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "subject", "valueString": "Patient/ana"},
            {"name": "code", "valueString": "29463-7"},
        ],
    }
    posted = await client.post("/r4/Observation/$lastn", json=parameters)
    assert ids(posted.json()) == ["w2"]


async def test_what_it_cannot_answer_is_refused(client: httpx.AsyncClient) -> None:
    for query, name in (
        ("code=8867-4", "patient"),
        ("patient=ana&max=0", "max"),
        ("patient=ana&max=101", "max"),
        ("patient=ana&_sort=date", "_sort"),
        ("patient=ana&date=never", "date"),
    ):
        response = await client.get(f"/r4/Observation/$lastn?{query}")
        assert response.status_code == 400, f"{query}: {response.text}"
        assert response.json()["issue"][0]["expression"] == [name]
