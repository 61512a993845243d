"""Registrations of clients: what is read, and how each mistake is named."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from broker.errors import ConfigurationError
from broker.model.change import DEFAULT_TENANT
from broker.model.principal import PrincipalRole
from broker.model.scopes import parse_scopes
from broker.security.client_directory import ClientDirectory
from broker.security.clients import Client, parse_client
from broker.security.private_keys import PrivateKey
from broker.security.public_keys import select_key
from tests.smart_clients import key_of, register, registration


def https_only(url: str) -> list[str]:
    return [] if url.startswith("https://") else ["use https"]


def _parse(registration: object) -> Client:
    return parse_client(registration, https_only)


GATEWAY = registration("gateway", "system/Observation.c")


def keys(*jwks: object) -> dict[str, Any]:
    return {"jwks": {"keys": list(jwks)}}


def test_a_registration_in_the_terms_of_rfc_7591_is_read() -> None:
    client = _parse(
        GATEWAY
        | {
            "client_name": "The gateway",
            "tenant": "north",
            "roles": ["admin"],
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
            "contacts": ["ops@example.org"],
        }
    )
    assert (client.client_id, client.name, client.tenant) == ("gateway", "The gateway", "north")
    assert client.roles == {PrincipalRole.ADMIN}
    assert client.scopes == parse_scopes("system/Observation.c")
    assert [key.kid for key in client.keys] == [key_of("gateway").kid]


def test_what_is_left_out_has_the_least_rights() -> None:
    client = _parse(GATEWAY)
    assert (client.name, client.tenant, client.roles, client.is_disabled) == (
        "gateway",
        DEFAULT_TENANT,
        frozenset(),
        False,
    )


def _weak() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1024).public_key()  # noqa: S505 that is the point
    return {"kid": "weak"} | dict(json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key)))


def _other_curve() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {"kid": "p256"} | dict(json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key)))


JWK = dict(key_of("gateway").public_jwk)


@pytest.mark.parametrize(
    ("change", "element"),
    [
        ({"client_id": None}, "client_id: missing"),
        ({"client_id": "two words"}, "client_id:"),
        ({"client_id": 7}, "client_id:"),
        ({"client_id": "open"}, "client_id:"),
        ({"client_id": "fhir-broker"}, "client_id:"),
        ({"client_id": "unauthenticated"}, "client_id:"),
        ({"scopes": "system/*.rs"}, "scopes: not a member"),
        ({"client_secret": "s"}, "client_secret: not a member"),
        ({"scope": "system/Observation.dus"}, "scope:"),
        ({"scope": "user/Observation.rs"}, "scope:"),
        ({"scope": "system/Sandwich.rs"}, "scope:"),
        ({"scope": "system/Observation.rs?value-quantity=7"}, "scope:"),
        ({"scope": "system/Observation.rs?code:in=http://vs"}, "scope:"),
        ({"scope": "system/Observation.c?category=vital-signs"}, "scope:"),
        ({"scope": "system/Device.rs?category=vital-signs"}, "scope:"),
        ({"scope": "system/Subscription.rs?_tag=a"}, "scope:"),
        ({"scope": ["system/*.rs"]}, "scope: not a string"),
        ({"roles": ["root"]}, "roles:"),
        ({"roles": "admin"}, "roles: not a list"),
        ({"tenant": "a:b"}, "tenant:"),
        ({"tenant": ""}, "tenant:"),
        ({"disabled": "yes"}, "disabled:"),
        ({"token_endpoint_auth_method": "client_secret_basic"}, "token_endpoint_auth_method:"),
        ({"grant_types": ["authorization_code"]}, "grant_types:"),
        ({"jwks_uri": "https://gateway.example/jwks"}, "jwks: give either"),
        ({"jwks": None, "jwks_uri": "http://gateway.example/jwks"}, "jwks_uri: use https"),
        ({"jwks": None}, "jwks: give either"),
        ({"jwks": []}, "jwks.keys: give a JSON Web Key Set"),
        (keys(), "jwks.keys: none"),
        (keys("k"), "jwks.keys[0]: not a JSON object"),
        (keys(JWK, JWK), "jwks.keys[1].kid:"),
        (keys({name: value for name, value in JWK.items() if name != "kid"}), "jwks.keys[0].kid: missing"),
        (keys(JWK | {"d": "secret"}), "jwks.keys[0].d:"),
        (keys({"kty": "oct", "kid": "a", "k": "c2VjcmV0"}), "jwks.keys[0].k:"),
        (keys(JWK | {"x": "AAAA"}), "jwks.keys[0]: not a valid EC key"),
        (keys(JWK | {"use": "enc"}), "jwks.keys: none"),
        (keys(_weak()), "jwks.keys[0].n: 1024 bits"),
        (keys(_other_curve()), "jwks.keys: none"),
    ],
)
def test_a_mistake_is_named_with_its_element(change: dict[str, Any], element: str) -> None:
    changed = {name: value for name, value in (GATEWAY | change).items() if value is not None}
    with pytest.raises(ValueError, match=r".+") as refused:
        _parse(changed)
    assert str(refused.value).startswith(element)
    assert "secret" not in str(refused.value).removeprefix("client_secret")


def test_a_restriction_is_registered_where_the_type_has_the_parameter() -> None:
    scope = "system/Observation.rs?category=vital-signs&patient=Patient/1 system/*.rs?_security=R"
    assert _parse(GATEWAY | {"scope": scope}).scopes == parse_scopes(scope)


def test_a_key_is_selected_by_kid_and_type_and_only_if_it_is_the_only_one() -> None:
    rsa_key, ec_key = PrivateKey.generate("RS384").public_jwk, PrivateKey.generate().public_jwk
    client = _parse(GATEWAY | keys(rsa_key, ec_key))
    assert select_key(client.keys, rsa_key["kid"], "RS384") == client.keys[0]
    assert select_key(client.keys, rsa_key["kid"], "ES384") is None
    assert select_key(client.keys, "other", "ES384") is None
    assert select_key([*client.keys, client.keys[1]], ec_key["kid"], "ES384") is None


def test_a_directory_is_loaded_again_or_stays_as_it_was(tmp_path: Path) -> None:
    directory = ClientDirectory(tmp_path, https_only)
    directory.load()
    assert len(directory) == 0
    register(tmp_path, "gateway", "system/Observation.c")
    directory.load()
    assert directory.find("gateway") is not None
    assert directory.find("other") is None
    broken = tmp_path / "other.json"
    for text in (
        '{"client_id": "other"',
        '{"client_id": "a", "client_id": "b"}',
        "[" * 100_000,
        '{"roles": 1}',
    ):
        broken.write_text(text)
        with pytest.raises(ConfigurationError, match=r"other\.json: ") as refused:
            directory.load()
        assert "\n" not in str(refused.value)
        assert len(directory) == 1
    broken.write_text((tmp_path / "gateway.json").read_text())
    with pytest.raises(ConfigurationError, match=r"gateway\.json"):
        directory.load()
    with pytest.raises(ConfigurationError, match="not a directory"):
        ClientDirectory(tmp_path / "none", https_only).load()
