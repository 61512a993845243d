"""The access column: every row of every table is checked, for single requests, entries of Bundles, and other
routes.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.api.routes import HEALTH, OAUTH, ROUTES, mounted
from broker.app import Running
from broker.fhir.operation import ANY_TYPE
from broker.fhir.operation_definitions import OPERATIONS
from broker.model.access import Access
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import OPEN_PRINCIPAL, Principal, PrincipalRole
from broker.model.scopes import parse_scopes
from broker.model.subscription import SubscriptionId
from broker.store.protocol import Store
from broker.store.subscriptions import Subscriptions
from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.integration.broker_fixture import WAIT_S, until_ready
from tests.integration.interaction_rows import ROWS, concrete

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
PATIENT = {"resourceType": "Patient"}
DEVICE = {"resourceType": "Device"}


def principal(
    name: str, *scopes: str, roles: tuple[str, ...] = (), tenant: str = DEFAULT_TENANT
) -> Principal:
    return Principal(name, Tenant(tenant), parse_scopes(" ".join(scopes)), frozenset(roles))


PRINCIPALS = {
    "": OPEN_PRINCIPAL,
    "nobody": principal("nobody"),
    "gateway": principal("gateway", "system/Patient.c", "system/Patient.u"),
    "basics": principal("basics", "system/Basic.cruds"),
    "ward": principal("ward", "system/Subscription.cruds", "system/Observation.r"),
    "elsewhere": principal("elsewhere", "system/*.cruds", roles=tuple(PrincipalRole), tenant="elsewhere"),
}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    """The principal that the header X-Client names; the open one without it."""
    return PRINCIPALS[headers.get("x-client", "")]


async def page(_request: object) -> PlainTextResponse:
    return PlainTextResponse("a console")


CONSOLE = Starlette(routes=[Route("/", page)])


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    mounts = [
        mounted("/console", CONSOLE, Access(role=PrincipalRole.OPERATOR)),
        mounted("/static", CONSOLE, Access.PUBLIC),
    ]
    async with start_broker(authenticate=authenticate, mounts=mounts) as running:
        yield running


def as_client(name: str) -> dict[str, str]:
    return {"X-Client": name}


def check_forbidden(response: httpx.Response) -> None:
    assert response.status_code == 403, response.text
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["code"] == "forbidden"
    assert "nobody" in outcome["issue"][0]["diagnostics"]


def test_every_row_has_an_access_and_only_these_are_public() -> None:
    accesses = [row.access for row in ROWS] + [row.access for row in (*ROUTES, *OAUTH)]
    assert all(isinstance(access, Access) for access in accesses)
    public = {f"{row.method} {row.path}" for row in ROWS if row.access.is_public}
    assert public == {"GET metadata", "GET .well-known/smart-configuration"}
    assert {row.path for row in OAUTH if row.access.is_public} == {"/oauth/token", "/oauth/revoke"}
    public_routes = {"/livez", "/readyz", "/ws", "/oauth/jwks", "/oauth/jwks/{tenant}"}
    assert {row.path for row in ROUTES if row.access.is_public} == public_routes
    assert set(HEALTH) <= set(ROUTES)


def test_every_operation_has_a_row() -> None:
    paths = {row.path for row in ROWS}
    for operation in OPERATIONS:
        resource = "{type}" if operation.resource == ANY_TYPE else operation.resource
        if operation.at_instance:
            assert f"{resource}/{{id}}/${operation.code}" in paths
        if operation.at_type:
            assert f"{resource}/${operation.code}" in paths
        if not operation.resource:
            assert f"${operation.code}" in paths


async def test_a_principal_without_scopes_is_refused_by_every_row(client: httpx.AsyncClient) -> None:
    for release in ("r4", "r4b", "r5"):
        for row in ROWS:
            if row.access.is_public or row.access.is_authenticated:
                continue
            content = b"{}" if row.method in {"POST", "PUT"} else None
            url = f"/{release}/{concrete(row.path)}"
            check_forbidden(
                await client.request(row.method, url, content=content, headers=as_client("nobody"))
            )


async def test_a_principal_without_roles_is_refused_by_every_other_route(client: httpx.AsyncClient) -> None:
    for row in ROUTES:
        if not row.access.is_public:
            check_forbidden(await client.request(row.method, row.path, headers=as_client("nobody")))
    await until_ready(client, **as_client("nobody"))
    assert (await client.get("/metrics")).status_code == 200


async def test_a_mounted_application_stands_beside_the_bases_behind_its_access(
    client: httpx.AsyncClient,
) -> None:
    check_forbidden(await client.get("/console/", headers=as_client("nobody")))
    assert (await client.get("/console/")).text == "a console"
    assert (await client.get("/static/", headers=as_client("nobody"))).text == "a console"
    assert (await client.get("/r4/metadata", headers=as_client("nobody"))).status_code == 200
    unknown = await client.get("/r9/metadata")
    assert unknown.status_code == 404
    assert "/r4, /r4b, /r5" in unknown.json()["issue"][0]["diagnostics"]


def bundle(kind: str, *resources: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
        for resource in resources
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


async def test_each_entry_of_a_batch_passes_the_access_check(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/r4", json=bundle("batch", PATIENT, DEVICE, PATIENT), headers=as_client("gateway")
    )
    entries = response.json()["entry"]
    assert [entry["response"]["status"][:3] for entry in entries] == ["201", "403", "201"]
    assert entries[1]["response"]["outcome"]["issue"][0]["code"] == "forbidden"


async def test_a_transaction_with_a_forbidden_entry_changes_nothing(client: httpx.AsyncClient) -> None:
    mine = PATIENT | {"id": "p1"}
    document = bundle("transaction", DEVICE)
    document["entry"].insert(0, {"resource": mine, "request": {"method": "PUT", "url": "Patient/p1"}})
    response = await client.post("/r4", json=document, headers=as_client("gateway"))
    assert response.status_code == 403
    assert response.json()["issue"][0]["expression"] == ["Bundle.entry[1].request"]
    assert (await client.get("/r4/Patient/p1")).status_code == 404
    document["entry"].pop()
    allowed = await client.post("/r4", json=document, headers=as_client("gateway"))
    assert allowed.json()["entry"][0]["response"]["status"] == "201 Created"


async def test_a_scope_for_one_interaction_gives_no_other(client: httpx.AsyncClient) -> None:
    created = await client.post("/r4/Patient", json=PATIENT, headers=as_client("gateway"))
    assert created.status_code == 201
    patient = f"/r4/Patient/{created.json()['id']}"
    for method in ("GET", "DELETE"):
        assert (await client.request(method, patient, headers=as_client("gateway"))).status_code == 403
    assert (await client.get(patient)).status_code == 200


async def test_a_topic_sent_as_basic_needs_the_administrator(client: httpx.AsyncClient) -> None:
    coding = {"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}
    topic = {"resourceType": "Basic", "code": {"coding": [coding]}}
    note = {"resourceType": "Basic", "code": {"text": "a note"}}
    assert (await client.post("/r4/Basic", json=note, headers=as_client("basics"))).status_code == 201
    refused = await client.post("/r4/Basic", json=topic, headers=as_client("basics"))
    assert refused.status_code == 403
    assert "the role admin" in refused.json()["issue"][0]["diagnostics"]
    assert (await client.delete("/r4/Basic/vital-signs", headers=as_client("basics"))).status_code == 403
    assert (await client.post("/r4b/Basic", json=topic, headers=as_client("basics"))).status_code == 201


async def test_a_business_event_needs_the_scope_of_its_focus(client: httpx.AsyncClient) -> None:
    created = await client.post("/r4/Patient", json=PATIENT, headers=as_client("gateway"))
    event = {"name": "event", "valueCoding": {"system": "http://example.org", "code": "A01"}}

    async def report(focus: str) -> int:
        parameters = [event, {"name": "focus", "valueReference": {"reference": focus}}]
        body = {"resourceType": "Parameters", "parameter": parameters}
        return (await client.post("/r4/$business-event", json=body, headers=as_client("gateway"))).status_code

    assert await report(f"Patient/{created.json()['id']}") == 200
    assert await report("Device/d1") == 403


async def test_resources_and_subscriptions_of_another_tenant_do_not_exist(client: httpx.AsyncClient) -> None:
    patient = await client.put("/r4/Patient/p1", json=PATIENT | {"id": "p1"})
    assert patient.status_code == 201
    registered = await client.post("/r4/Subscription", json=subscription("r4", VITALS, NOWHERE))
    one = registered.json()["id"]
    for path in ("Patient/p1", f"Subscription/{one}", f"Subscription/{one}/$status"):
        assert (await client.get(f"/r4/{path}", headers=as_client("elsewhere"))).status_code == 404, path
    listed = await client.get("/r4/Subscription/$status", headers=as_client("elsewhere"))
    assert listed.json()["total"] == 0
    deleted = await client.delete(f"/r4/Subscription/{one}", headers=as_client("elsewhere"))
    assert deleted.status_code == 404


async def test_a_subscription_is_owned_by_the_client_that_created_it(
    client: httpx.AsyncClient, store: Store
) -> None:
    document = subscription("r4", VITALS, NOWHERE)
    created = await client.post("/r4/Subscription", json=document, headers=as_client("ward"))
    one = SubscriptionId(created.json()["id"])

    async def owner() -> str:
        record = await Subscriptions(store).get(DEFAULT_TENANT, one)
        assert record is not None
        return record.subscription.owner

    assert await owner() == "ward"
    updated = await client.put(f"/r4/Subscription/{one}", json=document | {"id": one})
    assert updated.status_code == 200
    assert await owner() == "ward", "an update by an administrator does not change the owner"


async def test_a_websocket_passes_the_guard_and_needs_a_token(
    client: httpx.AsyncClient, broker: Running
) -> None:
    url = f"ws{broker.settings.base_url.removeprefix('http')}/ws"
    async with websockets.connect(url, additional_headers=as_client("nobody"), open_timeout=WAIT_S) as socket:
        await socket.send("bind-with-token guessed")
        outcome = json.loads(await socket.recv())
        assert (outcome["resourceType"], outcome["issue"][0]["code"]) == ("OperationOutcome", "security")
    token = await client.get("/r4/Subscription/$get-ws-binding-token", headers=as_client("nobody"))
    check_forbidden(token)
    stream = await client.get("/r4/Subscription/any/$stream", headers=as_client("nobody"))
    check_forbidden(stream)
