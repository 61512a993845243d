"""A key that signs by an external command, such as the client of a cloud's key management.

The protocol: the command gets the bytes to be signed on standard input, writes the signature to standard
output, and ends with exit code 0 within the time limit. For RS384 that is RSASSA-PKCS1-v1_5 with SHA-384, for
ES384 ECDSA on P-384 with SHA-384, as r and s of 48 bytes each or in DER. Each signature is verified before it
is used. What the command writes to standard error is discarded, because it may hold secrets.
"""

import os
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from broker.errors import ConfigurationError
from broker.security.key_provider import (
    PublicPart,
    SigningFailed,
    is_signed_by,
    refuse_unknown,
    required_text,
)
from broker.security.public_keys import to_jwk

TIMEOUT_S = 5.0
MAX_TIMEOUT_S = 30.0
_RAW_BYTES = 48


class CommandSigner:
    """`command` is a program and its arguments; no shell reads them."""

    def __init__(self, command: tuple[str, ...], key: PublicPart, timeout_s: float = TIMEOUT_S) -> None:
        self._command = command
        self._key = key
        self._timeout_s = timeout_s

    @classmethod
    def parse(cls, members: dict[str, Any], folder: Path) -> Self:
        """`command` (list of texts), `public_key` (PEM file, relative to the folder), `timeout_s` (5)."""
        command = members.pop("command", None)
        if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
            raise ConfigurationError("command is not a list of texts.")
        timeout_s = members.pop("timeout_s", TIMEOUT_S)
        if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= MAX_TIMEOUT_S:
            raise ConfigurationError(f"timeout_s is not a number up to {MAX_TIMEOUT_S:g}.")
        key = _read_public_key(folder / required_text(members, "public_key"))
        refuse_unknown(members)
        return cls(tuple(command), key, timeout_s)

    @cached_property
    def public_jwk(self) -> Mapping[str, str]:
        return to_jwk(self._key)

    def sign(self, signing_input: bytes) -> bytes:
        name = Path(self._command[0]).name
        try:
            ended = subprocess.run(  # noqa: S603 the operator names the command
                self._command,
                input=signing_input,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_s,
                check=False,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            # without the cause, which quotes the arguments
            raise SigningFailed(
                f"The signing command {name} took longer than {self._timeout_s:g} s."
            ) from None
        except OSError as error:
            raise SigningFailed(f"The signing command {name} cannot run: {error.strerror}.") from None
        if ended.returncode != 0:
            raise SigningFailed(f"The signing command {name} ended with exit code {ended.returncode}.")
        signature = self._normal(ended.stdout)
        if not is_signed_by(self._key, signing_input, signature):
            raise SigningFailed(f"What the signing command {name} wrote is no signature of its public key.")
        return signature

    def _normal(self, signature: bytes) -> bytes:
        """The bytes of r and s for an EC key, also of a signature in DER."""
        if isinstance(self._key, RSAPublicKey) or len(signature) == 2 * _RAW_BYTES:
            return signature
        try:
            r, s = decode_dss_signature(signature)
            return r.to_bytes(_RAW_BYTES, "big") + s.to_bytes(_RAW_BYTES, "big")
        except (ValueError, OverflowError):
            return signature  # it will not verify


def _environment() -> Mapping[str, str]:
    """That of this process without the broker's settings, which have secrets of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}


def _read_public_key(path: Path) -> PublicPart:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"public_key: {path} cannot be read: {error.strerror}.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"public_key: {path} is not the PEM of a public key.") from error
    if isinstance(key, RSAPublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)
    ):
        return key
    raise ConfigurationError(f"public_key: {path} is neither an RSA key nor an EC key of the curve P-384.")
