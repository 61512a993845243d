"""Keys in an HSM by PKCS#11, with SoftHSM: they are made in the token, sign there, and never leave it."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pkcs11
import pytest
from pkcs11.util.ec import encode_named_curve_parameters

from broker.errors import ConfigurationError
from broker.model.change import Tenant
from broker.security.broker_keys import BrokerKeys, KeyUse
from broker.security.key_provider import SigningFailed, is_jwt_of, open_signer, sign_jwt
from broker.security.public_keys import parse_key_set
from tests.integration.commands import run
from tests.integration.soft_hsm import PIN, SoftHsm, soft_hsm

CLAIMS = {"iss": "broker"}


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    hsm = soft_hsm(tmp_path_factory.mktemp("hsm"))
    token = pkcs11.lib(str(hsm.module)).get_token(token_label="broker")
    private: dict[Any, Any] = {pkcs11.Attribute.EXTRACTABLE: False, pkcs11.Attribute.SENSITIVE: True}
    with token.open(rw=True, user_pin=PIN) as session:
        session.generate_keypair(
            pkcs11.KeyType.RSA, 3072, label="rsa-1", store=True, private_template=private
        )
        for label in ("ec-1", "ec-2"):
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.132.0.34")},
                local=True,
            )
            parameters.generate_keypair(label=label, store=True, private_template=private)
    yield hsm
    os.environ.pop("SOFTHSM2_CONF", None)


@pytest.mark.parametrize(("label", "algorithm"), [("rsa-1", "RS384"), ("ec-1", "ES384")])
def test_a_key_in_the_token_signs_what_pyjwt_verifies(
    hsm: SoftHsm, tmp_path: Path, label: str, algorithm: str
) -> None:
    hsm.describe(tmp_path / "a.toml", label)
    signer = open_signer(tmp_path / "a.toml")
    jwk = dict(signer.public_jwk)
    assert jwk["alg"] == algorithm
    assert not {"d", "p", "q"} & jwk.keys()
    parse_key_set({"keys": [jwk]})
    with ThreadPoolExecutor(4) as threads:
        tokens = list(threads.map(lambda _: sign_jwt(signer, CLAIMS), range(8)))
    for token in tokens:
        assert jwt.decode(token, jwt.PyJWK(jwk), algorithms=[algorithm]) == CLAIMS


def test_keys_of_the_token_are_rotated(hsm: SoftHsm, tmp_path: Path) -> None:
    tenant = Tenant("hospital")
    for label in ("ec-1", "ec-2", "rsa-1"):
        hsm.describe(tmp_path / "hospital" / f"{label}.toml", label)
    keys = BrokerKeys(tmp_path)
    keys.rotate(tenant, 0, first="ec-1", following="ec-2")
    keys.rotate(tenant, 0, following="rsa-1", at_once=True)
    assert {key.use: key.name for key in keys.of(tenant)} == {
        KeyUse.CURRENT: "ec-2",
        KeyUse.NEXT: "rsa-1",
        KeyUse.PREVIOUS: "ec-1",
    }
    assert list((tmp_path / "hospital").glob("*.pem")) == []
    (current,) = parse_key_set({"keys": [dict(keys.signer(tenant).public_jwk)]})
    assert is_jwt_of(current.key, sign_jwt(keys.signer(tenant), CLAIMS))
    with pytest.raises(ConfigurationError, match="is or was in use"):
        keys.rotate(tenant, 0, following="ec-1", at_once=True)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"label": "none"}, "NoSuchKey"),
        ({"token": "none"}, "NoSuchToken"),
        ({"module": "/no/module.so"}, "cannot be loaded"),
        ({"pin_file": "/no/pin"}, "cannot be read"),
    ],
)
def test_an_hsm_that_cannot_sign_is_reported_by_what_to_check(
    hsm: SoftHsm, tmp_path: Path, changed: dict[str, str], reason: str
) -> None:
    path = tmp_path / "a.toml"
    hsm.describe(path, "ec-1")
    (name, value), *_ = changed.items()
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{name} ")]
    path.write_text("\n".join([*lines, f'{name} = "{value}"']))
    signer = open_signer(path)
    with pytest.raises(SigningFailed, match=reason) as raised:
        _ = signer.public_jwk
    assert PIN not in str(raised.value)


def test_the_command_checks_the_keys_of_the_token_with_its_pin(hsm: SoftHsm, tmp_path: Path) -> None:
    for label in ("ec-1", "ec-2"):
        hsm.describe(tmp_path / "default" / f"{label}.toml", label)
    keys_dir = str(tmp_path)
    rotated = run("keys", "rotate", "--current", "ec-1", "--next", "ec-2", keys_dir=keys_dir)
    assert rotated.returncode == 0, rotated.stderr
    good = run("keys", "check", "--json", keys_dir=keys_dir)
    assert good.returncode == 0, good.stdout + good.stderr
    assert [row["signs"] for row in json.loads(good.stdout)] == [True, True]
    pin = hsm.folder / "pin"
    pin.write_text("000111222")
    try:
        bad = run("keys", "check", "--json", keys_dir=keys_dir)
    finally:
        pin.write_text(PIN)
    assert bad.returncode == 1
    assert [row["signs"] for row in json.loads(bad.stdout)] == [False, False]
    assert "PinIncorrect" in bad.stdout
    assert "000111222" not in bad.stdout + bad.stderr


def test_without_the_library_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.toml").write_text('provider = "pkcs11"')
    monkeypatch.delitem(sys.modules, "broker.security.pkcs11_keys", raising=False)
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(ConfigurationError, match=r"fhir-broker\[hsm\]"):
        open_signer(tmp_path / "a.toml")
