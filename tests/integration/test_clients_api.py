"""The API of administrators for registered clients, in the terms of RFC 7591."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.security.private_keys import PrivateKey
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import key_of, register, registration

SCOPE = "system/Observation.rs"
GATEWAY = registration("ward 1/gateway?".replace(" ", "-"), SCOPE)
PATH = "/oauth/clients/ward-1%2Fgateway%3F"


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[SmartBroker]:
    register(tmp_path, "root", "system/*.cruds", roles=["admin", "auditor"])
    register(tmp_path, "elsewhere", "system/*.cruds", roles=["admin"], tenant="elsewhere")
    register(tmp_path, "reader", SCOPE)
    async with smart_broker(start_broker, tmp_path) as running:
        yield running


@pytest.fixture
async def root(smart: SmartBroker) -> AsyncIterator[httpx.AsyncClient]:
    async with smart.as_client("root", "system/*.cruds") as client:
        client.headers["Content-Type"] = "application/json"
        yield client


async def request_token(smart: SmartBroker, key: PrivateKey) -> httpx.Response:
    assertion = smart.assertion(GATEWAY["client_id"], key=key)
    form = smart.form(GATEWAY["client_id"], SCOPE, client_assertion=assertion)
    return await smart.client.post("/oauth/token", data=form)


def check_refusal(response: httpx.Response, status: int, error: str, part: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["error"] == error
    assert part in response.json()["error_description"]
    assert response.headers["Cache-Control"] == "no-store"


async def test_a_client_is_registered_changed_and_removed(
    smart: SmartBroker, root: httpx.AsyncClient
) -> None:
    created = await root.post("/oauth/clients", json=GATEWAY)
    assert created.status_code == 201, created.text
    assert created.headers["Location"] == f"{smart.base_url}{PATH}"
    shown = await root.get(PATH)
    since = shown.json().get("keys_since", {})
    assert list(since) == [GATEWAY["jwks"]["keys"][0]["kid"]]
    registered = GATEWAY | {"tenant": "default", "source": "store", "keys_since": since}
    assert shown.json() == registered == created.json()
    assert shown.headers["ETag"] == created.headers["ETag"]
    old = key_of(GATEWAY["client_id"])
    token = (await request_token(smart, old)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await smart.client.get("/r4/Observation/none", headers=headers)).status_code == 404

    new = PrivateKey.generate("RS384")
    both = shown.json() | {"jwks": {"keys": [dict(old.public_jwk), dict(new.public_jwk)]}}
    changed = await root.put(PATH, json=both, headers={"If-Match": shown.headers["ETag"]})
    assert changed.status_code == 200, changed.text
    assert changed.json()["keys_since"] == since | {
        new.public_jwk["kid"]: changed.json()["keys_since"][new.public_jwk["kid"]]
    }
    assert [(await request_token(smart, key)).status_code for key in (old, new)] == [200, 200]
    late = await root.put(PATH, json=both | {"disabled": True}, headers={"If-Match": shown.headers["ETag"]})
    check_refusal(late, 412, "conflict", "changed meanwhile")

    assert (await root.put(PATH, json=both | {"disabled": True})).status_code == 200
    refused = await request_token(smart, old)
    assert refused.json()["error"] == "invalid_client"

    async def is_refused() -> bool:
        return (await smart.client.get("/r4/Observation/none", headers=headers)).status_code == 401

    await until(is_refused)
    assert (await root.put(PATH, json=both)).status_code == 200
    assert (await request_token(smart, old)).status_code == 200
    late = await root.delete(PATH, headers={"If-Match": shown.headers["ETag"]})
    assert late.status_code == 412
    assert (await root.delete(PATH)).status_code == 204
    check_refusal(await root.get(PATH), 404, "not-found", "is registered in your tenant")
    check_refusal(await root.delete(PATH), 404, "not-found", "is registered in your tenant")
    assert (await request_token(smart, old)).json()["error"] == "invalid_client"

    trail = await root.get("/r4/AuditEvent?action=E&_count=100")
    details = [entry["resource"].get("outcomeDesc") for entry in trail.json().get("entry", ())]
    for act in ("register", "change", "disable", "remove"):
        assert f"{act} client {GATEWAY['client_id']}" in details, details


async def test_a_client_without_an_id_is_given_one(root: httpx.AsyncClient) -> None:
    members = {name: value for name, value in GATEWAY.items() if name != "client_id"}
    ids = {(await root.post("/oauth/clients", json=members)).json()["client_id"] for _ in range(2)}
    assert len(ids) == 2
    listed = (await root.get("/oauth/clients")).json()["clients"]
    assert ids <= {client["client_id"] for client in listed}


async def test_clients_of_files_are_shown_and_not_changed(
    smart: SmartBroker, root: httpx.AsyncClient
) -> None:
    shown = await root.get("/oauth/clients/reader")
    assert shown.json() == registration("reader", SCOPE) | {"source": "file"}
    for response in (
        await root.put("/oauth/clients/reader", json=shown.json()),
        await root.delete("/oauth/clients/reader"),
    ):
        check_refusal(response, 409, "conflict", "registered by a file of BROKER_CLIENTS_DIR")
    taken = await root.post("/oauth/clients", json=registration("reader", SCOPE))
    check_refusal(taken, 409, "duplicate", "registered already")
    assert (await root.post("/oauth/clients", json=GATEWAY)).status_code == 201
    check_refusal(await root.post("/oauth/clients", json=GATEWAY), 409, "duplicate", "registered already")

    # a file with the id of a stored client holds from the next reload on
    path = register(smart.clients_dir, "file", SCOPE)
    path.write_text(path.read_text().replace('"file"', f'"{GATEWAY["client_id"]}"'))
    await smart.broker.reload()

    async def is_of_the_file() -> bool:
        return bool((await root.get(PATH)).json()["source"] == "file")

    await until(is_of_the_file)
    assert [client["source"] for client in (await root.get("/oauth/clients")).json()["clients"]] == [
        "file"
    ] * 3


async def test_an_administrator_sees_its_tenant_only(smart: SmartBroker, root: httpx.AsyncClient) -> None:
    assert (await root.post("/oauth/clients", json=GATEWAY)).status_code == 201
    other_tenant = await root.post("/oauth/clients", json=GATEWAY | {"client_id": "a", "tenant": "elsewhere"})
    check_refusal(other_tenant, 400, "invalid_client_metadata", "tenant: ")
    async with smart.as_client("elsewhere", "system/*.cruds") as elsewhere:
        elsewhere.headers["Content-Type"] = "application/json"
        listed = (await elsewhere.get("/oauth/clients")).json()["clients"]
        assert [client["client_id"] for client in listed] == ["elsewhere"]
        for response in (
            await elsewhere.get(PATH),
            await elsewhere.put(PATH, json=GATEWAY),
            await elsewhere.delete(PATH),
            await elsewhere.delete("/oauth/clients/root"),
        ):
            assert response.status_code == 404
        taken = await elsewhere.post("/oauth/clients", json=GATEWAY)
        check_refusal(taken, 409, "duplicate", "registered already")


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"scope": "system/Observation.dus"}, "scope: "),
        ({"roles": ["root"]}, "roles: "),
        ({"client_secret": "s"}, "client_secret: "),
        ({"jwks": {"keys": []}}, "jwks.keys: "),
        ({"jwks": None, "jwks_uri": "https://10.0.0.1/jwks"}, "jwks_uri: 10.0.0.1 is not a public address"),
        ({"client_id": "two words"}, "client_id: "),
    ],
)
async def test_a_registration_that_is_not_valid_is_refused_with_its_element(
    root: httpx.AsyncClient, changed: dict[str, Any], part: str
) -> None:
    members = {name: value for name, value in (GATEWAY | changed).items() if value is not None}
    check_refusal(await root.post("/oauth/clients", json=members), 400, "invalid_client_metadata", part)


async def test_a_body_that_is_no_registration_is_refused(root: httpx.AsyncClient) -> None:
    for body in ("[]", "7", "", "{", '{"client_id": "a", "client_id": "b"}', "[" * 100_000):
        response = await root.post("/oauth/clients", content=body)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata"), body[:40]
    form = await root.post("/oauth/clients", content="a=b", headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    large = await root.post("/oauth/clients", content=b" " * 300_000)
    assert large.status_code == 413
    assert (await root.post("/oauth/clients", json=GATEWAY)).status_code == 201
    other_id = await root.put(PATH, json=GATEWAY | {"client_id": "other"})
    check_refusal(other_id, 400, "invalid_client_metadata", "client_id: not that of the URL")


async def test_a_text_with_a_lone_surrogate_is_refused(root: httpx.AsyncClient) -> None:
    body = b'{"client_id": "x", "client_name": "\\ud800", "scope": "system/Observation.rs"}'
    response = await root.post("/oauth/clients", content=body)
    assert response.status_code == 400, response.text
    assert (await root.get("/oauth/clients")).status_code == 200


async def test_other_clients_may_not_use_it(smart: SmartBroker) -> None:
    async with smart.as_client("reader", SCOPE) as reader:
        for method in ("GET", "POST"):
            assert (await reader.request(method, "/oauth/clients")).status_code == 403
        for method in ("GET", "PUT", "DELETE"):
            assert (await reader.request(method, "/oauth/clients/reader")).status_code == 403
            assert (await smart.client.request(method, "/oauth/clients/reader")).status_code == 401
