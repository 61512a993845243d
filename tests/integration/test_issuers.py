"""Access tokens of an external issuer: what is verified, how claims become rights, rotation and outages."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from broker.errors import ConfigurationError
from broker.security import key_sets
from tests.conftest import StartBroker
from tests.integration.broker_fixture import until
from tests.integration.fake_issuer import AUDIENCE, RSA_KEY, Issuer, running_issuer
from tests.integration.smart_broker import SmartBroker, smart_broker
from tests.smart_clients import register

CONFIGURATION = """
[[issuer]]
name = "idp"
issuer = "{url}"
audience = "https://broker.example"
scope = "system/Observation.crs system/Subscription.cruds"
tenant_claim = "hospital"
tenants = ["default", "north"]
group_claims = ["realm_access.roles"]
disabled_clients = ["left"]
[issuer.groups.operators]
roles = ["operator"]
scope = "system/Subscription.rs"
"""


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with running_issuer() as running:
        yield running


@pytest.fixture
async def smart(start_broker: StartBroker, tmp_path: Path, issuer: Issuer) -> AsyncIterator[SmartBroker]:
    register(tmp_path, "gateway", "system/Observation.rs")
    configuration = tmp_path / "issuers.toml"
    configuration.write_text(CONFIGURATION.format(url=issuer.url))
    async with smart_broker(start_broker, tmp_path, issuers=configuration) as running:
        yield running


async def read(smart: SmartBroker, token: str, path: str = "/r4/Observation/none") -> httpx.Response:
    return await smart.client.get(path, headers={"Authorization": f"Bearer {token}"})


async def test_a_token_has_the_scopes_and_roles_that_its_claims_are_mapped_to(
    smart: SmartBroker, issuer: Issuer
) -> None:
    token = issuer.token()
    assert (await read(smart, token)).status_code == 404
    assert (await read(smart, token, "/r4/Patient/none")).status_code == 403  # more than the file allows
    assert (await read(smart, token, "/metrics")).status_code == 403
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]
    listed = issuer.token(scope=None, scp=["system/Observation.r"], kid="ec", algorithm="ES256")
    assert (await read(smart, listed)).status_code == 404
    operator = issuer.token(scope="", realm_access={"roles": ["operators", "others"]})
    assert (await read(smart, operator, "/metrics")).status_code == 200
    assert (await read(smart, operator)).status_code == 403
    assert (await read(smart, await smart.token("gateway", "system/Observation.rs"))).status_code == 404


async def test_a_token_has_the_tenant_of_its_claim(smart: SmartBroker, issuer: Issuer) -> None:
    headers = {"Content-Type": "application/fhir+json"}
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "pulse"}}
    scope = "system/Observation.cr"
    headers["Authorization"] = f"Bearer {issuer.token(hospital='north', scope=scope)}"
    created = await smart.client.post("/r4/Observation", json=observation, headers=headers)
    assert created.status_code == 201, created.text
    path = f"/r4/Observation/{created.json()['id']}"
    assert (await read(smart, issuer.token(hospital="north"), path)).status_code == 200
    assert (await read(smart, issuer.token(), path)).status_code == 404


BAD: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "no exp": {"exp": None},
    "exp as a string": {"exp": "4000000000"},
    "exp of no clock": {"exp": 10**400},
    "exp as a boolean": {"exp": True},
    "not yet": {"nbf": 4_000_000_000},
    "other audience": {"aud": "https://other.example"},
    "no audience": {"aud": None},
    "other issuer": {"iss": "https://other.example"},
    "no client": {"client_id": None},
    "client with spaces": {"client_id": "a b"},
    "disabled client": {"client_id": "left"},
    "unknown tenant": {"hospital": "south"},
    "no tenant": {"hospital": None},
    "two tenants": {"hospital": ["default", "north"]},
    "bound to a key": {"cnf": {"jkt": "x"}},
    "unknown kid": {"kid": "other"},
    "key of another type": {"kid": "rsa2", "algorithm": "RS256"},
    "id token type": {"header": {"typ": "logout+jwt"}},
    "critical extension": {"header": {"crit": ["x"], "x": 1}},
}


@pytest.mark.parametrize("changed", BAD.values(), ids=BAD)
async def test_a_bad_token_is_401_of_one_shape(
    smart: SmartBroker, issuer: Issuer, changed: dict[str, Any]
) -> None:
    refused = await read(smart, issuer.token(**changed))
    assert refused.status_code == 401, refused.text
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert refused.json()["issue"][0]["diagnostics"].startswith("The access token is not valid")


async def test_forged_tokens_are_refused(smart: SmartBroker, issuer: Issuer) -> None:
    good = issuer.token()
    head, payload, signature = good.split(".")
    pem = RSA_KEY.public_key()
    forged = [
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[:-4]}AAAA",
        "a.b.c",
        "..",
        jwt.encode({"iss": issuer.url, "aud": AUDIENCE}, "", algorithm="none", headers={"kid": "rsa"}),
        jwt.encode(
            {"iss": issuer.url, "aud": AUDIENCE}, str(pem) * 2, algorithm="HS256", headers={"kid": "rsa"}
        ),
        f"{head}.{payload}.{signature}" + "A" * 9_000,
    ]
    for token in forged:
        assert (await read(smart, token)).status_code == 401
    assert (await read(smart, good)).status_code == 404


async def test_a_new_key_works_at_once_and_one_that_is_gone_does_not(
    smart: SmartBroker, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_sets, "REFETCH_S", 0.0)
    assert (await read(smart, issuer.token())).status_code == 404
    issuer.keys = {"new": ec.generate_private_key(ec.SECP384R1())}
    assert (await read(smart, issuer.token(kid="new", algorithm="ES384"))).status_code == 404
    assert (await read(smart, issuer.token(client_id="another"))).status_code == 401


async def test_an_outage_is_no_refusal(smart: SmartBroker, issuer: Issuer) -> None:
    issuer.is_down = True
    unknown = await read(smart, issuer.token())
    assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "5")
    assert (await read(smart, issuer.token(), "/metrics")).status_code == 503
    issuer.is_down = False

    async def is_accepted() -> bool:
        return (await read(smart, issuer.token())).status_code == 404

    await until(is_accepted)
    issuer.is_down = True
    assert (await read(smart, issuer.token(client_id="another"))).status_code == 404  # by the cached keys


async def test_a_discovery_document_of_another_issuer_is_not_used(smart: SmartBroker, issuer: Issuer) -> None:
    issuer.claimed = "https://other.example"
    assert (await read(smart, issuer.token())).status_code == 503
    assert issuer.requests == ["/.well-known/openid-configuration"]


async def test_a_change_of_the_file_holds_for_tokens_that_were_verified(
    smart: SmartBroker, issuer: Issuer
) -> None:
    token = issuer.token()
    assert (await read(smart, token)).status_code == 404
    path = smart.broker.settings.issuers
    assert path is not None
    path.write_text(CONFIGURATION.format(url=issuer.url).replace('"left"', '"ehr"'))
    await smart.broker.reload()

    async def is_refused() -> bool:
        return (await read(smart, token)).status_code == 401

    await until(is_refused)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("scope = ", "scopes = ", "issuer[0].scopes: not a member"),
        ('"https://broker.example"', "[]", "issuer[0].audience: missing"),
        ('name = "idp"', 'name = "a b"', "issuer[0].name: "),
        ("system/Subscription.rs", "system/Patient.rs", "issuer[0].groups.operators.scope: "),
        ('["operator"]', '["root"]', "issuer[0].groups.operators.roles: "),
        ('tenants = ["default", "north"]', "", "issuer[0].tenant_claim: "),
        ("{url}", "https://10.0.0.1", "issuer[0].issuer: 10.0.0.1 is not a public address"),
        ("[[issuer]]", "[[issuer", "issuers.toml: "),
        ("tenant_claim", 'algorithms = ["HS256"]\ntenant_claim', "issuer[0].algorithms: 'HS256'"),
        ("tenant_claim", "clock_skew = 900\ntenant_claim", "issuer[0].clock_skew: "),
    ],
)
async def test_a_mistake_in_the_file_stops_the_start_with_its_element(
    start_broker: StartBroker, tmp_path: Path, old: str, new: str, part: str
) -> None:
    path = tmp_path / "issuers.toml"
    path.write_text(CONFIGURATION.replace(old, new, 1).replace("{url}", "https://idp.example"))
    with pytest.raises(ConfigurationError) as refused:
        async with smart_broker(start_broker, tmp_path, issuers=path):
            pass
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)
