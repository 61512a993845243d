"""Sends `$explain` and reads its answer."""

from typing import Any

import httpx

from broker.testing.readings import LOINC
from tests.integration.operations_client import question

ANA_HEART_RATE = ("patient=Patient/ana", f"code={LOINC}|8867-4")


async def explain_change(
    client: httpx.AsyncClient, subscription_id: str, release: str = "r4", status: int = 200, **parameters: Any
) -> dict[str, Any]:
    response = await client.post(
        f"/{release}/Subscription/{subscription_id}/$explain", json=question(**parameters)
    )
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer
