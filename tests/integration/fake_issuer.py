"""A strict fake of an external issuer: a discovery document, a key set, and logins of people by codes."""

import base64
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "https://broker.example"
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """Publishes `keys`, by kid. A code of `grant_code` is exchanged once, for an ID token with its claims, if
    the request proves that it belongs to the login (PKCE).
    """

    def __init__(self) -> None:
        self.url = ""
        self.claimed = ""
        self.keys: dict[str, Any] = {"rsa": RSA_KEY, "ec": EC_KEY}
        self.is_down = False
        self.requests: list[str] = []
        self.codes: dict[str, dict[str, Any]] = {}
        self.secret = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if self.is_down:
            return web.Response(status=503)
        if request.path.endswith("openid-configuration"):
            endpoints = {f"{name}_endpoint": f"{self.url}/{name}" for name in ("authorization", "token")}
            issuer = {"issuer": self.claimed or self.url, "jwks_uri": f"{self.url}/keys"}
            return web.json_response(issuer | endpoints)
        if request.path == "/token":
            return await self._exchange(request)
        return web.json_response({"keys": [_jwk(kid, key) for kid, key in self.keys.items()]})

    def grant_code(self, authorization_url: str, **changed: Any) -> str:
        """The query with which the browser comes back from the login page at the URL, as a person of whom the
        ID token has the changed claims (None: left out).
        """
        asked = dict(parse_qsl(urlsplit(authorization_url).query))
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        claims = {"aud": asked["client_id"], "nonce": asked["nonce"], "sub": "ann", "client_id": None}
        self.codes[code] = {"asked": asked, "claims": {**claims, "scope": None, **changed}}
        return urlencode({"code": code, "state": asked["state"], "iss": self.url})

    async def _exchange(self, request: web.Request) -> web.Response:
        form = await request.post()
        granted = self.codes.pop(str(form.get("code")), None)
        if granted is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        asked, digest = granted["asked"], hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        expected = {"redirect_uri": asked["redirect_uri"], "client_id": asked["client_id"]}
        is_right = proof == asked["code_challenge"] and all(form[key] == expected[key] for key in expected)
        basic = base64.b64encode(f"{asked['client_id']}:{self.secret}".encode()).decode()
        if self.secret and request.headers.get("Authorization") != f"Basic {basic}":
            return web.json_response({"error": "invalid_client"}, status=401)
        if not is_right:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"token_type": "Bearer", "id_token": self.token(**granted["claims"])})

    def token(self, *, algorithm: str = "RS256", kid: str = "rsa", header: Any = None, **changed: Any) -> str:
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "exp": int(time.time()) + 60,
            "client_id": "ehr",
            "scope": "openid system/Observation.rs system/Patient.rs",
            "hospital": "default",
        } | changed
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self.keys.get(kid, RSA_KEY)
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} | (header or {}))


def _jwk(kid: str, key: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    )
    members: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return {"kid": kid, "use": "sig"} | members


@contextlib.asynccontextmanager
async def running_issuer() -> AsyncIterator[Issuer]:
    issuer, app = Issuer(), web.Application()
    app.router.add_route("*", "/{path:.*}", issuer.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield issuer
    finally:
        await runner.cleanup()
