"""A strict token server: it fetches the client's key set, verifies each assertion, and takes each jti once.

`answer` replaces its good answers, `revoke` makes its tokens invalid, `opened` holds its answers back. Below
`/ehr/` is an endpoint that asks for its tokens; `ehr_requests` are path, Authorization and status of each.
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote_plus

import httpx
import jwt
from aiohttp import web

from broker.security.token_request_words import ASSERTION_TYPE

MAX_LIFETIME_S = 300


class TokenServer:
    """`requests` are the forms of all token requests, `refusals` what was wrong with those refused."""

    def __init__(self) -> None:
        self.url = ""
        self.jwks_url = ""
        self.client_id = "the-broker"
        self.secret = "s3cret/+ of the broker"
        self.requests: list[dict[str, str]] = []
        self.refusals: list[str] = []
        self.tokens: set[str] = set()
        self.issued: list[str] = []
        self.configuration: dict[str, Any] = {}
        self.answer: Callable[[dict[str, Any]], web.Response] = web.json_response
        self.opened = asyncio.Event()
        self.opened.set()
        self.ehr_requests: list[tuple[str, str, int]] = []
        self.is_ehr_open = True
        self._used: set[str] = set()
        self._count = 0

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    def revoke(self) -> None:
        self.tokens.clear()

    def accepts(self, authorization: str) -> bool:
        """Whether a resource server of this one accepts the header."""
        return authorization.startswith("Bearer ") and authorization.removeprefix("Bearer ") in self.tokens

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append(form)
        await self.opened.wait()
        try:
            assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
            assert form["grant_type"] == "client_credentials"
            assert form["scope"]
            if "client_assertion" in form:
                await self._verify(form)
            else:
                basic = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
                client_id, secret = map(unquote_plus, basic.split(":"))
                assert (client_id, secret) == (self.client_id, self.secret)
        except (AssertionError, KeyError, ValueError, jwt.PyJWTError) as error:
            self.refusals.append(repr(error))
            return web.json_response({"error": "invalid_client", "error_description": str(form)}, status=400)
        self._count += 1
        token = f"access-token-marker-{self._count}"
        self.tokens.add(token)
        self.issued.append(token)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": form["scope"]}
        return self.answer(body)

    async def _verify(self, form: dict[str, str]) -> None:
        assert form["client_assertion_type"] == ASSERTION_TYPE
        assert "client_secret" not in form
        header = jwt.get_unverified_header(form["client_assertion"])
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            jwks = (await client.get(self.jwks_url)).json()
        (jwk,) = [jwk for jwk in jwks["keys"] if jwk["kid"] == header["kid"]]
        assert header["typ"] == "JWT"
        claims = jwt.decode(
            form["client_assertion"],
            jwt.PyJWK(jwk),
            algorithms=["RS384", "ES384"],
            audience=self.token_url,
            options={"require": ["exp", "iss", "sub", "aud", "jti"]},
        )
        assert claims["iss"] == claims["sub"] == self.client_id
        assert claims["exp"] <= time.time() + MAX_LIFETIME_S
        assert claims["jti"] not in self._used, "the jti was used"
        self._used.add(claims["jti"])

    async def ehr(self, request: web.Request) -> web.Response:
        """An endpoint that asks for a token of this server."""
        authorization = ", ".join(request.headers.getall("Authorization", []))
        status = 200 if self.is_ehr_open and self.accepts(authorization) else 401
        self.ehr_requests.append((request.path, authorization, status))
        return web.Response(status=status)

    async def discovery(self, _request: web.Request) -> web.Response:
        return web.json_response(self.configuration)


@contextlib.asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    app = web.Application()
    app.router.add_post("/token", server.token)
    app.router.add_post("/ehr/{name}", server.ehr)
    app.router.add_get("/fhir/.well-known/smart-configuration", server.discovery)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.opened.set()
        await runner.cleanup()
