"""Liveness and readiness while the store is unavailable, and the stores that a start refuses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import failpoints
from broker.app import Running
from broker.tasks import end
from broker.testing.readings import HEART_RATE, observation
from tests.faults.processes import BrokerProcess, StoreProcess, started
from tests.integration.broker_fixture import until_ready
from tests.spawning import run_broker


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[StoreProcess]:
    store = StoreProcess(tmp_path)
    await store.start()
    yield store
    store.kill()


async def readiness(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    response = await client.get("/readyz")
    return response.status_code, response.json()["parts"]


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "suspended"])
async def test_while_the_store_is_unavailable_a_process_is_alive_but_not_ready_and_gives_the_reason(
    is_killed: bool, valkey: StoreProcess, tmp_path: Path
) -> None:
    broker = BrokerProcess("serve", tmp_path, redis_url=valkey.url)
    async with (
        started(broker),
        httpx.AsyncClient(base_url=broker.base, timeout=30, trust_env=False) as client,
    ):
        parts = (await until_ready(client)).json()["parts"]
        assert parts == dict.fromkeys(parts, "ok")
        if is_killed:
            valkey.kill()
        else:
            valkey.suspend()
        reading = asyncio.create_task(client.get("/r4/Observation/absent"))
        status, parts = await readiness(client)
        assert (status, parts["store"]) == (503, "does not answer")
        assert is_killed or not reading.done(), "readiness does not wait as long as a command to the store"
        assert (await client.get("/livez")).status_code == 200
        if is_killed:
            await valkey.start()
        else:
            valkey.resume()
        await reading
        async with asyncio.timeout(60):
            while (await readiness(client))[0] != 200:  # noqa: ASYNC110 another process sets no event
                await asyncio.sleep(0.05)


async def test_when_the_group_commit_has_ended_readyz_names_it_and_changes_are_refused_at_once(
    broker: Running, client: httpx.AsyncClient
) -> None:
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72)
    assert (await client.post("/r4/Observation", json=reading)).status_code == 201
    await end([broker.tasks["group commit"]])
    async with asyncio.timeout(60):
        while (parts := (await readiness(client))[1])["store"] != "ok":  # noqa: ASYNC110 it may need longer
            await asyncio.sleep(0.05)
    assert (await readiness(client))[0] == 503
    assert parts.pop("group commit") == "stopped"
    assert set(parts.values()) == {"ok"}
    async with asyncio.timeout(60):  # a request that waited for the group commit would never be answered
        refused = await client.post("/r4/Observation", json=reading)
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers


async def test_readyz_reports_a_worker_that_was_restarted(broker: Running, client: httpx.AsyncClient) -> None:
    failpoints.arm(failpoints.parse("matcher.after-read:error"))
    reading = observation(HEART_RATE, "ana", "2025-03-01T08:00:00Z", 72)
    assert (await client.post("/r4/Observation", json=reading)).status_code == 201
    async with asyncio.timeout(60):
        while (answer := await readiness(client))[1]["matcher"] == "ok":  # noqa: ASYNC110 it sets no event
            await asyncio.sleep(0.02)
    status, parts = answer
    assert (status, parts["matcher"]) == (503, "failed (Failure); restarted")


def refusal(url: str, tmp_path: Path) -> tuple[int, list[str]]:
    """Exit code and error lines of a start on the store."""
    env = {"PATH": "/usr/bin", "BROKER_REDIS_URL": url, "BROKER_PORT": "0"}
    done = run_broker("serve", env=env, timeout_s=120)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["CONFIG SET maxmemory-policy allkeys-lru"], "the store evicts data (maxmemory-policy allkeys-lru)"),
        (["CONFIG SET appendonly no"], "the store keeps no append-only file"),
        (["REPLICAOF 127.0.0.1 1"], "the store is a replica and takes no writes"),
    ],
)
async def test_a_start_on_a_store_that_may_lose_data_is_refused_in_one_line(
    settings: list[str], reason: str, valkey: StoreProcess, tmp_path: Path
) -> None:
    for command in settings:
        assert valkey.ask(command).startswith("+OK")
    code, lines = await asyncio.to_thread(refusal, valkey.url, tmp_path)
    assert code == 2
    assert len(lines) == 1, lines
    assert reason in lines[0]


async def test_a_start_without_a_store_fails_with_one_line(tmp_path: Path) -> None:
    code, lines = await asyncio.to_thread(refusal, f"unix://{tmp_path}/nobody.sock", tmp_path)
    assert code == 2
    assert len(lines) == 1, lines
    assert "the store does not answer" in lines[0]
