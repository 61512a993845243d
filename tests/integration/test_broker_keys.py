"""The broker's own keys as operators and servers see them: `fhir-broker keys`, and the published key sets."""

import json
import os
from pathlib import Path

import httpx

from broker.model.change import DEFAULT_TENANT, Tenant
from broker.security.broker_keys import BrokerKeys
from broker.security.public_keys import parse_key_set
from tests.conftest import StartBroker
from tests.integration.commands import run

CLINIC = Tenant("clinic")


async def test_key_sets_are_public_and_cacheable_and_follow_a_rotation(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    keys = BrokerKeys(tmp_path)
    keys.rotate(DEFAULT_TENANT, 0)
    async with (
        start_broker(auth="smart", clients_dir=tmp_path, keys_dir=tmp_path) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, trust_env=False, timeout=60) as client,
    ):
        response = await client.get("/oauth/jwks")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=300"
        assert response.headers["content-type"] == "application/json"
        jwks = response.json()
        assert [jwk["kid"] for jwk in jwks["keys"]] == [key.jwk["kid"] for key in keys.of(DEFAULT_TENANT)]
        assert len(parse_key_set(jwks)) == 2
        assert not any({"d", "p", "q", "dp", "dq", "qi"} & jwk.keys() for jwk in jwks["keys"])
        configuration = (await client.get("/r4/.well-known/smart-configuration")).json()
        assert configuration["jwks_uri"] == f"{broker.settings.base_url}/oauth/jwks"

        for path in ("/oauth/jwks/clinic", "/oauth/jwks/..%2Fdefault", "/oauth/jwks/unknown"):
            other = await client.get(path)
            assert other.json().get("keys", []) == [], path
        keys.rotate(CLINIC, 0)
        keys.rotate(DEFAULT_TENANT, 0, at_once=True)
        assert len((await client.get("/oauth/jwks/clinic")).json()["keys"]) == 2
        assert len((await client.get("/oauth/jwks/default")).json()["keys"]) == 2, "the first one has expired"

        manifest = tmp_path / "clinic" / "keys.json"
        manifest.write_text("{}")
        os.utime(manifest, (0, 0))  # the clock of a file system may have stood still since it was read
        broken = await client.get("/oauth/jwks/clinic")
        assert (broken.status_code, broken.headers["cache-control"]) == (503, "no-store")


def test_keys_are_rotated_listed_and_checked_by_command(tmp_path: Path) -> None:
    keys_dir = str(tmp_path)
    assert "0 keys" in run("keys", "list", keys_dir=keys_dir).stdout
    assert run("keys", "rotate", keys_dir=keys_dir).returncode == 0
    early = run("keys", "rotate", keys_dir=keys_dir)
    assert early.returncode == 2
    assert "--at-once" in early.stderr
    assert run("keys", "rotate", "--at-once", keys_dir=keys_dir).returncode == 0
    listed = json.loads(run("keys", "list", "--json", keys_dir=keys_dir).stdout)
    assert [row["use"] for row in listed] == ["current", "next", "previous"]
    assert [bool(row["until"]) for row in listed] == [False, False, True]
    assert run("keys", "check", keys_dir=keys_dir).returncode == 0
    (tmp_path / "default" / f"{listed[1]['name']}.pem").unlink()
    checked = run("keys", "check", "--json", keys_dir=keys_dir)
    assert checked.returncode == 1
    assert [row["signs"] for row in json.loads(checked.stdout)] == [True, False]
    assert "BROKER_KEYS_DIR" in run("keys", "list").stderr
