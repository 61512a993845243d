"""A broker with access control, and requests to its OAuth endpoints."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import httpx

from broker.app import Running
from broker.security.private_keys import PrivateKey
from broker.security.token_request_words import ASSERTION_TYPE
from tests.conftest import StartBroker
from tests.smart_clients import auth_of, key_of


class SmartBroker:
    """`client` sends requests without credentials; `as_client` gives one that gets tokens."""

    def __init__(self, broker: Running, client: httpx.AsyncClient, clients_dir: Path) -> None:
        self.broker = broker
        self.client = client
        self.clients_dir = clients_dir
        self.base_url = broker.settings.base_url
        self.token_url = f"{self.base_url}/oauth/token"

    def as_client(self, client_id: str, scope: str) -> httpx.AsyncClient:
        """Requests of a registered client, with the scopes."""
        return httpx.AsyncClient(
            base_url=self.base_url,
            auth=auth_of(self.base_url, client_id, scope),
            headers={"Content-Type": "application/fhir+json"},
            timeout=60,
            trust_env=False,
        )

    def claims(self, client_id: str, **changed: Any) -> dict[str, Any]:
        """Those of a good assertion; a claim that is changed to None is left out."""
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": self.token_url,
            "exp": int(time()) + 60,
            "jti": uuid.uuid4().hex,
        } | changed
        return {name: value for name, value in claims.items() if value is not None}

    def assertion(self, client_id: str, *, key: PrivateKey | None = None, **changed: Any) -> str:
        return (key or key_of(client_id)).sign(self.claims(client_id, **changed))

    def form(self, client_id: str, scope: str, **changed: str | None) -> dict[str, str]:
        """The fields of a good token request; a field that is changed to None is left out."""
        fields: Mapping[str, str | None] = {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(client_id),
        } | changed
        return {name: value for name, value in fields.items() if value is not None}

    async def token(self, client_id: str, scope: str) -> str:
        response = await self.client.post("/oauth/token", data=self.form(client_id, scope))
        assert response.status_code == 200, response.text
        return str(response.json()["access_token"])


@asynccontextmanager
async def smart_broker(
    start_broker: StartBroker, clients_dir: Path, **settings: Any
) -> AsyncIterator[SmartBroker]:
    async with (
        start_broker(auth="smart", clients_dir=clients_dir, **settings) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=60, trust_env=False) as client,
    ):
        yield SmartBroker(broker, client, clients_dir)
