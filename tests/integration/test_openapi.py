"""docs/openapi.json: the endpoints beside FHIR answer as it says, for every status that it names."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.conftest import StartBroker
from tests.integration.broker_fixture import until_ready
from tests.integration.commands import REPOSITORY
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import register, registration

DOCUMENT: dict[str, Any] = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
NOT_PROVOKED = {"413", "429", "503"}
"""Other tests show these; here they would need a store that fails, or megabytes."""
STRICT = "strict-monitor"
"""A mapping that refuses readings with a patient."""
JSON = {"Content-Type": "application/json"}


class Checker:
    """Compares answers with the document, and remembers which of its statuses were seen."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str, str]] = set()

    def check(self, method: str, path: str, status: int, response: httpx.Response) -> httpx.Response:
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        answer = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
        self.seen.add((method, path, str(status)))
        if "content" not in answer:
            assert not response.content
            return response
        media_type = response.headers["content-type"].partition(";")[0]
        schema = answer["content"][media_type]["schema"]
        if media_type.endswith("json"):
            Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(response.json())
        return response


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path) -> AsyncIterator[SmartBroker]:
    register(tmp_path, "root", "system/*.cruds", roles=["admin", "operator"])
    register(tmp_path, "reader", "system/Observation.rs")
    mappings = tmp_path / "mappings"
    mappings.mkdir()
    strict = (REPOSITORY / "mappings" / "heart-rate-monitor.yaml").read_text()
    strict = strict.replace("heart-rate-monitor", STRICT).replace("patient:", "patient:\n  policy: refuse", 1)
    (mappings / f"{STRICT}.yaml").write_text(strict)
    settings = {"mappings_dir": mappings, "reading_patients": "create"}
    async with smart_broker(start_broker, tmp_path, **settings) as running:
        yield running


def reading(time: str, **members: Any) -> dict[str, Any]:
    return {
        "kind": "heart-rate-monitor",
        "device": {"system": "http://example.org/devices", "value": "strap-1"},
        "patient": {"system": "http://example.org/patients", "value": "ana"},
        "readings": [{"time": time, "heartRate": 72}],
    } | members


async def check_health(checker: Checker, root: httpx.AsyncClient, smart: SmartBroker) -> None:
    checker.check("GET", "/livez", 200, await smart.client.get("/livez"))
    checker.check("GET", "/readyz", 200, await until_ready(smart.client))
    checker.check("GET", "/metrics", 401, await smart.client.get("/metrics"))
    checker.check("GET", "/metrics", 200, await root.get("/metrics"))
    async with smart.as_client("reader", "system/Observation.rs") as reader:
        checker.check("GET", "/metrics", 403, await reader.get("/metrics"))
        refused = await reader.post("/readings", json=reading("2026-03-01T08:00:00Z"), headers=JSON)
        checker.check("POST", "/readings", 403, refused)
        for method, path, target in (
            ("GET", "/oauth/clients", "/oauth/clients"),
            ("POST", "/oauth/clients", "/oauth/clients"),
            *(
                (method, "/oauth/clients/{client_id}", "/oauth/clients/x")
                for method in ("GET", "PUT", "DELETE")
            ),
        ):
            checker.check(method, path, 403, await reader.request(method, target))
            checker.check(method, path, 401, await smart.client.request(method, target))


async def check_readings(checker: Checker, root: httpx.AsyncClient, smart: SmartBroker) -> None:
    first = reading("2026-03-01T08:00:00Z")
    for status, body in (
        (201, first),
        (200, first),
        (422, reading("2026-03-01T08:01:00Z", kind=STRICT)),
        (202, {"kind": "unheard-of"}),
        (200, [first, reading("2026-03-01T08:02:00Z"), {"kind": "unheard-of"}]),
    ):
        answer = await root.post("/readings", json=body, headers=JSON)
        checker.check("POST", "/readings", status, answer)
    checker.check("POST", "/readings", 400, await root.post("/readings", content="{", headers=JSON))
    xml = await root.post("/readings", content="<a/>", headers={"Content-Type": "text/xml"})
    checker.check("POST", "/readings", 415, xml)
    checker.check("POST", "/readings", 401, await smart.client.post("/readings", json=first))


async def check_tokens(checker: Checker, root: httpx.AsyncClient, smart: SmartBroker) -> None:
    async def post(path: str, status: int, form: dict[str, str], client: httpx.AsyncClient) -> httpx.Response:
        form_type = {"Content-Type": "application/x-www-form-urlencoded"}
        return checker.check("POST", path, status, await client.post(path, data=form, headers=form_type))

    scope = "system/Observation.rs"
    token = (await post("/oauth/token", 200, smart.form("reader", scope), smart.client)).json()[
        "access_token"
    ]
    await post("/oauth/token", 400, {"grant_type": "password"}, smart.client)
    active = await post("/oauth/introspect", 200, {"token": token}, root)
    assert active.json()["active"] is True
    assert (await post("/oauth/introspect", 200, {"token": "none"}, root)).json() == {"active": False}
    await post("/oauth/introspect", 400, {"other": "x"}, root)
    await post("/oauth/introspect", 401, {"token": token}, smart.client)
    assertion = smart.assertion("reader", aud=f"{smart.base_url}/oauth/revoke")
    revoking = smart.form("reader", scope, client_assertion=assertion)
    await post("/oauth/revoke", 200, revoking | {"token": token}, smart.client)
    await post("/oauth/revoke", 400, {"token": token}, smart.client)
    for path in ("/oauth/jwks", "/oauth/jwks/{tenant}"):
        checker.check("GET", path, 200, await smart.client.get(path.format(tenant="default")))


async def check_clients(checker: Checker, root: httpx.AsyncClient) -> None:
    path, one = "/oauth/clients", "/oauth/clients/{client_id}"
    ward = registration("ward-1", "system/Observation.c")
    checker.check("GET", path, 200, await root.get(path))
    created = checker.check("POST", path, 201, await root.post(path, json=ward, headers=JSON))
    checker.check("POST", path, 409, await root.post(path, json=ward, headers=JSON))
    checker.check("POST", path, 400, await root.post(path, json={"scope": 1}, headers=JSON))
    text = {"Content-Type": "text/plain"}
    checker.check("POST", path, 415, await root.post(path, content="{}", headers=text))
    etag = {"If-Match": created.headers["ETag"]}
    changed = ward | {"client_name": "Ward 1"}

    async def put(status: int, client_id: str, body: Any, headers: dict[str, str]) -> None:
        answer = await root.put(f"{path}/{client_id}", json=body, headers=JSON | headers)
        checker.check("PUT", one, status, answer)

    await put(200, "ward-1", changed, etag)
    await put(412, "ward-1", changed, etag)
    await put(400, "ward-1", {"scope": 1}, {})
    await put(404, "nobody", registration("nobody", "system/Observation.c"), {})
    await put(409, "reader", registration("reader", "system/Observation.c"), {})
    await put(415, "ward-1", changed, text)
    checker.check("GET", one, 200, await root.get(f"{path}/ward-1"))
    checker.check("GET", one, 404, await root.get(f"{path}/nobody"))
    for status, client_id, headers in (
        (412, "ward-1", etag),
        (204, "ward-1", {}),
        (404, "ward-1", {}),
        (409, "reader", {}),
    ):
        answer = await root.delete(f"{path}/{client_id}", headers=headers)
        checker.check("DELETE", one, status, answer)


async def test_every_answer_is_as_the_document_says(smart: SmartBroker) -> None:
    checker = Checker()
    async with smart.as_client("root", "system/*.cruds") as root:
        await check_health(checker, root, smart)
        await check_readings(checker, root, smart)
        await check_tokens(checker, root, smart)
        await check_clients(checker, root)
    documented = {
        (method.upper(), path, status)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        for status in operation["responses"]
    }
    assert {entry for entry in documented - checker.seen if entry[2] not in NOT_PROVOKED} == set()
