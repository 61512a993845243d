"""SMART Backend Services for httpx: gets access tokens, and sends one with each request.

key = PrivateKey.from_pem(Path("gateway.pem").read_bytes())
auth = BackendServices("http://127.0.0.1:8080/r4", "gateway", key, "system/Observation.c")
httpx.post("http://127.0.0.1:8080/r4/Observation", json=observation, auth=auth)
"""

import time
from collections.abc import Generator
from urllib.parse import urljoin, urlsplit

import httpx

from broker.errors import ConfigurationError
from broker.security.private_keys import PrivateKey
from broker.security.token_request_words import ASSERTION_TYPE, GRANT_TYPE

_EARLY_S = 30.0
"""How long before its end a token is replaced (S-103)."""


class BackendServices(httpx.Auth):
    """Authenticates requests to the server of one FHIR base.

    The token is requested at the first request, kept, and replaced before it expires and after a 401. It is
    never sent to another origin than that of `fhir_base` (S-105). Raises `ConfigurationError`, one line,
    where the server gives none.
    """

    requires_response_body = True

    def __init__(self, fhir_base: str, client_id: str, key: PrivateKey, scope: str) -> None:
        self._base = fhir_base.rstrip("/")
        self._client_id = client_id
        self._key = key
        self._scope = scope
        self._token = ""
        self._ends = 0.0
        self._token_url = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _origin(str(request.url)) != _origin(self._base):
            yield request
            return
        was_cached = bool(self._token)
        if time.monotonic() >= self._ends:
            was_cached = False
            yield from self._renew()
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == 401 and was_cached:  # revoked, or the server forgot it
            yield from self._renew()
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _renew(self) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._token_url:
            yield from self._discover()
        form = {
            "grant_type": GRANT_TYPE,
            "scope": self._scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._key.client_assertion(self._client_id, self._token_url),
        }
        response = yield httpx.Request("POST", self._token_url, data=form)
        if response.status_code != 200:
            raise ConfigurationError(
                f"The token endpoint refused the client {self._client_id} ({response.status_code}): "
                f"{_reason(response)} Correct the key, or the registration of the client."
            )
        granted = response.json()
        self._token = granted["access_token"]
        self._ends = time.monotonic() + max(1.0, granted["expires_in"] - _EARLY_S)

    def _discover(self) -> Generator[httpx.Request, httpx.Response, None]:
        url = f"{self._base}/.well-known/smart-configuration"
        response = yield httpx.Request("GET", url, headers={"Accept": "application/json"})
        if response.status_code != 200:
            raise ConfigurationError(
                f"{url} answers {response.status_code}: the server offers no access tokens. "
                "Leave out the client and its key, or correct the URL."
            )
        self._token_url = urljoin(f"{self._base}/", response.json()["token_endpoint"])


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
        return f"{body['error']}: {body.get('error_description', '')}"
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
