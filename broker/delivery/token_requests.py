"""One request for one access token: discovery, authentication and the judgement of the answer (S-101, S-102).

Each request has an assertion of its own and is sent once, on a connection of its own. Requests go through the
egress guard; redirects are not followed. No text has a key, a secret or a token, nor what a server wrote but
the error codes of RFC 6749.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode, urljoin, urlsplit

import structlog

from broker.egress.documents import Document, NotFetched
from broker.egress.http import HttpFailure, HttpPost
from broker.errors import BrokerError
from broker.security.broker_keys import BrokerKeys
from broker.security.key_provider import sign_jwt
from broker.security.outbound_rules import OutboundRule
from broker.security.private_keys import assertion_claims
from broker.security.token_request_words import ASSERTION_TYPE, GRANT_TYPE

TIMEOUT_S = 10.0
DEFAULT_LIFETIME_S = 300.0
"""For a server that does not say for how long its token is valid (RFC 6749, 5.1): what SMART recommends."""
MAX_LIFETIME_S = 3_600.0
"""A longer lifetime is cut, so that a changed registration shows."""
_DISCOVERY_S = 3_600.0
_MIN_DISCOVERY_S = 60.0
_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
_TOKEN = re.compile(r"[\x21-\x7e]+")
_log = structlog.get_logger(__name__)

Get = Callable[[str], Awaitable[Document]]


class IssuedToken(NamedTuple):
    """An access token, valid for `lifetime_s` from now."""

    value: str
    lifetime_s: float


class TokenRefused(Exception):  # noqa: N818 an expected result
    """There is no token. The text is for the subscriber too."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class TokenRequests:
    """`post` must not repeat a request by itself; `get` fetches the discovery documents."""

    def __init__(self, post: HttpPost, get: Get, keys: BrokerKeys) -> None:
        self._post = post
        self._get = get
        self._keys = keys
        self._discovered: dict[str, tuple[dict[str, Any], float]] = {}

    async def request(self, rule: OutboundRule) -> IssuedToken:
        """A new token. Raises `TokenRefused`."""
        url = rule.token_endpoint or await self._discover(rule)
        form = {"grant_type": GRANT_TYPE, "scope": rule.scope}
        headers: tuple[tuple[str, str], ...] = ()
        try:
            if rule.method == "private_key_jwt":
                assertion = await asyncio.to_thread(self._assertion, rule, url)
                form |= {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
            else:
                headers = (("Authorization", _basic(rule.client_id, await asyncio.to_thread(rule.secret))),)
        except BrokerError as error:
            _log.error("no credentials for a token endpoint", tenant=rule.tenant, url=url, error=str(error))
            raise TokenRefused(
                f"the broker has no credentials for {_origin(url)}; its log says why"
            ) from None
        answer = await self._post(
            url,
            headers=(("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")),
            attempt_headers=headers,
            body=urlencode(form).encode(),
            timeout_s=TIMEOUT_S,
            tenant=rule.tenant,
        )
        if isinstance(answer, HttpFailure):
            raise TokenRefused(f"no access token from {_origin(url)}: {answer.text}")
        if answer.status != 200:
            text = f"no access token from {_origin(url)}: it answered {answer.status}{_code(answer.body)}"
            raise TokenRefused(text, answer.retry_after_s)
        try:
            return _issued(json.loads(answer.body))
        except ValueError as error:
            reason = "no JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else error
            raise TokenRefused(f"no access token from {_origin(url)}: its answer is {reason}") from None

    def _assertion(self, rule: OutboundRule, url: str) -> str:
        """Blocks as long as the key's provider does."""
        return sign_jwt(self._keys.signer(rule.tenant), assertion_claims(rule.client_id, url))

    async def _discover(self, rule: OutboundRule) -> str:
        """The token endpoint of a FHIR base; a relative one is resolved against the base (S-004)."""
        document = await self._configuration(rule.fhir_base)
        endpoint = document.get("token_endpoint")
        where = f"the smart-configuration of {_origin(rule.fhir_base)}"
        if not isinstance(endpoint, str) or not endpoint:
            raise TokenRefused(f"{where} names no token_endpoint")
        methods = document.get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and rule.method not in methods:
            raise TokenRefused(f"{where} does not offer {rule.method}")
        algorithms = document.get("token_endpoint_auth_signing_alg_values_supported")
        if rule.method == "private_key_jwt" and isinstance(algorithms, list):
            try:
                signer = await asyncio.to_thread(self._keys.signer, rule.tenant)
                algorithm = (await asyncio.to_thread(lambda: signer.public_jwk))["alg"]
            except BrokerError as error:
                _log.error("the broker's key is unavailable", tenant=rule.tenant, error=str(error))
                raise TokenRefused("the broker's key is unavailable; its log says why") from None
            if algorithm not in algorithms:
                raise TokenRefused(f"{where} does not offer {algorithm}, by which the broker signs")
        return urljoin(rule.fhir_base + "/", endpoint)

    async def _configuration(self, base: str) -> dict[str, Any]:
        kept = self._discovered.get(base)
        if kept is not None and kept[1] > time.monotonic():
            return kept[0]
        where = f"the smart-configuration of {_origin(base)}"
        try:
            document = await self._get(f"{base}/.well-known/smart-configuration")
            members = json.loads(document.body)
        except NotFetched as error:
            raise TokenRefused(f"{where} was not fetched: {error}") from None
        except ValueError:
            raise TokenRefused(f"{where} is no JSON") from None
        if not isinstance(members, dict):
            raise TokenRefused(f"{where} is no JSON object")
        lifetime_s = _DISCOVERY_S if document.lifetime_s is None else document.lifetime_s
        kept_s = min(max(lifetime_s, _MIN_DISCOVERY_S), _DISCOVERY_S)
        self._discovered[base] = members, time.monotonic() + kept_s
        return members


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749, 2.3.1."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _code(body: bytes) -> str:
    """The error code of RFC 6749, 5.2, if it is one of those: other text may repeat what was sent."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    code = document.get("error") if isinstance(document, dict) else None
    return f" {code}" if isinstance(code, str) and code in _CODES else ""


def _issued(document: object) -> IssuedToken:
    """S-064. Raises `ValueError`, whose text says what the answer is."""
    if not isinstance(document, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 the text is for people
    value, token_type = document.get("access_token"), document.get("token_type")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("without a usable access_token")
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise ValueError("of a token_type other than bearer")
    expires_in = document.get("expires_in")
    if expires_in is None:
        return IssuedToken(value, DEFAULT_LIFETIME_S)
    if isinstance(expires_in, str) and re.fullmatch(r"[0-9]{1,9}", expires_in):
        expires_in = int(expires_in)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not expires_in > 0:
        raise ValueError("with an expires_in that is no positive number")
    return IssuedToken(value, float(min(expires_in, MAX_LIFETIME_S)))
