"""Signs with the broker's own keys, wherever they are: the interface `Signer`, and what makes one of a file.

A key is a file of its tenant's folder: a PEM (`NAME.pem`), or a description (`NAME.toml`) of a key that stays
in an HSM (`provider = "pkcs11"`) or behind a command (`provider = "command"`). `broker_keys.py` says which of
them signs. No error of a signer quotes a key, a PIN or what a command wrote.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.api_jws import PyJWS
from jwt.utils import base64url_decode

from broker.errors import BrokerError, ConfigurationError
from broker.security.private_keys import PrivateKey

PublicPart = RSAPublicKey | EllipticCurvePublicKey


class SigningFailed(BrokerError):  # noqa: N818 names what happened
    """A key could not sign. The text names the provider and what to check, and nothing secret."""


class Signer(Protocol):
    """One key. Its methods may block for a network round trip: call them in a thread."""

    @property
    def public_jwk(self) -> Mapping[str, str]:
        """The public part, with `kid` and `alg` (ES384 or RS384). Raises `SigningFailed`."""
        ...

    def sign(self, signing_input: bytes) -> bytes:
        """The signature as a JWS has it. Raises `SigningFailed`."""
        ...


class FileSigner:
    """A key in a PEM file."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    @property
    def public_jwk(self) -> Mapping[str, str]:
        return self._key.public_jwk

    def sign(self, signing_input: bytes) -> bytes:
        return self._key.signature(signing_input)


class _Rsa(RSAAlgorithm):
    """RS384 by a `Signer` in place of a key."""

    def prepare_key(self, key: Any) -> Any:
        return key

    def check_key_length(self, key: Any) -> None:  # noqa: ARG002 the size of the key was checked when it was made
        return None

    def sign(self, msg: bytes, key: Any) -> bytes:
        signer: Signer = key
        return signer.sign(msg)


class _Ec(ECAlgorithm):
    """ES384 by a `Signer` in place of a key."""

    def prepare_key(self, key: Any) -> Any:
        return key

    def sign(self, msg: bytes, key: Any) -> bytes:
        signer: Signer = key
        return signer.sign(msg)


_JWS = PyJWS(algorithms=[])  # private: PyJWT's own algorithms keep their keys
_JWS.register_algorithm("RS384", _Rsa(RSAAlgorithm.SHA384))
_JWS.register_algorithm("ES384", _Ec(ECAlgorithm.SHA384))


def sign_jwt(signer: Signer, claims: Mapping[str, object]) -> str:
    """A JWT of the claims (S-040). Raises `SigningFailed`."""
    jwk = signer.public_jwk
    header = {"kid": jwk["kid"], "typ": "JWT"}
    key: Any = signer  # what the algorithms above take in place of a key
    return _JWS.encode(json.dumps(claims).encode(), key, jwk["alg"], header)


def is_signed_by(key: PublicPart, signing_input: bytes, signature: bytes) -> bool:
    """Whether the signature of a JWS is one of this key."""
    try:
        if isinstance(key, RSAPublicKey):
            return RSAAlgorithm(RSAAlgorithm.SHA384).verify(signing_input, key, signature)
        return ECAlgorithm(ECAlgorithm.SHA384).verify(signing_input, key, signature)
    except InvalidSignature:
        return False


def is_jwt_of(key: PublicPart, token: str) -> bool:
    """Whether the key signed the JWT. Its claims are not looked at."""
    signing_input, _, signature = token.rpartition(".")
    return is_signed_by(key, signing_input.encode(), base64url_decode(signature.encode()))


def open_signer(path: Path) -> Signer:
    """The signer of a key's file. Raises `ConfigurationError` for one that is not valid; whether the key can
    sign shows when it does.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The key {path} cannot be read: {error.strerror}.") from error
    if path.suffix == ".pem":
        try:
            return FileSigner(PrivateKey.from_pem(content))
        except ConfigurationError as error:
            raise ConfigurationError(f"{path} is {error}.") from None
    return _described(path, content)


def _described(path: Path, content: bytes) -> Signer:
    try:
        members = tomllib.loads(content.decode())
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from error
    provider = members.pop("provider", None)
    try:
        # a library or a process that most brokers do not need
        match provider:
            case "pkcs11":
                from broker.security.pkcs11_keys import Pkcs11Signer  # noqa: PLC0415

                return Pkcs11Signer.parse(members, path.parent)
            case "command":
                from broker.security.command_keys import CommandSigner  # noqa: PLC0415

                return CommandSigner.parse(members, path.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    raise ConfigurationError(f'{path}: provider is neither "pkcs11" nor "command".')


def required_text(members: dict[str, Any], name: str) -> str:
    """Takes a member out of a description. Raises `ConfigurationError`."""
    value = members.pop(name, None)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} is missing or not a text.")
    return value


def refuse_unknown(members: Mapping[str, object]) -> None:
    """Raises `ConfigurationError` if a description has members that were not taken out."""
    if members:
        raise ConfigurationError(f"{', '.join(sorted(members))}: not known. Correct or remove it.")
