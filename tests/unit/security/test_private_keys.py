"""Private keys: what they sign, what of them is shown, and which files are none."""

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from broker.errors import ConfigurationError
from broker.security.private_keys import PrivateKey
from broker.security.public_keys import parse_key_set

URL = "https://broker.example/oauth/token"


@pytest.fixture(scope="module", params=["ES384", "RS384"])
def key(request: pytest.FixtureRequest) -> PrivateKey:
    return PrivateKey.generate(request.param)


def test_an_assertion_has_the_claims_of_the_profile_and_is_new_each_time(key: PrivateKey) -> None:
    [public] = parse_key_set({"keys": [dict(key.public_jwk)]})
    first, second = (
        jwt.decode_complete(key.client_assertion("gateway", URL), public.key, [key.algorithm], audience=URL)
        for _ in range(2)
    )
    assert first["header"] == {"alg": key.algorithm, "kid": public.kid, "typ": "JWT"}
    claims = first["payload"]
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("gateway", "gateway", URL)
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert claims["jti"] != second["payload"]["jti"]


def test_a_key_is_read_from_its_pem_under_the_same_kid(key: PrivateKey) -> None:
    again = PrivateKey.from_pem(key.pem)
    assert (again.kid, again.algorithm) == (key.kid, key.algorithm)


def test_a_key_shows_nothing_of_itself(key: PrivateKey) -> None:
    assert repr(key) == f"PrivateKey({key.kid})"
    assert {"d", "p", "q", "k"}.isdisjoint(key.public_jwk)


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n",
        _pem(ec.generate_private_key(ec.SECP256R1())),
        _pem(ed25519.Ed25519PrivateKey.generate()),
        _pem(ec.generate_private_key(ec.SECP384R1()), b"password"),
    ],
    ids=["empty", "broken", "P-256", "Ed25519", "with a password"],
)
def test_what_is_no_key_for_assertions_is_refused_without_its_contents(pem: bytes) -> None:
    with pytest.raises(ConfigurationError) as refused:
        PrivateKey.from_pem(pem)
    message = str(refused.value)
    assert "\n" not in message
    assert "secret" not in message
