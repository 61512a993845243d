"""Public keys of external issuers, and the signatures that are accepted of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from broker.security.public_keys import MAX_KEYS, MIN_RSA_BITS, PRIVATE_MEMBERS, RegistrationError

_RSA = "RSA"
ISSUER_ALGORITHMS: Mapping[str, str] = {
    "RS256": _RSA,
    "RS384": _RSA,
    "RS512": _RSA,
    "PS256": _RSA,
    "PS384": _RSA,
    "PS512": _RSA,
    "ES256": "P-256",
    "ES384": "P-384",
}
"""The signatures that are verified, each with the type of its key: RSA, or the curve."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key for signatures. `algorithm` is the only one that it is for, '' if its set does not say."""

    kid: str
    kind: str
    algorithm: str
    key: RSAPublicKey | EllipticCurvePublicKey


def parse_issuer_keys(jwks: object) -> tuple[IssuerKey, ...]:
    """The keys of a set that verify signatures; identity providers publish others too, which are left out.

    Raises `RegistrationError` for what is no key set, and for a set with a private key.
    """
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list) or len(jwks["keys"]) > MAX_KEYS:
        raise RegistrationError("keys: not a JSON Web Key Set of at most 100 keys")
    keys = []
    for n, jwk in enumerate(jwks["keys"]):
        if not isinstance(jwk, dict):
            raise RegistrationError(f"keys[{n}]: not a JSON object")
        if any(member in jwk for member in PRIVATE_MEMBERS):
            raise RegistrationError(f"keys[{n}]: the key is not public")
        key = _parse(jwk)
        if key is not None:
            keys.append(key)
    return tuple(keys)


def select_issuer_key(keys: Sequence[IssuerKey], kid: str, algorithm: str) -> IssuerKey | None:
    """The one key of that kid which the algorithm needs; None for none or several."""
    fitting = [
        key
        for key in keys
        if key.kid == kid and key.kind == ISSUER_ALGORITHMS[algorithm] and key.algorithm in {"", algorithm}
    ]
    return fitting[0] if len(fitting) == 1 else None


def _parse(jwk: Mapping[str, Any]) -> IssuerKey | None:
    kid, kty, algorithm = jwk.get("kid"), jwk.get("kty"), jwk.get("alg", "")
    kind = jwk.get("crv") if kty == "EC" else kty
    if jwk.get("use", "sig") != "sig" or not isinstance(kid, str) or kind not in ISSUER_ALGORITHMS.values():
        return None
    try:
        key = (RSAAlgorithm if kty == _RSA else ECAlgorithm).from_jwk(dict(jwk))
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        return None
    assert isinstance(key, RSAPublicKey | EllipticCurvePublicKey)  # noqa: S101 it has no private member
    return IssuerKey(kid, str(kind), algorithm if isinstance(algorithm, str) else "none", key)
