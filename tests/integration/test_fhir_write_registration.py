"""Who may register a Subscription that writes to a FHIR server, and what it has to name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.model.principal import Principal
from broker.model.scopes import parse_scopes
from tests.conftest import StartBroker
from tests.integration.fhir_write_fixture import write_subscription

PATIENTS = "http://fhir-broker.org/topics/patient-demographics"
TARGETS = """
[[target]]
name = "ehr"
base = "http://127.0.0.1:9/fhir"
types = ["Observation"]

[[target]]
name = "ehr-of-b"
tenant = "b"
base = "http://127.0.0.1:9/fhir"
types = ["Observation"]
"""


def principal(name: str, *roles: str, tenant: str = DEFAULT_TENANT) -> Principal:
    return Principal(name, Tenant(tenant), parse_scopes("system/*.cruds"), frozenset(roles))


PRINCIPALS = {
    "admin": principal("admin", "admin"),
    "admin-of-b": principal("admin-of-b", "admin", tenant="b"),
    "ward": principal("ward", "operator", "auditor"),
}


async def authenticate(headers: Mapping[str, str]) -> Principal:
    return PRINCIPALS[headers["x-client"]]


async def test_only_an_administrator_registers_a_target_of_the_tenant_in_its_release(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(TARGETS)
    async with (
        start_broker(authenticate=authenticate, write_targets=path) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=30, trust_env=False) as client,
    ):

        async def answered(name: str, release: str = "r4", **changed: Any) -> tuple[int, str, str]:
            document, headers = write_subscription(release, **changed), {"X-Client": name}
            response = await client.post(f"/{release}/Subscription", json=document, headers=headers)
            issue = response.json().get("issue", [{}])[0]
            text = issue.get("details", {}).get("text", "") + issue.get("diagnostics", "")
            return response.status_code, issue.get("code", ""), text

        status, code, text = await answered("ward")
        assert (status, code) == (403, "forbidden")
        assert "Ask the administrator" in text
        assert await answered("ward", endpoint="fhir-write:nothing") == (status, code, text), "targets show"
        assert (await answered("admin"))[0] == 201
        assert (await answered("admin", endpoint="fhir-write:nothing"))[:2] == (422, "invalid")
        assert (await answered("admin", endpoint="fhir-write:ehr-of-b"))[:2] == (422, "invalid")
        assert (await answered("admin-of-b", endpoint="fhir-write:ehr-of-b"))[0] == 201
        status, code, text = await answered("admin", "r5")
        assert (status, code) == (422, "not-supported")
        assert "register the Subscription in R4" in text
        assert (await answered("admin", content="id-only"))[:2] == (422, "not-supported")
        status, code, text = await answered("admin", topic=PATIENTS)
        assert (status, code) == (422, "not-supported")
        assert "limits them to some elements" in text, "a write would erase the others"
