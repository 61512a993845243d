"""The broker's own keys: their uses, rotation with an overlap, and signatures by files and commands."""

import os
import stat
import sys
import textwrap
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from broker.errors import ConfigurationError
from broker.model.change import Tenant
from broker.security.broker_keys import ANNOUNCED_MS, PREVIOUS_MS, BrokerKeys, KeyUse
from broker.security.command_keys import CommandSigner
from broker.security.key_provider import Signer, SigningFailed, is_jwt_of, open_signer, sign_jwt
from broker.security.private_keys import PrivateKey, assertion_claims
from broker.security.public_keys import parse_key_set

HOSPITAL = Tenant("hospital")
NOW_MS = 1_800_000_000_000
CLAIMS = {"iss": "broker", "jti": "1"}


def uses(keys: BrokerKeys, tenant: Tenant = HOSPITAL) -> dict[str, str]:
    return {key.use: key.jwk["kid"] for key in keys.of(tenant)}


def verified(token: str, jwks: list[object]) -> dict[str, object]:
    """The claims, if PyJWT verifies the token with the key of its kid in the set."""
    header = jwt.get_unverified_header(token)
    (jwk,) = [jwk for jwk in jwks if isinstance(jwk, dict) and jwk["kid"] == header["kid"]]
    key = jwt.PyJWK(jwk)
    assert header["typ"] == "JWT"
    assert header["alg"] == jwk["alg"]
    return dict(jwt.decode(token, key, algorithms=["RS384", "ES384"], options={"verify_aud": False}))


def test_the_first_rotation_makes_a_current_and_a_next_key_readable_by_the_owner_only(tmp_path: Path) -> None:
    keys = BrokerKeys(tmp_path)
    assert keys.published(HOSPITAL, NOW_MS) == []
    keys.rotate(HOSPITAL, NOW_MS)
    assert set(uses(keys)) == {KeyUse.CURRENT, KeyUse.NEXT}
    published = keys.published(HOSPITAL, NOW_MS)
    assert {jwk["kid"] for jwk in published} == set(uses(keys).values())
    assert not any({"d", "p", "q", "k"} & jwk.keys() for jwk in published)
    parse_key_set({"keys": [dict(jwk) for jwk in published]})
    for path in (tmp_path / "hospital").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert keys.tenants() == [HOSPITAL]


def test_the_next_key_signs_only_after_it_was_published_long_enough(tmp_path: Path) -> None:
    keys = BrokerKeys(tmp_path)
    keys.rotate(HOSPITAL, NOW_MS)
    before = uses(keys)
    with pytest.raises(ConfigurationError, match="--at-once"):
        keys.rotate(HOSPITAL, NOW_MS + ANNOUNCED_MS - 1)
    assert uses(keys) == before
    keys.rotate(HOSPITAL, NOW_MS + ANNOUNCED_MS)
    after = uses(keys)
    assert after[KeyUse.CURRENT] == before[KeyUse.NEXT]
    assert after[KeyUse.PREVIOUS] == before[KeyUse.CURRENT]
    keys.rotate(HOSPITAL, NOW_MS + ANNOUNCED_MS, at_once=True)
    assert uses(keys)[KeyUse.CURRENT] == after[KeyUse.NEXT]


def test_the_previous_key_is_published_for_a_day_and_its_file_leaves_with_the_rotation_after(
    tmp_path: Path,
) -> None:
    keys = BrokerKeys(tmp_path)
    keys.rotate(HOSPITAL, NOW_MS)
    oldest = uses(keys)[KeyUse.CURRENT]
    rotated_ms = NOW_MS + ANNOUNCED_MS
    keys.rotate(HOSPITAL, rotated_ms)

    def kids(now_ms: int) -> set[str]:
        return {jwk["kid"] for jwk in keys.published(HOSPITAL, now_ms)}

    assert oldest in kids(rotated_ms + PREVIOUS_MS - 1)
    assert oldest not in kids(rotated_ms + PREVIOUS_MS)
    assert len(list((tmp_path / "hospital").glob("*.pem"))) == 3
    keys.rotate(HOSPITAL, rotated_ms + PREVIOUS_MS)
    left = {PrivateKey.from_pem(path.read_bytes()).kid for path in (tmp_path / "hospital").glob("*.pem")}
    assert left == set(uses(keys).values())
    assert oldest not in left


def test_another_process_signs_with_the_new_key_after_a_rotation(tmp_path: Path) -> None:
    rotating, running = BrokerKeys(tmp_path), BrokerKeys(tmp_path)
    rotating.rotate(HOSPITAL, NOW_MS)
    first = running.signer(HOSPITAL).public_jwk["kid"]
    assert first == uses(rotating)[KeyUse.CURRENT]
    rotating.rotate(HOSPITAL, NOW_MS, at_once=True)
    assert running.signer(HOSPITAL).public_jwk["kid"] == uses(rotating)[KeyUse.CURRENT] != first


def test_tenants_have_keys_of_their_own(tmp_path: Path) -> None:
    keys = BrokerKeys(tmp_path)
    keys.rotate(HOSPITAL, NOW_MS)
    keys.rotate(Tenant("clinic"), NOW_MS)
    assert not set(uses(keys).values()) & set(uses(keys, Tenant("clinic")).values())
    with pytest.raises(ConfigurationError, match="keys rotate --tenant other"):
        keys.signer(Tenant("other"))
    with pytest.raises(ConfigurationError, match="no name of a tenant"):
        keys.rotate(Tenant("../other"), NOW_MS)


def test_a_key_that_was_exchanged_does_not_sign(tmp_path: Path) -> None:
    keys = BrokerKeys(tmp_path)
    current = keys.rotate(HOSPITAL, NOW_MS)[0]
    path = tmp_path / "hospital" / f"{current.name}.pem"
    path.write_bytes(PrivateKey.generate().pem)
    with pytest.raises(ConfigurationError, match="another one than the published"):
        keys.signer(HOSPITAL)


@pytest.mark.parametrize("content", ["", "{}", '{"keys": [{}]}', '{"keys": [{"name": "a", "use": "old"}]}'])
def test_a_manifest_that_is_not_valid_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "hospital").mkdir()
    (tmp_path / "hospital" / "keys.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"keys\.json is not valid"):
        BrokerKeys(tmp_path).of(HOSPITAL)


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_file_signs_what_pyjwt_verifies(tmp_path: Path, algorithm: str) -> None:
    key = PrivateKey.generate(algorithm)  # type: ignore[arg-type]
    (tmp_path / "a.pem").write_bytes(key.pem)
    signer = open_signer(tmp_path / "a.pem")
    claims = assertion_claims("broker", "https://ehr.example/token")
    token = sign_jwt(signer, claims)
    assert verified(token, [dict(signer.public_jwk)]) == claims
    assert jwt.get_unverified_header(token)["kid"] == key.kid


def command_folder(folder: Path, key: PrivateKey, script: str, **members: object) -> Path:
    """A description of a key behind a Python program, with the private key beside it."""
    (folder / "private.pem").write_bytes(key.pem)
    algorithm = RSAAlgorithm if key.algorithm == "RS384" else ECAlgorithm
    public = algorithm.from_jwk(dict(key.public_jwk))
    pem = public.public_key() if hasattr(public, "public_key") else public
    (folder / "public.pem").write_bytes(pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (folder / "sign.py").write_text(textwrap.dedent(script))
    lines = [
        'provider = "command"',
        f'command = ["{sys.executable}", "{folder / "sign.py"}", "{folder / "private.pem"}"]',
        'public_key = "public.pem"',
        *(f"{name} = {value}" for name, value in members.items()),
    ]
    path = folder / "kms.toml"
    path.write_text("\n".join(lines))
    return path


RAW = """
    import pathlib, sys
    from broker.security.private_keys import PrivateKey
    key = PrivateKey.from_pem(pathlib.Path(sys.argv[1]).read_bytes())
    sys.stdout.buffer.write(key.signature(sys.stdin.buffer.read()))
"""
DER = """
    import pathlib, sys
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    key = serialization.load_pem_private_key(pathlib.Path(sys.argv[1]).read_bytes(), None)
    sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read(), ec.ECDSA(hashes.SHA384())))
"""


@pytest.mark.parametrize(("algorithm", "script"), [("ES384", RAW), ("ES384", DER), ("RS384", RAW)])
def test_a_command_signs_what_pyjwt_verifies(tmp_path: Path, algorithm: str, script: str) -> None:
    key = PrivateKey.generate(algorithm)  # type: ignore[arg-type]
    signer = open_signer(command_folder(tmp_path, key, script, timeout_s=30))
    assert signer.public_jwk == key.public_jwk
    assert verified(sign_jwt(signer, CLAIMS), [dict(signer.public_jwk)]) == CLAIMS


SECRET = "hunter2-of-the-kms"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (f"import sys; sys.exit('{SECRET}')", "exit code 1"),
        (f"print('{SECRET}')", "no signature of its public key"),
        ("import time; time.sleep(60)", r"longer than 0\.2 s"),
    ],
)
def test_a_command_that_fails_is_reported_without_what_it_wrote(
    tmp_path: Path, script: str, reason: str
) -> None:
    signer = open_signer(command_folder(tmp_path, PrivateKey.generate(), script, timeout_s=0.2))
    if "time" not in script:
        signer = open_signer(command_folder(tmp_path, PrivateKey.generate(), script, timeout_s=30))
    with pytest.raises(SigningFailed, match=reason) as raised:
        sign_jwt(signer, CLAIMS)
    assert SECRET not in str(raised.value)
    assert "private.pem" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_command_does_not_see_the_settings_of_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_REDIS_URL", f"redis://:{SECRET}@store")
    script = "import os, sys; sys.exit(7 if any(name.startswith('BROKER_') for name in os.environ) else 3)"
    signer = open_signer(command_folder(tmp_path, PrivateKey.generate(), script, timeout_s=30))
    assert "BROKER_REDIS_URL" in os.environ
    with pytest.raises(SigningFailed, match="exit code 3"):
        signer.sign(b"text")


def test_a_command_that_is_not_there_is_reported() -> None:
    key = PrivateKey.generate()
    public = ECAlgorithm.from_jwk(dict(key.public_jwk))
    signer: Signer = CommandSigner(("/no/such/program",), public)  # type: ignore[arg-type]
    with pytest.raises(SigningFailed, match="No such file"):
        signer.sign(b"text")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("provider = ", "not TOML"),
        ('provider = "vault"', 'neither "pkcs11" nor "command"'),
        ('provider = "command"', "command is not a list"),
        ('provider = "command"\ncommand = ["x"]', "public_key is missing"),
        ('provider = "command"\ncommand = ["x"]\ntimeout_s = 100', "timeout_s"),
        ('provider = "pkcs11"\nmodule = "a"', "token is missing"),
        (
            'provider = "pkcs11"\nmodule = "a"\ntoken = "t"\nlabel = "l"\npin_file = "f"\npin = "1"',
            "pin: not known",
        ),
    ],
)
def test_a_description_that_is_not_valid_is_refused_with_the_member(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        open_signer(path)


def test_a_jwt_of_another_key_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(PrivateKey.generate().pem)
    token = sign_jwt(open_signer(tmp_path / "a.pem"), CLAIMS)
    (other,) = parse_key_set({"keys": [dict(PrivateKey.generate().public_jwk)]})
    assert not is_jwt_of(other.key, token)
