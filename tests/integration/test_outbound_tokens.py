"""Notifications to endpoints that ask for access tokens, with a strict token server over real HTTP: S-101 to
S-107.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from broker.model.change import DEFAULT_TENANT
from broker.security.broker_keys import BrokerKeys
from broker.store.protocol import Store
from broker.testing.registration import register_subscription, subscription
from broker.testing.subscriber import SimulatedSubscriber
from tests.conftest import StartBroker
from tests.integration.broker_fixture import VITAL_SIGNS, BrokerFixture, broker_with, until
from tests.integration.token_server import TokenServer, token_server
from tests.stores import redis_of

pytestmark = pytest.mark.usefixtures("long_leases")
MARKER = "access-token-marker"


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with token_server() as running:
        yield running


class Outbound(BrokerFixture):
    """Registers endpoints of the token server's side."""

    server: TokenServer

    async def register(self, url: str, **options: Any) -> str:
        document = subscription("r5", VITAL_SIGNS, url, **options)
        return str((await register_subscription(self.client, "/r5", document))["id"])

    async def until_posted(self, path: str, count: int) -> list[tuple[str, str, int]]:
        """The requests to the path that were answered 200, when there are so many."""

        def posted() -> list[tuple[str, str, int]]:
            return [each for each in self.server.ehr_requests if each[0] == path and each[2] == 200]

        async def has_count() -> bool:
            return len(posted()) >= count

        await until(has_count)
        return posted()


@contextlib.asynccontextmanager
async def outbound(
    start_broker: StartBroker,
    subscriber: SimulatedSubscriber,
    server: TokenServer,
    folder: Path,
    **members: str | None,
) -> AsyncIterator[Outbound]:
    """A broker with a key, and a rule for the endpoints below /ehr/ of the server."""
    BrokerKeys(folder / "keys").rotate(DEFAULT_TENANT, 0)
    rule = {
        "url": f"{server.url}/ehr",
        "client_id": server.client_id,
        "scope": "system/Bundle.c",
        "token_endpoint": server.token_url,
    } | members
    path = folder / "outbound.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in rule.items() if value is not None]
    path.write_text("\n".join(["[[endpoint]]", *lines]))
    async with broker_with(
        start_broker,
        subscriber,
        keys_dir=folder / "keys",
        outbound_auth=path,
        handshake_grace=timedelta(seconds=60),
    ) as fixture:
        server.jwks_url = f"{fixture.client.base_url}/oauth/jwks"
        own = Outbound(fixture.client, subscriber)
        own.server = server
        yield own


async def test_many_notifications_need_one_token_that_is_seen_nowhere_else(
    start_broker: StartBroker,
    subscriber: SimulatedSubscriber,
    server: TokenServer,
    tmp_path: Path,
    store: Store,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with outbound(start_broker, subscriber, server, tmp_path) as own:
        ids = [await own.register(f"{server.url}/ehr/{n}") for n in range(3)]
        other = await own.subscribe("elsewhere")
        for each in ids:
            await own.until_status(each, "active")
        await own.send(3)
        for n in range(3):
            for _, authorization, _ in await own.until_posted(f"/ehr/{n}", 4):
                assert authorization == f"Bearer {MARKER}-1"
        await own.until_numbers("elsewhere", 3)
        assert len(server.requests) == 1, "the deliveries shared one token"
        assert server.refusals == []
        for request in subscriber.endpoint("elsewhere").received:
            assert "authorization" not in {name.lower() for name, _ in request.headers}
        shown = ""
        for each in (*ids, other):
            shown += (await own.client.get(f"/r5/Subscription/{each}")).text
            for operation in ("$status", "$events", "$delivery"):
                shown += (await own.client.get(f"/r5/Subscription/{each}/{operation}")).text
        shown += (await own.client.get("/metrics")).text
        assert MARKER not in shown
    redis = redis_of(store)
    dumps = [await redis.dump(key) for key in await redis.keys("*")]
    assert any(b"outbound-token" in key for key in await redis.keys("*")), "it is shared through the store"
    assert not any(MARKER.encode() in (dump or b"") for dump in dumps), "and sealed there"
    written = "".join(capfd.readouterr())
    assert MARKER not in written
    assert server.requests[0]["client_assertion"] not in written


async def test_a_revoked_token_is_replaced_once_and_the_notification_repeated(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, server: TokenServer, tmp_path: Path
) -> None:
    async with outbound(start_broker, subscriber, server, tmp_path) as own:
        one = await own.register(f"{server.url}/ehr/a")
        await own.until_status(one, "active")
        server.revoke()
        await own.send(1)
        posted = await own.until_posted("/ehr/a", 2)
        assert posted[-1][1] == f"Bearer {MARKER}-2"
        assert [status for _, _, status in server.ehr_requests] == [200, 401, 200]
        assert len(server.requests) == 2
        assert server.refusals == [], "each request had a jti of its own"
        assert "error" not in await own.status_of(one)


async def test_an_endpoint_that_refuses_every_token_causes_no_loop(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, server: TokenServer, tmp_path: Path
) -> None:
    server.is_ehr_open = False
    async with outbound(start_broker, subscriber, server, tmp_path) as own:
        one = await own.register(f"{server.url}/ehr/a")
        await own.until_status(one, "error")
        assert [status for _, _, status in server.ehr_requests] == [401, 401]
        assert len(server.requests) == 2
        assert "401" in json.dumps(await own.status_of(one))


async def test_a_failing_token_server_delays_notifications_and_the_reason_is_shown(
    start_broker: StartBroker,
    subscriber: SimulatedSubscriber,
    server: TokenServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.delivery.outbound_tokens.FAILURE_S", 0.1)
    server.answer = lambda _body: web.json_response({"error": f"{MARKER} is broken"}, status=503)
    async with outbound(start_broker, subscriber, server, tmp_path) as own:
        one = await own.register(f"{server.url}/ehr/a")

        async def shows_reason() -> bool:
            return "it answered 503" in json.dumps(await own.status_of(one))

        await until(shows_reason)
        status = json.dumps(await own.status_of(one))
        assert f"no access token from {server.url}: it answered 503" in status
        assert MARKER not in status
        assert server.ehr_requests == []
        assert await own.status(one) == "requested"
        server.answer = web.json_response
        await own.until_status(one, "active")
        await own.send(1)
        await own.until_posted("/ehr/a", 2)
        assert server.refusals == [], "each of the retries had a jti of its own"


async def test_after_a_rotation_the_token_server_finds_the_new_key(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, server: TokenServer, tmp_path: Path
) -> None:
    async with outbound(start_broker, subscriber, server, tmp_path) as own:
        one = await own.register(f"{server.url}/ehr/a")
        await own.until_status(one, "active")
        BrokerKeys(tmp_path / "keys").rotate(DEFAULT_TENANT, 0, at_once=True)
        server.revoke()
        await own.send(1)
        await own.until_posted("/ehr/a", 2)
        assert len(server.requests) == 2
        assert server.refusals == [], "the key set had the new key"


async def test_the_token_endpoint_is_discovered_and_takes_the_place_of_a_registered_header(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, server: TokenServer, tmp_path: Path
) -> None:
    server.configuration = {
        "token_endpoint": "../token",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
    }
    rule = {"token_endpoint": None, "fhir_base": f"{server.url}/fhir"}
    async with outbound(start_broker, subscriber, server, tmp_path, **rule) as own:
        headers = [("Authorization", "Basic of-the-subscriber"), ("X-Ward", "3")]
        one = await own.register(f"{server.url}/ehr/a", headers=headers)
        await own.until_status(one, "active")
        assert [authorization for _, authorization, _ in server.ehr_requests] == [f"Bearer {MARKER}-1"]


async def test_a_client_secret_is_sent_to_the_token_endpoint_alone(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, server: TokenServer, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(server.secret + "\n")
    rule = {"method": "client_secret_basic", "secret_file": "secret"}
    async with outbound(start_broker, subscriber, server, tmp_path, **rule) as own:
        one = await own.register(f"{server.url}/ehr/a")
        await own.until_status(one, "active")
        assert "client_assertion" not in server.requests[0]
        assert server.refusals == []


async def test_a_broker_that_stops_ends_a_token_request_under_way(
    start_broker: StartBroker, subscriber: SimulatedSubscriber, server: TokenServer, tmp_path: Path
) -> None:
    server.opened.clear()
    async with outbound(start_broker, subscriber, server, tmp_path) as own:
        await own.register(f"{server.url}/ehr/a", timeout_s=1)

        async def is_asked() -> bool:
            return bool(server.requests)

        await until(is_asked)
    assert server.ehr_requests == []
