"""Private keys of a client: made, read from a PEM file, and used to sign client assertions.

The kid of a key is the thumbprint of its public part (RFC 7638), so that it need not be stored beside it.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from broker.errors import ConfigurationError
from broker.security.public_keys import to_jwk

RSA_BITS = 3072
LIFETIME_S = 60
"""For how long an assertion is valid: it is used at once, and its clock may differ from the server's."""
_SIGNER = jwt.PyJWT({"enforce_minimum_key_length": True})


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A key that signs ES384 or RS384. Its `repr` shows nothing of it."""

    _key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @classmethod
    def generate(cls, algorithm: Literal["ES384", "RS384"] = "ES384") -> Self:
        if algorithm == "ES384":
            return cls(ec.generate_private_key(ec.SECP384R1()))
        return cls(rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Raises `ConfigurationError` for what is no RSA key and no EC key of the curve P-384."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # the text of the error may quote the file
            raise ConfigurationError("not the PEM of a private key without a password") from None
        if isinstance(key, rsa.RSAPrivateKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1):
            return cls(key)
        raise ConfigurationError("neither an RSA key nor an EC key of the curve P-384")

    def __repr__(self) -> str:
        return f"PrivateKey({self.kid})"

    @property
    def algorithm(self) -> str:
        return "RS384" if isinstance(self._key, rsa.RSAPrivateKey) else "ES384"

    @property
    def pem(self) -> bytes:
        """The private key, unencrypted: for a file that only its owner can read."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public_jwk(self) -> Mapping[str, str]:
        """The public part, to be registered."""
        return to_jwk(self._key.public_key())

    @property
    def kid(self) -> str:
        return self.public_jwk["kid"]

    def sign(self, claims: Mapping[str, object], headers: Mapping[str, object] | None = None) -> str:
        """A JWT of the claims."""
        header = {"kid": self.kid, "typ": "JWT"} | dict(headers or {})
        return _SIGNER.encode(dict(claims), self._key, algorithm=self.algorithm, headers=header)

    def client_assertion(self, client_id: str, token_url: str) -> str:
        """A new assertion, for one request to the token endpoint (S-040 to S-045, S-102)."""
        return self.sign(assertion_claims(client_id, token_url))

    def signature(self, signing_input: bytes) -> bytes:
        """The signature of a JWS."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            return RSAAlgorithm(RSAAlgorithm.SHA384).sign(signing_input, self._key)
        return ECAlgorithm(ECAlgorithm.SHA384).sign(signing_input, self._key)


def assertion_claims(client_id: str, token_url: str) -> Mapping[str, object]:
    """The claims of a new assertion, whose jti is used for the first time."""
    now_s = int(time.time())
    return {
        "iss": client_id,
        "sub": client_id,
        "aud": token_url,
        "iat": now_s,
        "exp": now_s + LIFETIME_S,
        "jti": uuid.uuid4().hex,
    }
