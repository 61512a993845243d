"""The broker as processes: started, stopped by signals, shared out over several, refused with one line."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.faults.processes import StoreProcess
from tests.integration.broker_fixture import BrokerFixture, until
from tests.integration.commands import Command, run
from tests.ports import free_port

_NOW = "2025-03-01T08:00:00Z"
_READY_PID = re.compile(r"ready .*?pid\S*?=\S*?(\d+)")


@contextlib.asynccontextmanager
async def desk_at(base: str, subscriber: SimulatedSubscriber) -> AsyncIterator[BrokerFixture]:
    """Each request takes a connection of its own, so that any worker may get it."""
    headers = {"Content-Type": "application/fhir+json", "Connection": "close"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10, trust_env=False) as client:
        yield BrokerFixture(client, subscriber)


def serve(folder: Path, port: int, *arguments: str, **settings: str) -> Command:
    return Command.of_broker(
        folder, "serve", *arguments, **{"port": str(port), "data_dir": str(folder / "data")} | settings
    )


def told(endpoint: Endpoint) -> set[str]:
    return {event.focus.rpartition("/")[2] for one in endpoint.notifications for event in one.events}


async def pour(base: str, prefix: str, accepted: list[str]) -> None:
    """Puts readings one after the other until the broker takes no more; notes each that was acknowledged."""
    async with httpx.AsyncClient(base_url=base, timeout=10, trust_env=False) as client:
        for n in range(5000):
            name = f"{prefix}-{n}"
            reading = observation(HEART_RATE, "ana", _NOW, 72) | {"id": name}
            try:
                response = await client.put(f"/r4/Observation/{name}", json=reading)
            except httpx.TransportError:
                return
            if response.is_success:
                accepted.append(name)


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, "1"), (signal.SIGINT, "2")])
async def test_a_stop_during_a_stream_of_posts_drains_and_loses_nothing(
    tmp_path: Path, subscriber: SimulatedSubscriber, number: signal.Signals, workers: str
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    accepted: list[str] = []
    endpoint = subscriber.endpoint("a")
    with serve(tmp_path, port, "--workers", workers) as first:
        await first.until_ready(base)
        async with desk_at(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a", max_count=5)
        async with asyncio.TaskGroup() as streams:
            for one in range(4):
                streams.create_task(pour(base, f"s{one}", accepted))
            assert await subscriber.wait_until(lambda: len(endpoint.numbers) >= 30)
            assert await first.stop(number) == 0, first.output
        assert len(accepted) >= 30
        assert "Traceback" not in first.output
    with serve(tmp_path, port, "--workers", workers) as second:
        await second.until_ready(base)
        assert await subscriber.wait_until(lambda: set(accepted) <= told(endpoint)), set(accepted) - told(
            endpoint
        )
        async with desk_at(base, subscriber) as broker_fixture:
            await broker_fixture.send()
            assert await subscriber.wait_until(lambda: len(told(endpoint)) > len(accepted))
        assert endpoint.numbers == list(range(1, len(endpoint.numbers) + 1))
        assert await second.stop() == 0, second.output


async def delivered_by_worker(base: str) -> set[int]:
    """How many events each worker has delivered, as far as thirty requests find the workers."""
    seen = set()
    for _ in range(30):
        async with httpx.AsyncClient(base_url=base, timeout=5, trust_env=False) as client:
            metrics = (await client.get("/metrics")).text
            found = re.findall(r"^broker_delivery_latency_seconds_count (\S+)$", metrics, re.MULTILINE)
            seen.add(sum(int(float(one)) for one in found))
    return seen


async def is_steadily_ready(base: str, done: asyncio.Event) -> bool:
    while not done.is_set():
        async with httpx.AsyncClient(base_url=base, timeout=5, trust_env=False) as client:
            if (await client.get("/readyz")).status_code != 200:
                return False
    return True


async def test_workers_share_the_posts_and_one_that_is_killed_is_replaced_while_the_broker_stays_ready(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with serve(tmp_path, port, "--workers", "2") as one:
        output = await one.until_output("ready ", times=2)
        workers = [int(pid) for pid in _READY_PID.findall(output)]
        async with desk_at(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a")
            sent = 0

            async def both_took_part() -> bool:
                nonlocal sent
                await broker_fixture.send(10)
                sent += 10
                seen = await delivered_by_worker(base)
                return len(seen) == 2 and 0 not in seen and sum(seen) >= sent

            await until(both_took_part)
            os.kill(workers[0], signal.SIGKILL)
            done = asyncio.Event()
            watching = asyncio.create_task(is_steadily_ready(base, done))
            output = await one.until_output("ready ", times=3)
            done.set()
            assert await watching
            replaced = [int(pid) for pid in _READY_PID.findall(output)][2]
            assert replaced not in workers
            await broker_fixture.send(5)
            await broker_fixture.until_numbers("a", sent + 5)
        assert await one.stop() == 0
        for pid in (workers[1], replaced):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_workers_whose_supervisor_was_killed_leave_the_port_and_the_data_to_the_next(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with serve(tmp_path, port, "--workers", "2") as first:
        await first.until_output("ready ", times=2)
        async with desk_at(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a")
            await broker_fixture.send(2)
            await broker_fixture.until_numbers("a", 2)
        first.kill()

    async def port_is_free() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    await until(port_is_free, 20)
    with serve(tmp_path, port) as second:
        await second.until_ready(base)
        async with desk_at(base, subscriber) as broker_fixture:
            await broker_fixture.send()
            await broker_fixture.until_numbers("a", 3)


async def test_a_second_start_in_the_same_folder_joins_the_store(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    ports = free_port(), free_port()
    bases = [f"http://127.0.0.1:{port}" for port in ports]
    with serve(tmp_path, ports[0]) as first:
        await first.until_ready(bases[0])
        with serve(tmp_path, ports[1]) as second:
            await second.until_ready(bases[1])
            async with desk_at(bases[0], subscriber) as one, desk_at(bases[1], subscriber) as other:
                await one.subscribe("a")
                await one.send()
                await other.send()
                await one.until_numbers("a", 2)
            assert await second.stop() == 0, second.output
        async with desk_at(bases[0], subscriber) as one:
            await one.send()
            await one.until_numbers("a", 3)


async def test_api_matcher_and_dispatcher_alone_deliver_together(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    store = StoreProcess(tmp_path)
    await store.start()
    ports = {role: free_port() for role in ("api", "match", "dispatch")}
    base = f"http://127.0.0.1:{ports['api']}"
    try:
        with contextlib.ExitStack() as stack:
            roles = {
                role: stack.enter_context(
                    Command.of_broker(tmp_path, role, port=str(port), base_url=base, redis_url=store.url)
                )
                for role, port in ports.items()
            }
            for role, port in ports.items():
                await roles[role].until_ready(f"http://127.0.0.1:{port}")
            async with desk_at(base, subscriber) as broker_fixture:
                await broker_fixture.subscribe("a", content="full-resource")
                await broker_fixture.send(3)
                await broker_fixture.until_numbers("a", 3)
            async with httpx.AsyncClient(trust_env=False) as client:
                matcher = f"http://127.0.0.1:{ports['match']}"
                assert (await client.get(f"{matcher}/r4/metadata")).status_code == 404
                assert "broker_changes_matched_total 3.0" in (await client.get(f"{matcher}/metrics")).text
            for one in roles.values():
                assert await one.stop() == 0, one.output
    finally:
        store.kill()


def refused(folder: Path, *arguments: str, **settings: str) -> str:
    """The one line of a command that ends with exit code 2."""
    ended = run(*arguments, **({"data_dir": str(folder / "data")} | settings))
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("fhir-broker: ")
    return lines[0]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_busy_port_is_told_in_one_line(tmp_path: Path, workers: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = refused(tmp_path, "serve", "--workers", workers, port=port)
    assert f"BROKER_PORT={port}" in line
    assert "Address already in use" in line


@pytest.mark.parametrize(
    ("settings", "named", "workers"),
    [
        ({"port": "eighty"}, "BROKER_PORT='eighty'", "1"),
        ({"hots": "127.0.0.1"}, "BROKER_HOST", "1"),
        ({"host": "0.0.0.0"}, "BROKER_ALLOW_OPEN", "1"),
        ({"host": "0.0.0.0"}, "BROKER_ALLOW_OPEN", "2"),
        ({"topics_dir": "/no/such/folder"}, "/no/such/folder", "1"),
        ({"topics_dir": "/no/such/folder"}, "/no/such/folder", "2"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "127.0.0.1:1", "2"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, settings: dict[str, str], named: str, workers: str
) -> None:
    given = {"port": str(free_port())} | settings
    assert named in refused(tmp_path, "serve", "--workers", workers, **given)


@pytest.mark.parametrize("role", ["api", "match", "dispatch"])
def test_a_role_alone_without_a_shared_store_is_refused(tmp_path: Path, role: str) -> None:
    assert "BROKER_REDIS_URL" in refused(tmp_path, role)
