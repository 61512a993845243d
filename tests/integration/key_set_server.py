"""A server of key sets: what a client, or an identity provider, has behind its jwks_uri."""

import contextlib
import json
from collections.abc import AsyncIterator

from aiohttp import web

from broker.security.private_keys import PrivateKey


class KeySetServer:
    """Answers with the public parts of `keys`. `heads` are the headers of each request that came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[PrivateKey] = []
        self.cache_control = "max-age=600"
        self.status = 200
        self.text = ""
        self.location = ""
        self.heads: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.heads.append(dict(request.headers))
        headers = {"Cache-Control": self.cache_control}
        if self.location:
            headers["Location"] = self.location
        text = self.text or json.dumps({"keys": [dict(key.public_jwk) for key in self.keys]})
        return web.Response(status=self.status, text=text, headers=headers, content_type="application/json")


@contextlib.asynccontextmanager
async def key_set_server() -> AsyncIterator[KeySetServer]:
    """A server on a free loopback port."""
    app = web.Application()
    runner = web.AppRunner(app)
    server = KeySetServer("")
    app.router.add_get("/jwks", server.answer)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/jwks"
        yield server
    finally:
        await runner.cleanup()
