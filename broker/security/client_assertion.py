"""Client assertions: the signed JWTs by which clients authenticate at the token endpoint (S-040 to S-058).

`AssertionVerifier` accepts each assertion once in all processes. Every failure is `invalid_client`; its text
says what is wrong with claims that the sender wrote, and no more of unknown clients and wrong signatures than
that they are one or the other. Nothing of an assertion is logged.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from broker.clock import Clock
from broker.errors import OAuthError
from broker.security.clients import CLIENT_ID, Client, ClientRegistry
from broker.security.public_keys import ALGORITHMS, PublicKey, select_key

MAX_LENGTH = 8_192
MAX_LIFETIME_S = 300
SKEW_S = 5
"""How far the clock of a client may differ from that of the broker."""
_MAX_JTI_LENGTH = 256
_REQUIRED = ["exp", "iss", "sub", "aud", "jti"]
_DECODER = jwt.PyJWT({"enforce_minimum_key_length": True})
_NOT_VERIFIED = (
    "The client is not known or disabled, or none of its keys verifies the signature. "
    "Check client_id, and that the public key is registered under the kid of the header."
)


class KeySource(Protocol):
    """Where the public keys of a client are found."""

    async def keys_of(self, client: Client, kid: str) -> Sequence[PublicKey]:
        """The keys registered for the client, with the one of `kid` if there is any.

        Raises `KeysUnavailable`.
        """


class AssertionUses(Protocol):
    """Remembers which assertions were used, for all processes."""

    async def use(self, issuer: str, jti: str, lifetime_ms: int) -> bool:
        """Whether this is the first use of the assertion; raises `StoreUnavailable`."""


@dataclass(frozen=True, slots=True)
class _Unverified:
    """What an assertion says of itself, before its signature is verified."""

    issuer: str
    algorithm: str
    kid: str
    key_set_url: str | None


class AssertionVerifier:
    """Authenticates clients by their assertions."""

    def __init__(self, clients: ClientRegistry, keys: KeySource, uses: AssertionUses, clock: Clock) -> None:
        self._clients = clients
        self._keys = keys
        self._uses = uses
        self._clock = clock

    async def verify(self, assertion: str, audiences: Collection[str], client_id: str = "") -> Client:
        """The client that signed the assertion for one of the audiences; it is `client_id`, where given.

        Raises `OAuthError` with `invalid_client`, `KeysUnavailable`, and `StoreUnavailable`.
        """
        unverified = _read(assertion)
        if client_id and client_id != unverified.issuer:
            raise _invalid("client_id is not the iss of the assertion. Send the same, or no client_id.")
        client = await self._clients.find(unverified.issuer)
        if client is None or client.is_disabled:
            raise _invalid(_NOT_VERIFIED)
        if unverified.key_set_url is not None and unverified.key_set_url != client.jwks_uri:
            raise _invalid("jku is not the URL that is registered as jwks_uri. Leave it out.")
        keys = await self._keys.keys_of(client, unverified.kid)
        key = select_key(keys, unverified.kid, unverified.algorithm)
        if key is None:
            raise _invalid(_NOT_VERIFIED)
        # an ES384 signature takes a third of a millisecond: other requests go on meanwhile
        claims = await asyncio.to_thread(_verify, assertion, key, unverified.algorithm, audiences)
        lifetime_ms = self._check(claims)
        if not await self._uses.use(client.client_id, claims["jti"], lifetime_ms):
            raise _invalid("jti was used before. Make a new assertion for each request.")
        return client

    def _check(self, claims: Mapping[str, Any]) -> int:
        """Checks what the library leaves to its callers; returns for how long a use is remembered (ms)."""
        if claims["sub"] != claims["iss"]:
            raise _invalid("sub is not equal to iss. Both are the client_id.")
        expires_s, now_s = claims["exp"], self._clock.now_ms() / 1000
        if not isinstance(expires_s, int) or isinstance(expires_s, bool):
            raise _invalid("exp is not a whole number of seconds.")
        if expires_s > now_s + MAX_LIFETIME_S + SKEW_S:
            raise _invalid(f"exp is more than {MAX_LIFETIME_S} seconds in the future. Set a nearer time.")
        if not isinstance(claims["jti"], str) or not 0 < len(claims["jti"]) <= _MAX_JTI_LENGTH:
            raise _invalid(f"jti is not a string of 1 to {_MAX_JTI_LENGTH} characters.")
        return int((expires_s + SKEW_S - now_s) * 1000) + 1_000


def _read(assertion: str) -> _Unverified:
    if len(assertion) > MAX_LENGTH:
        raise _invalid(f"client_assertion is longer than {MAX_LENGTH} characters.")
    try:
        decoded = jwt.decode_complete(assertion, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise _invalid("client_assertion is not a JWT.") from error
    header, claims = decoded["header"], decoded["payload"]
    algorithm, kid, jku = header.get("alg"), header.get("kid"), header.get("jku")
    if algorithm not in ALGORITHMS:
        raise _invalid(f"alg is not one of {', '.join(ALGORITHMS)}.")
    if str(header.get("typ")).upper() != "JWT":
        raise _invalid("typ is not JWT.")
    if not isinstance(kid, str) or not kid:
        raise _invalid("kid is missing. Name the registered key.")
    if "crit" in header or header.get("b64") is False:
        raise _invalid("crit is not supported.")
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not issuer:
        raise _invalid("iss is missing. It is the client_id.")
    if not CLIENT_ID.fullmatch(issuer):
        raise _invalid(_NOT_VERIFIED)
    if jku is not None and not isinstance(jku, str):
        raise _invalid("jku is not a URL.")
    return _Unverified(issuer, algorithm, kid, jku)


def _verify(assertion: str, key: PublicKey, algorithm: str, audiences: Collection[str]) -> dict[str, Any]:
    """The claims. Raises `OAuthError`."""
    try:
        return _DECODER.decode(
            assertion,
            key.key,
            algorithms=[algorithm],
            audience=list(audiences),
            leeway=SKEW_S,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError as error:
        raise _invalid("exp is in the past. Make a new assertion for each request.") from error
    except jwt.ImmatureSignatureError as error:
        raise _invalid("nbf or iat is in the future. Compare the clocks.") from error
    except jwt.InvalidAudienceError as error:
        raise _invalid(
            "aud is not the URL of the token endpoint, as smart-configuration gives it."
        ) from error
    except jwt.MissingRequiredClaimError as error:
        raise _invalid(f"A claim is missing. Send {', '.join(_REQUIRED)}.") from error
    except jwt.InvalidSignatureError as error:
        raise _invalid(_NOT_VERIFIED) from error
    except (jwt.InvalidTokenError, jwt.InvalidKeyError, TypeError, ValueError, OverflowError) as error:
        raise _invalid("A claim is not of the type that it should be.") from error


def _invalid(text: str) -> OAuthError:
    return OAuthError("invalid_client", text)
