"""Topics on Flag, and Flags to change."""

from typing import Any

from tests.integration.broker_fixture import BrokerFixture

NOWHERE = "http://127.0.0.1:9/never"


T = "http://example.org/topics"


ALWAYS = [{"resource": "Flag"}]


TOPICS: list[dict[str, Any]] = [
    {"id": "any", "url": f"{T}/any", "resourceTrigger": [*ALWAYS, *ALWAYS]},
    {
        "id": "created",
        "url": f"{T}/created",
        "resourceTrigger": [{"resource": "Flag", "supportedInteraction": ["create"]}],
    },
    {"id": "everything", "url": f"{T}/everything", "resourceTrigger": [{"resource": "Resource"}]},
    {
        "id": "patients",
        "url": f"{T}/patients",
        "resourceTrigger": ALWAYS,
        "canFilterBy": [{"resource": "Flag", "filterParameter": "patient"}],
    },
    {"id": "later", "url": f"{T}/later", "resourceTrigger": [{"resource": "Transport"}]},
    {"id": "silent", "url": f"{T}/silent"},
    {"id": "old", "url": f"{T}/versions", "version": "1.9", "resourceTrigger": ALWAYS},
    {"id": "new", "url": f"{T}/versions", "version": "1.10", "resourceTrigger": ALWAYS},
    {"id": "gone", "url": f"{T}/versions", "version": "2", "status": "retired", "resourceTrigger": ALWAYS},
    {"id": "draft", "url": f"{T}/draft", "status": "draft", "resourceTrigger": ALWAYS},
    {"id": "unknown", "url": f"{T}/unknown", "status": "unknown", "resourceTrigger": ALWAYS},
]


def flag(flag_id: str, patient: str = "p1") -> dict[str, Any]:
    return {
        "resourceType": "Flag",
        "id": flag_id,
        "status": "active",
        "code": {"text": "falls"},
        "subject": {"reference": f"Patient/{patient}"},
    }


async def put(broker_fixture: BrokerFixture, flag_id: str, patient: str = "p1") -> int:
    response = await broker_fixture.client.put(f"/r4/Flag/{flag_id}", json=flag(flag_id, patient))
    return response.status_code
