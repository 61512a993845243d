"""Access tokens of external issuers: JWTs that are verified with the keys of their issuer (RFC 9068), and
whose claims become a principal. ID tokens of people who log in to the console are verified in the same way.

Whatever is wrong with a token, the answer is one and the same `Unauthenticated`. What was verified is kept by
the digest of the token until it expires, or its issuer is configured differently.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jwt

from broker.clock import Clock
from broker.errors import Unauthenticated
from broker.model.change import Tenant
from broker.model.principal import Principal
from broker.model.scopes import Scope, Scopes, covers
from broker.recently_used import RecentlyUsed
from broker.security.clients import CLIENT_ID
from broker.security.issuer_keys import IssuerKey, parse_issuer_keys, select_issuer_key
from broker.security.issuers import Issuer, IssuerFile
from broker.security.key_sets import Fetch, KeySet, KeySets, NoKeySet
from broker.security.scope_grants import check_registrable

MAX_LENGTH = 8_192
MAX_CACHED = 10_000
_MAX_UNUSED_S = 3_600.0
_LAST_SECOND = 253_402_300_799  # of the year 9999
_ACCESS_TOKEN = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_ID_TOKEN = frozenset({"", "jwt"})
"""The values of `typ`, in lower case."""
_DECODER = jwt.PyJWT({"enforce_minimum_key_length": True})


class _Verified(NamedTuple):
    issuer: Issuer
    principal: Principal
    expires_s: float


class IssuerTokens:
    """One a process. `fetch` gets JSON documents."""

    def __init__(self, issuers: IssuerFile, fetch: Fetch, clock: Clock) -> None:
        self._issuers = issuers
        self._fetch = fetch
        self._clock = clock
        self._keys: KeySets[IssuerKey] = KeySets(
            "issuer", self._fetch_keys, lambda text: parse_issuer_keys(json.loads(text)), time.monotonic
        )
        self._cache: RecentlyUsed[bytes, _Verified] = RecentlyUsed(MAX_CACHED, _MAX_UNUSED_S)

    def may_have_issued(self, token: str) -> bool:
        """Whether the token is a JWT, and there is an issuer at all."""
        return bool(self._issuers) and token.count(".") == 2

    async def authenticate(self, token: str) -> Principal:
        """Raises `Unauthenticated`, and `KeysUnavailable`."""
        digest = hashlib.sha256(token.encode()).digest()
        cached = self._cache.get(digest)
        if cached is not None and self._holds(cached):
            return cached.principal
        try:
            verified = await self._verify(token)
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
            raise Unauthenticated(was_sent=True) from error
        self._cache.put(digest, verified)
        return verified.principal

    async def authenticate_person(
        self, id_token: str, issuer: Issuer, client_id: str, nonce: str
    ) -> Principal:
        """The person whom an ID token of the issuer is about (OpenID Connect Core 1.0, 3.1.3.7): `client_id`
        is this broker at the issuer, `nonce` the one of the login. Raises `Unauthenticated` and
        `KeysUnavailable`.
        """
        try:
            sender, claims = await self._claims(id_token, _ID_TOKEN, lambda _: [client_id])
            _check_login(claims, client_id, nonce, is_own=sender is issuer)
            return principal_of(issuer, claims, issuer.person_claims)
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
            raise Unauthenticated(was_sent=True) from error

    def _holds(self, verified: _Verified) -> bool:
        # a file that was loaded again has other objects
        is_configured = self._issuers.find(verified.issuer.url) is verified.issuer
        return is_configured and self._clock.now_ms() / 1000 < verified.expires_s

    async def _verify(self, token: str) -> _Verified:
        """Raises `ValueError` or `InvalidTokenError`, whose texts nobody sees."""
        issuer, claims = await self._claims(token, _ACCESS_TOKEN, lambda issuer: issuer.audiences)
        principal = principal_of(issuer, claims, issuer.client_claims)
        return _Verified(issuer, principal, _expiry_s(claims) + issuer.skew_s)

    async def _claims(
        self, token: str, types: Collection[str], audiences: Callable[[Issuer], Sequence[str]]
    ) -> tuple[Issuer, Mapping[str, Any]]:
        """The issuer and the verified claims. Raises as `_verify`."""
        if len(token) > MAX_LENGTH:
            raise ValueError("too long")
        unverified = jwt.decode_complete(token, options={"verify_signature": False})
        header = unverified["header"]
        issuer = self._issuers.find(unverified["payload"].get("iss", ""))
        if issuer is None:
            raise ValueError("unknown issuer")
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms or not isinstance(kid, str):
            raise ValueError("alg or kid")
        if str(header.get("typ", "")).lower() not in types or "crit" in header or "b64" in header:
            raise ValueError("another kind of token")
        keys = await self._keys.keys_at(issuer.url, kid)
        key = select_issuer_key(keys, kid, algorithm)
        if key is None:
            raise ValueError("unknown key")
        # an ES384 signature takes a third of a millisecond: other requests go on meanwhile
        claims = await asyncio.to_thread(_decode, token, key, algorithm, issuer, audiences(issuer))
        return issuer, claims

    async def _fetch_keys(self, url: str) -> KeySet:
        """The key set of the issuer with that URL: at its jwks_uri, or where its discovery document says."""
        issuer = self._issuers.find(url)
        if issuer is None:
            raise NoKeySet("the issuer is not configured any more")
        if issuer.jwks_uri:
            return await self._fetch(issuer.jwks_uri)
        discovered = json.loads(
            (await self._fetch(f"{url.rstrip('/')}/.well-known/openid-configuration")).text
        )
        if not isinstance(discovered, dict) or discovered.get("issuer") != url:
            raise NoKeySet("the discovery document is that of another issuer")
        if not isinstance(discovered.get("jwks_uri"), str):
            raise NoKeySet("the discovery document has no jwks_uri")
        return await self._fetch(discovered["jwks_uri"])


def _decode(
    token: str, key: IssuerKey, algorithm: str, issuer: Issuer, audiences: Sequence[str]
) -> Mapping[str, Any]:
    return _DECODER.decode(
        token,
        key.key,
        algorithms=[algorithm],
        audience=list(audiences),
        issuer=issuer.url,
        leeway=issuer.skew_s,
        options={"require": ["exp", "iss", "aud"]},
    )


def _check_login(claims: Mapping[str, Any], client_id: str, nonce: str, *, is_own: bool) -> None:
    """Raises `ValueError` unless the ID token was made by the issuer for this client and for this login."""
    if not is_own:
        raise ValueError("another issuer")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims.get("azp", client_id) != client_id or (len(audiences) > 1 and "azp" not in claims):
        raise ValueError("azp")
    sent = claims.get("nonce")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), nonce.encode()):
        raise ValueError("nonce")
    _expiry_s(claims)


def _expiry_s(claims: Mapping[str, Any]) -> float:
    """The verified `exp`, which the library also takes as a string or as a number beyond every clock."""
    expiry = claims["exp"]
    if isinstance(expiry, bool) or not isinstance(expiry, int | float) or expiry > _LAST_SECOND:
        raise ValueError("exp")
    return float(expiry)


def principal_of(issuer: Issuer, claims: Mapping[str, Any], name_claims: Sequence[str]) -> Principal:
    """Who the verified claims speak of: the first of `name_claims` that is there. Raises `ValueError` where
    they name no client or tenant, and for a token that is bound to a key of its holder, which is no bearer
    token.
    """
    if "cnf" in claims:
        raise ValueError("bound to a key")
    names = [name for path in name_claims for name in _texts(claims, path)]
    if not names or not CLIENT_ID.fullmatch(names[0]):
        raise ValueError("no client")
    tenant = _tenant(issuer, claims)
    if names[0] in issuer.disabled_clients:
        raise ValueError("disabled")
    groups = {group for path in issuer.group_claims for group in _texts(claims, path)}
    grants = [grant for name, grant in issuer.groups.items() if name in groups]
    words = [word for path in issuer.scope_claims for text in _texts(claims, path) for word in text.split()]
    scopes = _granted(words, issuer.scopes).union(*(grant.scopes for grant in grants))
    roles: frozenset[str] = frozenset().union(*(grant.roles for grant in grants))
    return Principal(issuer.client_id(tenant, names[0]), tenant, scopes, roles)


def _tenant(issuer: Issuer, claims: Mapping[str, Any]) -> Tenant:
    if not issuer.tenant_claim:
        return issuer.tenants[0]
    values = _texts(claims, issuer.tenant_claim)
    if len(values) != 1 or values[0] not in issuer.tenants:
        raise ValueError("no tenant")
    return Tenant(values[0])


def _granted(words: Sequence[str], limit: Scopes) -> Scopes:
    """The scopes that are SMART scopes for a system and within the limit. Others are for other servers."""
    granted = set()
    for word in words:
        try:
            scope = Scope.parse(word)
            check_registrable(scope)
        except ValueError:
            continue
        if covers(limit, scope):
            granted.add(scope)
    return frozenset(granted)


def _texts(claims: Mapping[str, Any], path: str) -> list[str]:
    """The strings at a path of claims, `realm_access.roles`; none where there is something else. A name with
    dots in it, such as a URL, is looked up first.
    """
    value: Any = claims
    for name in [path] if path in claims else path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
