"""`python -m tests.keycloak`: has a real Keycloak issue access tokens for a broker (BROKER_ISSUERS).

Exit code 0: every check holds. 1: one does not. 77: Keycloak cannot be had here; nothing was checked.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import jwt
from rich.console import Console

from broker.app import running
from broker.settings import Settings
from broker.telemetry import logs
from tests.conftest import LOOPBACK
from tests.keycloak import realm
from tests.keycloak.server import VERSION, Keycloak, Unavailable, distribution, running_keycloak

SKIPPED = 77
_WAIT_S = 60.0
_ISSUERS = """
[[issuer]]
name = "keycloak"
issuer = "{issuer}"
audience = "{audience}"
scope = "system/Observation.rs system/Subscription.rs"
group_claims = ["realm_access.roles"]
[issuer.groups.broker-operators]
roles = ["operator"]
"""
_CONSOLE = Console(soft_wrap=True, markup=False, highlight=False)


class Check:
    """Sends requests with tokens of the realm, and says of each check whether it holds."""

    def __init__(self, keycloak: Keycloak, http: httpx.AsyncClient) -> None:
        self._keycloak = keycloak
        self._http = http
        self.failed = 0

    async def run(self) -> None:
        say = self._say
        first = realm.token_of(self._keycloak)
        say("a token opens what its scope names", await self._status("/r4/Observation/none", first) == 404)
        say("and nothing else", await self._status("/r4/Patient/none", first) == 403)
        say("a role that it lacks opens nothing", await self._status("/metrics", first) == 403)
        elsewhere = realm.token_of(self._keycloak, realm.OTHER_AUDIENCE)
        say(
            "a token for another audience is refused",
            await self._status("/r4/Observation/none", elsewhere) == 401,
        )
        head, claims, signature = first.split(".")
        forged = f"{head}.{claims}.{signature[:-8]}AAAAAAAA"
        say("a forged token is refused", await self._status("/r4/Observation/none", forged) == 401)
        realm.grant_role(self._keycloak, "broker-operators")
        operator = realm.token_of(self._keycloak)
        say("a role of the realm is one here", await self._status("/metrics", operator) == 200)
        await self._rotation(first)

    async def _rotation(self, before: str) -> None:
        realm.rotate_key(self._keycloak)
        rotated = realm.token_of(self._keycloak)
        self._say("the realm signs with another key", _kid(rotated) != _kid(before))
        # the set is fetched again for an unknown kid, at most every ten seconds
        is_accepted = await _until(lambda: self._is_status("/r4/Observation/none", rotated, 404))
        self._say("a token of the new key is accepted", is_accepted)
        self._say("a token of the key before too", await self._status("/r4/Observation/none", before) == 404)
        realm.withdraw_old_keys(self._keycloak)
        fresh = realm.token_of(self._keycloak)
        self._say("the old key may be withdrawn", await self._status("/r4/Observation/none", fresh) == 404)

    async def _status(self, path: str, token: str) -> int:
        answer = await self._http.get(path, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code

    async def _is_status(self, path: str, token: str, status: int) -> bool:
        return await self._status(path, token) == status

    def _say(self, what: str, holds: bool) -> None:
        _CONSOLE.print(f"{'ok    ' if holds else 'FAILED'}  {what}")
        self.failed += not holds


def _kid(token: str) -> object:
    return jwt.get_unverified_header(token)["kid"]


async def _until(holds: Callable[[], Awaitable[bool]]) -> bool:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        if await holds():
            return True
        await asyncio.sleep(0.5)
    return False


async def _check(keycloak: Keycloak, folder: Path) -> int:
    clients, issuers = folder / "clients", folder / "issuers.toml"
    clients.mkdir()
    issuers.write_text(_ISSUERS.format(issuer=keycloak.issuer, audience=realm.AUDIENCE))
    settings = Settings(
        port=0,
        auth="smart",
        clients_dir=clients,
        issuers=issuers,
        data_dir=folder / "data",
        egress_allow=LOOPBACK,
    )
    async with (
        running(settings) as broker,
        httpx.AsyncClient(base_url=broker.settings.base_url, timeout=30, trust_env=False) as http,
    ):
        check = Check(keycloak, http)
        await check.run()
        return check.failed


def main() -> int:
    """Downloads, starts and asks Keycloak; the exit code."""
    logs.configure("error", json=False)
    with tempfile.TemporaryDirectory(prefix="keycloak-") as scratch:
        folder = Path(scratch)
        try:
            script = distribution(folder)
        except Unavailable as reason:
            _CONSOLE.print(f"skipped: {reason}")
            return SKIPPED
        with running_keycloak(script) as keycloak:
            _CONSOLE.print(f"Keycloak {VERSION}")
            realm.set_up(keycloak)
            return 1 if asyncio.run(_check(keycloak, folder)) else 0


if __name__ == "__main__":
    sys.exit(main())
