"""A client of one tenant sees and changes nothing of another, in any row of the interaction table."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from broker.model.change import Tenant
from broker.model.principal import Principal, PrincipalRole
from broker.model.scopes import parse_scopes
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture, broker_with
from tests.integration.interaction_rows import ROWS

MARKER = "zebra-marker"
OWN = "system/*.cruds"
PATIENT = {"resourceType": "Patient", "id": "p1", "name": [{"family": MARKER}]}
IN_WARD = {"resourceType": "Encounter", "id": "e1", "status": "planned", "class": {"code": "IMP"}}
ENCOUNTER = IN_WARD | {"identifier": [{"system": "urn:example", "value": MARKER}]}


def principal(tenant: str) -> Principal:
    """It may do everything in its tenant."""
    return Principal("client", Tenant(tenant), parse_scopes(OWN), frozenset(map(str, PrincipalRole)))


async def authenticate(headers: Mapping[str, str]) -> Principal:
    return principal(headers.get("x-tenant", "first"))


async def test_a_client_with_every_right_in_its_tenant_reaches_nothing_of_another(
    start_broker: StartBroker, subscriber: SimulatedSubscriber
) -> None:
    async with broker_with(start_broker, subscriber, authenticate=authenticate) as desk:
        subscription_id = await desk.subscribe("hook", topic=VITAL_SIGNS)
        for resource in (PATIENT, ENCOUNTER):
            response = await desk.client.put(
                f"/r4/{resource['resourceType']}/{resource['id']}", json=resource
            )
            assert response.status_code == 201, response.text
        await desk.send(1, MARKER)
        await desk.until_numbers("hook", 1)
        before = await _stored(desk, subscription_id)
        assert MARKER in before

        walked = 0
        for release in ("r4", "r5"):
            for method, path, body, content_type in _requests(subscription_id):
                headers = {"X-Tenant": "second", "Content-Type": content_type}
                response = await desk.client.request(
                    method, f"/{release}/{path}", content=body, headers=headers
                )
                walked += 1
                assert response.status_code < 500, (method, path, response.text)
                assert MARKER not in response.text, (method, path)
                assert desk.subscriber.url("hook") not in response.text, (method, path)
        assert walked >= 2 * len([row for row in ROWS if not row.is_refusal])
        assert await _stored(desk, subscription_id) == before


def _requests(subscription_id: str) -> Iterator[tuple[str, str, str, str]]:
    """A request of each row for what the first tenant has; writes send what the row takes."""
    known = {"Patient": "p1", "Encounter": "e1", "Subscription": subscription_id}
    for row in ROWS:
        if row.is_refusal:
            continue
        for resource_type, resource_id in known.items():
            path = row.path.format(type=resource_type, id=resource_id, version="1", file="1")
            body, content_type = "", "application/fhir+json"
            if row.method == "PATCH":
                body = json.dumps([{"op": "add", "path": "/language", "value": "en"}])
                content_type = "application/json-patch+json"
            elif row.method in {"PUT", "POST"}:
                body = json.dumps(_body(row.path, resource_type, resource_id))
            yield row.method, path, body, content_type
            if "{" not in row.path:
                break


def _body(path: str, resource_type: str, resource_id: str) -> dict[str, Any]:
    if not path:
        entry = {"request": {"method": "GET", "url": f"Patient/{'p1'}"}}
        return {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    if "$" in path:
        return {"resourceType": "Parameters"}
    return {"resourceType": resource_type, "id": resource_id}


async def _stored(desk: BrokerFixture, subscription_id: str) -> str:
    """All that the first tenant has, as it reads it."""
    texts = []
    for path in ("Patient/p1", "Encounter/e1", f"Subscription/{subscription_id}", "Patient/p1/_history/1"):
        response = await desk.client.get(f"/r4/{path}")
        assert response.status_code == 200, response.text
        texts.append(response.text)
    return "\n".join(texts)
