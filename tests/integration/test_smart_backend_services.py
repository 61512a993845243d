"""SMART Backend Services over HTTP: discovery, tokens, their use at the FHIR bases, introspection and
revocation.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker.model.release import Release
from broker.security.private_keys import PrivateKey
from broker.testing.gateway import SimulatedGateway
from tests.conftest import StartBroker
from tests.integration.audit_client import AuditReader, agent, word
from tests.integration.broker_fixture import until, until_ready
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import auth_of, register, registration

OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}
READ_WRITE = "system/Observation.crs"


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[SmartBroker]:
    register(tmp_path, "gateway", READ_WRITE)
    register(tmp_path, "other", "system/*.rs")
    register(tmp_path, "root", "system/*.cruds", roles=["admin", "operator"])
    register(tmp_path, "watcher", "system/AuditEvent.rs", roles=["auditor"])
    register(tmp_path, "elsewhere", "system/*.cruds", roles=["admin"], tenant="elsewhere")
    async with smart_broker(start_broker, tmp_path) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}


def check_challenge(response: httpx.Response, status: int, error: str) -> None:
    assert response.status_code == status, response.text
    assert response.json()["resourceType"] == "OperationOutcome"
    challenge = response.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="fhir-broker"')
    assert (f'error="{error}"' in challenge) is bool(error)


@pytest.mark.parametrize("accept", ["", "application/json", "text/html", "application/fhir+xml"])
async def test_discovery_is_json_at_every_base_whatever_is_accepted(smart: SmartBroker, accept: str) -> None:
    for release in Release:
        response = await smart.client.get(
            f"/{release}/.well-known/smart-configuration", headers={"Accept": accept}
        )
        assert response.headers["Content-Type"] == "application/json"
        document = response.json()
        assert document["token_endpoint"] == smart.token_url
        assert document["grant_types_supported"] == ["client_credentials"]
        assert {"client-confidential-asymmetric", "permission-v2"} <= set(document["capabilities"])
        assert document["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert document["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert {"authorization_endpoint", "issuer"}.isdisjoint(document)
        urls = [document[name] for name in ("introspection_endpoint", "revocation_endpoint")]
        assert urls == [f"{smart.base_url}/oauth/introspect", f"{smart.base_url}/oauth/revoke"]
        statement = (await smart.client.get(f"/{release}/metadata")).json()
        coding = statement["rest"][0]["security"]["service"][0]["coding"][0]
        assert coding["code"] == "SMART-on-FHIR"


async def test_every_scope_of_discovery_is_granted_to_who_is_registered_for_it(smart: SmartBroker) -> None:
    document = (await smart.client.get("/r4/.well-known/smart-configuration")).json()
    for scope in document["scopes_supported"]:
        await smart.token("root", scope)


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
async def test_a_token_is_issued_and_opens_what_its_scopes_name(smart: SmartBroker, algorithm: str) -> None:
    key = PrivateKey.generate(algorithm)  # type: ignore[arg-type]
    (smart.clients_dir / "new.json").write_text(
        json.dumps(registration("new", READ_WRITE) | {"jwks": {"keys": [dict(key.public_jwk)]}})
    )
    await smart.broker.reload()

    async def is_known() -> bool:
        form = smart.form("new", READ_WRITE, client_assertion=smart.assertion("new", key=key))
        response = await smart.client.post("/oauth/token", data=form)
        if response.status_code == 200:
            answer.update(response.json())
        return response.status_code == 200

    answer: dict[str, object] = {}
    await until(is_known)
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 300
    assert answer["scope"] == READ_WRITE
    assert "refresh_token" not in answer
    headers = bearer(str(answer["access_token"]))
    created = await smart.client.post("/r4/Observation", json=OBSERVATION, headers=headers)
    assert created.status_code == 201
    path = f"/r5/Observation/{created.json()['id']}"
    assert (await smart.client.get(path, headers=headers)).status_code == 200
    refused = await smart.client.delete(path, headers=headers)
    check_challenge(refused, 403, "insufficient_scope")
    assert 'scope="system/Observation.d"' in refused.headers["WWW-Authenticate"]
    assert (await smart.client.get("/metrics", headers=headers)).status_code == 403


async def test_the_token_response_is_not_stored_and_a_scope_of_version_1_comes_back_as_it_was(
    smart: SmartBroker,
) -> None:
    form = smart.form("root", "system/Patient.read system/*.write")
    response = await smart.client.post("/oauth/token", data=form)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert response.json()["scope"] == "system/Patient.read system/*.write"
    headers = bearer(response.json()["access_token"])
    assert (await smart.client.get("/r4/Patient/none", headers=headers)).status_code == 404
    assert (await smart.client.get("/r4/Device/none", headers=headers)).status_code == 403
    assert (await smart.client.delete("/r4/Device/none", headers=headers)).status_code != 403


async def test_without_a_token_nothing_but_discovery_metadata_and_health_answers(smart: SmartBroker) -> None:
    for headers in ({}, bearer("outdated")):
        for path in ("/livez", "/r4/metadata", "/r4/.well-known/smart-configuration"):
            assert (await smart.client.get(path, headers=headers)).status_code == 200, path
        await until_ready(smart.client, **headers)
    for path in (
        "/metrics",
        "/r4/Observation/1",
        "/r5/Subscription",
        "/r4/nothing",
        "/r4/Subscription/a/$stream",
    ):
        check_challenge(await smart.client.get(path), 401, "")
        check_challenge(await smart.client.get(path, headers=bearer("outdated")), 401, "invalid_token")
    check_challenge(await smart.client.post("/r4", json={"resourceType": "Bundle"}), 401, "")
    check_challenge(await smart.client.post("/oauth/introspect", data={"token": "a"}), 401, "")


async def test_two_authorization_lines_are_no_credentials(smart: SmartBroker) -> None:
    token = await smart.token("root", "system/*.rs")
    for path in ("/r4/Patient/none", "/metrics"):
        twice = [("Authorization", f"Bearer {token}")] * 2
        check_challenge(await smart.client.get(path, headers=twice), 401, "invalid_token")


async def test_a_client_of_the_library_gets_its_token_itself_and_a_new_one_when_it_is_revoked(
    smart: SmartBroker,
) -> None:
    auth = auth_of(smart.base_url, "gateway", READ_WRITE)
    async with SimulatedGateway(f"{smart.base_url}/r4", auth=auth) as gateway:
        assert await gateway.send(OBSERVATION)
        token = auth._token
        assertion = smart.assertion("gateway", aud=f"{smart.base_url}/oauth/revoke")
        form = smart.form("gateway", "", client_assertion=assertion) | {"token": token}
        assert (await smart.client.post("/oauth/revoke", data=form)).status_code == 200
        assert (await smart.client.get("/r4/Observation/none", headers=bearer(token))).status_code == 401
        assert await gateway.send(OBSERVATION)
        assert auth._token != token


async def introspect(smart: SmartBroker, caller: str, token: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {await smart.token(caller, 'system/Observation.r')}"}
    response = await smart.client.post("/oauth/introspect", data={"token": token}, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


async def test_introspection_answers_the_client_itself_and_administrators_of_the_tenant(
    smart: SmartBroker,
) -> None:
    token = await smart.token("gateway", READ_WRITE)
    answer = await introspect(smart, "gateway", token)
    assert answer.pop("exp")
    assert answer == {
        "active": True,
        "client_id": "gateway",
        "scope": READ_WRITE,
        "token_type": "bearer",
    }
    assert (await introspect(smart, "root", token))["active"] is True
    inactive = {"active": False}
    assert await introspect(smart, "other", token) == inactive
    assert await introspect(smart, "elsewhere", token) == inactive
    assert await introspect(smart, "root", "unknown") == inactive


async def test_a_token_is_revoked_by_its_own_client_only(smart: SmartBroker) -> None:
    token = await smart.token("gateway", READ_WRITE)
    url = f"{smart.base_url}/oauth/revoke"

    async def revoke(client_id: str, revoked: str) -> httpx.Response:
        form = smart.form(client_id, "", client_assertion=smart.assertion(client_id, aud=url))
        return await smart.client.post("/oauth/revoke", data=form | {"token": revoked})

    refused = await revoke("other", token)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await introspect(smart, "root", token))["active"] is True
    assert (await revoke("gateway", "unknown")).status_code == 200
    assert (await revoke("gateway", token)).status_code == 200
    assert (await introspect(smart, "root", token)) == {"active": False}


async def test_what_becomes_of_tokens_is_in_the_audit_trail(smart: SmartBroker) -> None:
    token = await smart.token("gateway", READ_WRITE)
    form = smart.form("gateway", "system/Patient.d")
    assert (await smart.client.post("/oauth/token", data=form)).json()["error"] == "invalid_scope"
    forged = smart.form("gateway", READ_WRITE, client_assertion=smart.assertion("gateway", aud="https://x"))
    assert (await smart.client.post("/oauth/token", data=forged)).json()["error"] == "invalid_client"
    await introspect(smart, "gateway", token)
    url = f"{smart.base_url}/oauth/revoke"
    assertions = {client_id: smart.assertion(client_id, aud=url) for client_id in ("other", "gateway")}
    for client_id, status in (("other", 400), ("gateway", 200)):
        form = smart.form(client_id, "", client_assertion=assertions[client_id]) | {"token": token}
        assert (await smart.client.post("/oauth/revoke", data=form)).status_code == status
    async with smart.as_client("watcher", "system/AuditEvent.rs") as client:
        events = await AuditReader(client).export()
    of_gateway = [(agent(event), word(event), event["outcome"]) for event in events if word(event) == "token"]
    assert ("gateway", "token", "0") in of_gateway
    assert ("gateway", "token", "4") in of_gateway
    assert ("watcher", "token", "0") in of_gateway
    details = [event.get("outcomeDesc", "") for event in events if agent(event) == "gateway"]
    assert {"issued", "invalid_scope", "introspected", "revoked"} <= set(details)
    refusals = [event for event in events if agent(event) == "other"]
    assert [(word(each), each["outcome"], each["outcomeDesc"]) for each in refusals] == [
        ("token", "4", "invalid_grant")
    ], "the token of another client"
    entries = json.dumps(events)
    assert [each for each in assertions.values() if each in entries] == []
    failed = [event for event in events if agent(event) == "unauthenticated"]
    assert failed[-1]["outcomeDesc"].startswith("invalid_client")
    assert token not in entries


async def test_a_token_request_that_names_no_client_is_recorded_by_its_address(smart: SmartBroker) -> None:
    form = smart.form("gateway", READ_WRITE) | {"grant_type": "password"}
    refused = await smart.client.post("/oauth/token", data=form)
    assert refused.json()["error"] == "unsupported_grant_type"
    async with smart.as_client("watcher", "system/AuditEvent.rs") as client:
        events = await AuditReader(client).export()
    (failed,) = [event for event in events if agent(event) == "unauthenticated"]
    assert (failed["outcome"], failed["outcomeDesc"]) == ("4", "unsupported_grant_type")
    assert failed["agent"][0]["network"]["address"]


async def test_a_client_that_is_disabled_or_reduced_loses_its_access(smart: SmartBroker) -> None:
    tokens = {
        client_id: await smart.token(client_id, "system/Observation.r") for client_id in ("gateway", "other")
    }

    async def statuses() -> list[int]:
        return [
            (await smart.client.get("/r4/Observation/none", headers=bearer(token))).status_code
            for token in tokens.values()
        ]

    assert await statuses() == [404, 404]
    register(smart.clients_dir, "gateway", READ_WRITE, disabled=True)
    register(smart.clients_dir, "other", "system/Patient.rs")
    await smart.broker.reload()

    async def have_no_access() -> bool:
        return await statuses() == [401, 401]

    await until(have_no_access)
    refused = await smart.client.post("/oauth/token", data=smart.form("gateway", READ_WRITE))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")


async def test_a_broken_registration_changes_nothing_until_it_is_corrected(
    smart: SmartBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    (smart.clients_dir / "gateway.json").write_text("{")
    await smart.broker.reload()
    logged = ""

    async def is_logged() -> bool:
        nonlocal logged
        logged += capsys.readouterr().out
        return "clients not loaded" in logged

    await until(is_logged)
    assert "gateway.json" in logged
    await smart.token("gateway", READ_WRITE)
