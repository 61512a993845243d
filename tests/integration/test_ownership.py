"""A client sees and changes its own Subscriptions only; another client's answer 404 in every row. An
administrator sees those of its tenant.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from broker.app import Running
from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import Principal, PrincipalRole
from broker.model.scopes import parse_scopes
from broker.testing.registration import subscription
from tests.conftest import StartBroker
from tests.integration.interaction_rows import ROWS

VITALS = "http://fhir-broker.org/topics/vital-signs"
NOWHERE = "http://127.0.0.1:9/never"
NOT_ADMIN = frozenset({str(PrincipalRole.OPERATOR), str(PrincipalRole.AUDITOR)})
IDENTIFIER = ("urn:example", "icu")


def principal(name: str, roles: frozenset[str] = frozenset(), tenant: str = DEFAULT_TENANT) -> Principal:
    return Principal(name, Tenant(tenant), parse_scopes("system/*.cruds"), roles)


PRINCIPALS = {
    "owner": principal("owner"),
    "intruder": principal("intruder", NOT_ADMIN),
    "admin": principal("admin", frozenset({"admin"})),
    "elsewhere": principal("owner", frozenset(PrincipalRole), "elsewhere"),
}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    return PRINCIPALS[headers["x-client"]]


@pytest.fixture
async def broker(start_broker: StartBroker) -> AsyncIterator[Running]:
    async with start_broker(authenticate=authenticate) as running:
        yield running


def document(channel: str = "rest-hook", **changed: Any) -> dict[str, Any]:
    built = subscription("r5", VITALS, NOWHERE, identifier=IDENTIFIER) | changed
    if channel != "rest-hook":
        built["channelType"]["code"] = channel
        del built["endpoint"]
    return built


def by(name: str, **headers: str) -> dict[str, str]:
    return {"X-Client": name, **headers}


async def registered(client: httpx.AsyncClient, name: str, **options: Any) -> str:
    response = await client.post("/r5/Subscription", json=document(**options), headers=by(name))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


_EXPLAINED = [{"name": "reference", "valueString": "Observation/none"}]
_RESENT = [{"name": "eventsSinceNumber", "valueString": "1"}]
_ADOPTED = [{"name": "client", "valueString": "owner"}]


def request_for(method: str, path: str, release: str) -> tuple[Any, dict[str, str]]:
    """Body and headers with which the owner's own request would succeed."""
    subscription_id = path.split("/")[1]
    if method == "PATCH":
        patch = [{"op": "add", "path": "/reason", "value": "mine"}]
        return patch, {"Content-Type": "application/json-patch+json"}
    if method == "PUT":
        form = document() if release == "r5" else subscription("r4", VITALS, NOWHERE)
        return form | {"id": subscription_id}, {}
    if method == "POST":
        operation = path.rpartition("/")[2]
        parameter = {"$explain": _EXPLAINED, "$resend": _RESENT, "$adopt": _ADOPTED}.get(operation, [])
        return {"resourceType": "Parameters"} | ({"parameter": parameter} if parameter else {}), {}
    return None, {}


@pytest.mark.parametrize("name", ["intruder", "elsewhere"])
async def test_every_row_of_a_subscription_is_404_for_all_but_its_owner(
    client: httpx.AsyncClient, name: str
) -> None:
    one = await registered(client, "owner", channel="websocket")
    rows = [row for row in ROWS if row.path.startswith("Subscription/{id}")]
    assert len(rows) >= 18
    for release in ("r4", "r5"):
        for row in rows:
            if row.method == "PUT" and name == "elsewhere":
                continue  # in another tenant the id is free
            path = row.path.format(id=one, version="1")
            body, headers = request_for(row.method, path, release)
            response = await client.request(
                row.method, f"/{release}/{path}", json=body, headers=by(name, **headers)
            )
            is_for_admins = "$adopt" in path and name == "intruder"
            assert response.status_code == (403 if is_for_admins else 404), (row.method, path, response.text)
    kept = (await client.get(f"/r5/Subscription/{one}", headers=by("owner"))).json()
    assert kept["meta"]["versionId"] == "1"
    assert "mine" not in kept.get("reason", "")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_precondition_does_not_tell_whether_another_client_has_the_id(
    client: httpx.AsyncClient, method: str
) -> None:
    theirs = await registered(client, "owner", channel="websocket")
    answers = []
    for name in (theirs, "nobodys"):
        body = document() | {"id": name} if method == "PUT" else None
        headers = by("intruder", **{"If-Match": 'W/"1"'})
        response = await client.request(method, f"/r5/Subscription/{name}", json=body, headers=headers)
        answers.append((response.status_code, response.text.replace(name, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 412


async def test_a_client_at_its_limit_does_not_learn_whether_another_client_has_the_id(
    start_broker: StartBroker,
) -> None:
    async with (
        start_broker(authenticate=authenticate, max_subscriptions=1) as running,
        httpx.AsyncClient(base_url=running.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        theirs = await registered(client, "owner", channel="websocket")
        own = await registered(client, "intruder", channel="websocket")
        statuses = {}
        for name in (theirs, "nobodys", own):
            body = document("websocket") | {"id": name}
            response = await client.put(f"/r5/Subscription/{name}", json=body, headers=by("intruder"))
            statuses[name] = response.status_code
        assert statuses == {theirs: 429, "nobodys": 429, own: 200}


async def test_searches_and_operations_on_many_are_about_the_own_ones(client: httpx.AsyncClient) -> None:
    mine = await registered(client, "owner", channel="websocket")
    theirs = await registered(client, "intruder", channel="websocket")

    async def ids(name: str, path: str) -> set[str]:
        bundle = (await client.get(f"/r5/{path}", headers=by(name))).json()
        assert bundle["total"] == len(bundle.get("entry", ()))
        resources = [entry["resource"] for entry in bundle.get("entry", ())]
        return {
            each.get("subscription", {}).get("reference", each["id"]).rpartition("/")[2] for each in resources
        }

    for path in (
        "Subscription",
        "Subscription?status=active",
        "Subscription/$status",
        f"Subscription/$status?id={mine}&id={theirs}",
    ):
        assert await ids("owner", path) == {mine}, path
        assert await ids("intruder", path) == {theirs}, path
        assert await ids("admin", path) == {mine, theirs}, path
        assert await ids("elsewhere", path) == set(), path
    paged = await client.get("/r5/Subscription?_count=1", headers=by("owner"))
    assert paged.json()["total"] == 1
    tokens = (await client.get("/r5/Subscription/$get-ws-binding-token", headers=by("owner"))).json()
    bound = [each["valueString"] for each in tokens["parameter"] if each["name"] == "subscription"]
    assert bound == [mine]
    named = f"/r5/Subscription/$get-ws-binding-token?id={theirs}"
    assert (await client.get(named, headers=by("owner"))).status_code == 404


async def test_conditional_requests_find_the_own_ones_only(client: httpx.AsyncClient) -> None:
    mine = await registered(client, "owner", channel="websocket")
    criteria = "identifier=urn:example|icu"
    url = f"/r5/Subscription?{criteria}"
    patch = [{"op": "add", "path": "/reason", "value": "mine"}]
    patched = await client.patch(
        url, json=patch, headers=by("intruder", **{"Content-Type": "application/json-patch+json"})
    )
    assert patched.status_code == 404
    assert (await client.delete(url, headers=by("intruder"))).status_code == 204
    created = await client.post(
        "/r5/Subscription", json=document("websocket"), headers=by("intruder", **{"If-None-Exist": criteria})
    )
    assert created.status_code == 201
    updated = await client.put(url, json=document("websocket"), headers=by("intruder"))
    assert (updated.status_code, updated.json()["id"]) == (200, created.json()["id"])
    kept = await client.get(f"/r5/Subscription/{mine}", headers=by("owner"))
    assert kept.json()["meta"]["versionId"] == "1"
    assert (await client.delete(url, headers=by("admin"))).status_code == 412, "the administrator sees both"


async def test_entries_of_a_batch_see_the_own_ones_only(client: httpx.AsyncClient) -> None:
    mine = await registered(client, "owner")
    requests = [
        ("GET", f"Subscription/{mine}"),
        ("GET", f"Subscription/{mine}/$status"),
        ("DELETE", f"Subscription/{mine}"),
    ]
    entries = [{"request": {"method": method, "url": url}} for method, url in requests]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    answer = (await client.post("/r5", json=bundle, headers=by("intruder"))).json()
    assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["404"] * 3
    assert (await client.get(f"/r5/Subscription/{mine}", headers=by("owner"))).status_code == 200


async def test_what_was_deleted_is_gone_for_its_owner_and_unknown_to_others(
    client: httpx.AsyncClient,
) -> None:
    mine = await registered(client, "owner")
    url = f"/r5/Subscription/{mine}"
    assert (await client.delete(url, headers=by("owner"))).status_code == 204
    statuses = {name: (await client.get(url, headers=by(name))).status_code for name in PRINCIPALS}
    assert statuses == {"owner": 410, "admin": 410, "intruder": 404, "elsewhere": 404}
    assert (await client.delete(url, headers=by("intruder"))).status_code == 404


async def test_an_idempotency_key_belongs_to_its_client(client: httpx.AsyncClient) -> None:
    patient = {"resourceType": "Patient"}
    for path, body in (("Patient", patient), ("Subscription", document("websocket"))):
        ids = []
        for name in ("owner", "intruder", "owner"):
            headers = by(name, **{"Idempotency-Key": "1"})
            response = await client.post(f"/r5/{path}", json=body, headers=headers)
            assert response.status_code in {200, 201}, response.text
            ids.append(response.json()["id"])
        assert ids[0] == ids[2]
        assert ids[0] != ids[1]


async def test_an_administrator_changes_a_subscription_and_its_owner_keeps_it(
    client: httpx.AsyncClient,
) -> None:
    mine = await registered(client, "owner", channel="websocket")
    url = f"/r5/Subscription/{mine}"
    updated = await client.put(
        url, json=document("websocket", id=mine, reason="checked"), headers=by("admin")
    )
    assert updated.status_code == 200
    assert (await client.get(url, headers=by("owner"))).json()["reason"] == "checked"
    assert (await client.get(url, headers=by("intruder"))).status_code == 404
