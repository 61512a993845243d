"""Public keys of clients: read from a JSON Web Key Set, and chosen by the header of a client assertion.

A set with a private or symmetric key is refused: whoever sent it has disclosed the key (S-025).
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

ALGORITHMS: Mapping[str, str] = {"RS384": "RSA", "ES384": "EC"}
"""The signatures that are verified, each with the type of its key."""
MIN_RSA_BITS = 2048
MAX_KEYS = 100
_ALGORITHM_OF = {kty: algorithm for algorithm, kty in ALGORITHMS.items()}
_THUMBPRINT_MEMBERS = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}
PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class RegistrationError(ValueError):
    """The text names the element, and says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies RS384 (`kty` RSA) or ES384 (`kty` EC)."""

    kid: str
    kty: str
    key: RSAPublicKey | EllipticCurvePublicKey


def parse_key_set(jwks: object) -> tuple[PublicKey, ...]:
    """The keys of a set that can verify a client assertion; those for other uses are left out.

    Raises `RegistrationError` that names the element, `keys[1].kid`, for a private key, a key without kid,
    two keys of one kid, a weak key, and a set without a usable key.
    """
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise RegistrationError('keys: give a JSON Web Key Set, {"keys": [...]}')
    if len(jwks["keys"]) > MAX_KEYS:
        raise RegistrationError(f"keys: more than {MAX_KEYS} keys")
    keys: list[PublicKey] = []
    kids: set[str] = set()
    for n, jwk in enumerate(jwks["keys"]):
        kid = _checked_kid(jwk, f"keys[{n}]")
        if kid in kids:
            raise RegistrationError(f"keys[{n}].kid: {kid!r} is the kid of another key of the set")
        kids.add(kid)
        if _is_for_assertions(jwk):
            keys.append(PublicKey(kid, jwk["kty"], _parse(jwk, f"keys[{n}]")))
    if not keys:
        raise RegistrationError("keys: none is an RSA key or an EC key of the curve P-384 for signatures")
    return tuple(keys)


def _checked_kid(jwk: object, element: str) -> str:
    """The kid of a public key."""
    if not isinstance(jwk, dict):
        raise RegistrationError(f"{element}: not a JSON object")
    for member in PRIVATE_MEMBERS:
        if member in jwk:
            raise RegistrationError(
                f"{element}.{member}: the key is not public. Make a new key, and register its public part"
            )
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not kid:
        raise RegistrationError(f"{element}.kid: missing")
    return kid


def select_key(keys: Sequence[PublicKey], kid: str, algorithm: str) -> PublicKey | None:
    """The one key of that kid and of the type that the algorithm needs; None for none or several (S-055)."""
    kty = ALGORITHMS[algorithm]
    fitting = [key for key in keys if key.kid == kid and key.kty == kty]
    return fitting[0] if len(fitting) == 1 else None


def to_jwk(key: RSAPublicKey | EllipticCurvePublicKey) -> Mapping[str, str]:
    """The key as a JWK for signatures; its kid is its thumbprint (RFC 7638)."""
    text = RSAAlgorithm.to_jwk(key) if isinstance(key, RSAPublicKey) else ECAlgorithm.to_jwk(key)
    members = json.loads(text)
    bare = {name: members[name] for name in _THUMBPRINT_MEMBERS[members["kty"]]}
    canonical = json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()
    kid = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    return {"kid": kid, "use": "sig", "alg": _ALGORITHM_OF[members["kty"]]} | bare


def _is_for_assertions(jwk: Mapping[str, Any]) -> bool:
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", next(iter(ALGORITHMS))) in ALGORITHMS
        and (jwk.get("kty") == "RSA" or (jwk.get("kty") == "EC" and jwk.get("crv") == "P-384"))
    )


def _parse(jwk: Mapping[str, Any], element: str) -> RSAPublicKey | EllipticCurvePublicKey:
    algorithm = RSAAlgorithm if jwk["kty"] == "RSA" else ECAlgorithm
    try:
        key = algorithm.from_jwk(dict(jwk))
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        raise RegistrationError(f"{element}: not a valid {jwk['kty']} key ({error})") from error
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise RegistrationError(
                f"{element}.n: {key.key_size} bits, and at least {MIN_RSA_BITS} are needed"
            )
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1):
        return key
    raise RegistrationError(f"{element}: not a public key")
