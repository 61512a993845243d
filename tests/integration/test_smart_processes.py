"""Access control over several processes: an assertion works once, and what is revoked, disabled or registered
holds in all of them. What a broker says that nobody can use.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker.security.token_request_words import ASSERTION_TYPE
from broker.testing.readings import HEART_RATE, observation
from tests.conftest import StartBroker
from tests.faults.processes import StoreProcess
from tests.integration.broker_fixture import until
from tests.integration.commands import Command, run
from tests.integration.smart_broker import smart_broker
from tests.ports import free_port
from tests.smart_clients import auth_of, key_of, register, registration

_NOW = "2025-03-01T08:00:00Z"
SCOPE = "system/Observation.rs"
BASE = "http://broker.example"
"""What both processes call themselves, as behind a load balancer."""
TOKEN_URL = f"{BASE}/oauth/token"


class TwoProcesses:
    """`clients` send requests to the first and to the second process."""

    def __init__(self, folder: Path, commands: list[Command], clients: list[httpx.AsyncClient]) -> None:
        self.folder = folder
        self.commands = commands
        self.clients = clients

    async def request_token(self, process: int, client_id: str, assertion: str = "") -> httpx.Response:
        form = {
            "grant_type": "client_credentials",
            "scope": SCOPE,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion or key_of(client_id).client_assertion(client_id, TOKEN_URL),
        }
        return await self.clients[process].post("/oauth/token", data=form)

    async def statuses(self, token: str) -> list[int]:
        """What each process answers to a read with the token."""
        headers = {"Authorization": f"Bearer {token}"}
        return [
            (await client.get("/r4/Observation/none", headers=headers)).status_code for client in self.clients
        ]

    async def until_statuses(self, token: str, *expected: int) -> None:
        async def are_expected() -> bool:
            return await self.statuses(token) == list(expected)

        await until(are_expected)

    def reload(self) -> None:
        """By a signal to the first process."""
        os.kill(self.commands[0].pid, signal.SIGHUP)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[TwoProcesses]:
    clients_dir = tmp_path / "clients"
    clients_dir.mkdir()
    register(clients_dir, "gateway", SCOPE)
    store = StoreProcess(tmp_path)
    await store.start()
    ports = [free_port(), free_port()]
    settings = {
        "redis_url": store.url,
        "base_url": BASE,
        "auth": "smart",
        "clients_dir": str(clients_dir),
    }
    try:
        async with contextlib.AsyncExitStack() as stack:
            commands = []
            for port in ports:
                folder = tmp_path / str(port)
                folder.mkdir()
                command = Command.of_broker(folder, "api", port=str(port), **settings)
                commands.append(stack.enter_context(command))
            clients = [
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
                )
                for port in ports
            ]
            for command, port in zip(commands, ports, strict=True):
                await command.until_ready(f"http://127.0.0.1:{port}")
            yield TwoProcesses(clients_dir, commands, clients)
    finally:
        store.kill()


async def test_tokens_assertions_and_registrations_hold_in_every_process(two: TwoProcesses) -> None:
    answer = await two.request_token(0, "gateway")
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    assert await two.statuses(token) == [404, 404]

    for _ in range(5):  # the same assertion sent to both at the same moment
        assertion = key_of("gateway").client_assertion("gateway", TOKEN_URL)
        answers = await asyncio.gather(*(two.request_token(n % 2, "gateway", assertion) for n in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
        assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {
            "invalid_client"
        }

    url = f"{BASE}/oauth/revoke"
    form = {
        "token": token,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": key_of("gateway").client_assertion("gateway", url),
    }
    assert (await two.clients[0].post("/oauth/revoke", data=form)).status_code == 200
    await two.until_statuses(token, 401, 401)

    register(two.folder, "new", SCOPE)
    two.reload()

    async def is_known_to_the_second() -> bool:
        return (await two.request_token(1, "new")).status_code == 200

    await until(is_known_to_the_second)
    token = (await two.request_token(1, "new")).json()["access_token"]
    await two.until_statuses(token, 404, 404)
    register(two.folder, "new", SCOPE, disabled=True)
    two.reload()
    await two.until_statuses(token, 401, 401)
    refused = await two.request_token(1, "new")
    assert refused.json()["error"] == "invalid_client"


async def test_a_client_that_is_registered_by_one_process_is_known_and_disabled_in_every_process(
    two: TwoProcesses,
) -> None:
    register(two.folder, "root", "system/*.cruds", roles=["admin"])
    two.reload()

    async def token_of(client_id: str, scope: str) -> str:
        form = {
            "grant_type": "client_credentials",
            "scope": scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": key_of(client_id).client_assertion(client_id, TOKEN_URL),
        }
        answer = await two.clients[1].post("/oauth/token", data=form)
        return str(answer.json().get("access_token", ""))

    async def is_root_known() -> bool:
        token = await token_of("root", "system/*.cruds")
        if not token:
            return False
        headers["Authorization"] = f"Bearer {token}"
        return (await two.clients[0].get("/oauth/clients", headers=headers)).status_code == 200

    headers: dict[str, str] = {}
    await until(is_root_known)
    members = registration("ehr", SCOPE)
    assert (await two.clients[0].post("/oauth/clients", json=members, headers=headers)).status_code == 201
    tokens = [await token_of("ehr", SCOPE) for _ in range(2)]
    for token in tokens:
        assert await two.statuses(token) == [404, 404]
    disabled = members | {"disabled": True}
    answer = await two.clients[0].put("/oauth/clients/ehr", json=disabled, headers=headers)
    assert answer.status_code == 200
    assert await token_of("ehr", SCOPE) == ""
    await two.until_statuses(tokens[0], 401, 401)
    await two.clients[1].put("/oauth/clients/ehr", json=members, headers=headers)
    await two.until_statuses(tokens[1], 404, 404)
    await two.clients[1].delete("/oauth/clients/ehr", headers=headers)
    await two.until_statuses(tokens[1], 401, 401)


async def test_commands_get_tokens_and_a_broker_without_clients_says_what_to_do(tmp_path: Path) -> None:
    clients_dir, port = tmp_path / "clients", free_port()
    clients_dir.mkdir()
    key = tmp_path / "operator.pem"
    key.write_bytes(key_of("operator").pem)
    base = f"http://127.0.0.1:{port}"
    settings = {
        "port": str(port),
        "data_dir": str(tmp_path / "data"),
        "auth": "smart",
        "clients_dir": str(clients_dir),
    }
    options = ("--base", base, "--client-id", "operator", "--key", str(key))

    async def command(*arguments: str, **variables: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(run, *arguments, **variables)
        return done.returncode, done.stdout, done.stderr

    with Command.of_broker(tmp_path, "serve", **settings) as serve:
        await serve.until_ready(base)
        output = await serve.until_output("no client is registered")
        assert "BROKER_CLIENTS_DIR" in output
        code, _, error = await command("topics", "list", *options)
        assert (code, len(error.splitlines())) == (2, 1)
        assert "invalid_client" in error
        register(
            clients_dir,
            "operator",
            "system/Subscription.cruds system/SubscriptionTopic.rs system/Observation.cr",
            roles=["operator"],
        )
        os.kill(serve.pid, signal.SIGHUP)
        await serve.until_output("clients loaded")
        code, shown, error = await command("topics", "list", *options, "--json")
        assert code == 0, error
        assert len(json.loads(shown)) >= 5
        code, shown, error = await command(
            "subscriptions", "list", "--base", base, "--json", client_id="operator", client_key=str(key)
        )
        assert (code, json.loads(shown)) == (0, []), error
        code, shown, error = await command("dead-letters", "list", *options)
        assert code == 0, error
        code, shown, error = await command("simulate", *options, "--rate", "50", "--seconds", "0.2")
        assert code == 0, shown + error
        code, _, error = await command("topics", "list", "--base", base)
        assert code == 2
        assert "(401)" in error
        code, _, error = await command("topics", "list", "--base", base, "--client-id", "operator")
        assert code == 2
        assert "--key" in error
        key.write_text("no key")
        code, _, error = await command("topics", "list", *options)
        assert (code, len(error.splitlines())) == (2, 1)
        assert "operator.pem" in error
        auth = auth_of(base, "operator", "system/Observation.r")
        async with httpx.AsyncClient(auth=auth, trust_env=False, timeout=60) as client:
            assert (await client.get(f"{base}/metrics")).status_code == 200
        assert await serve.stop() == 0


def test_a_registration_that_is_not_valid_stops_the_start_in_one_line(tmp_path: Path) -> None:
    path = register(tmp_path, "gateway", "system/Observation.dus")
    for workers in ("1", "2"):
        ended = run(
            "serve",
            "--workers",
            workers,
            auth="smart",
            clients_dir=str(tmp_path),
            data_dir=str(tmp_path / "data"),
            port=str(free_port()),
        )
        assert ended.returncode == 2
        [line] = ended.stderr.splitlines()
        assert f"{path}: scope: 'system/Observation.dus'" in line


async def test_a_listener_registers_and_deletes_its_subscription_as_a_client(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    clients_dir, key = tmp_path / "clients", tmp_path / "listener.pem"
    clients_dir.mkdir()
    key.write_bytes(key_of("listener").pem)
    register(clients_dir, "listener", "system/Subscription.cruds system/Observation.r")
    register(clients_dir, "root", "system/*.cruds", roles=["admin"])
    async with (
        smart_broker(start_broker, clients_dir) as smart,
        smart.as_client("root", "system/*.crs") as root,
    ):
        listener = Command.of_broker(
            tmp_path,
            "listen",
            *("--port", "0", "--broker", smart.base_url, "--client-id", "listener", "--key", str(key)),
        )
        with listener:
            await listener.until_output("is active")
            created = await root.post("/r4/Observation", json=observation(HEART_RATE, "ana", _NOW, 72))
            assert created.status_code == 201
            await listener.until_output(f"Observation/{created.json()['id']}")
            assert (await root.get("/r5/Subscription")).json()["total"] == 1
            assert await listener.stop() == 0, listener.output
        assert (await root.get("/r5/Subscription")).json()["total"] == 0
