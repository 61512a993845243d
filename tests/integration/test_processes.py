"""The broker as processes: start, stop by signals, several workers or roles, and errors at start."""

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
from prometheus_client.multiprocess import MultiProcessCollector

from broker.testing.readings import HEART_RATE, observation
from broker.testing.subscriber import Endpoint, SimulatedSubscriber
from tests.collector import CollectedSpan, Collector
from tests.faults.processes import StoreProcess
from tests.integration.broker_fixture import WAIT_S, BrokerFixture, until
from tests.integration.commands import Command, environment, run
from tests.integration.readiness import first_not_ready
from tests.metrics import read_total, total
from tests.ports import free_port
from tests.stores import SharedStore

_NOW = "2025-03-01T08:00:00Z"
_READY_PID = re.compile(r"ready .*?pid\S*?=\S*?(\d+)")


@contextlib.asynccontextmanager
async def connect(base: str, subscriber: SimulatedSubscriber) -> AsyncIterator[BrokerFixture]:
    """Sends each request over a new connection, so that any worker may get it."""
    headers = {"Content-Type": "application/fhir+json", "Connection": "close"}
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=30, trust_env=False) as client:
        yield BrokerFixture(client, subscriber)


def serve(folder: Path, port: int, *arguments: str, **settings: str) -> Command:
    return Command.of_broker(
        folder, "serve", *arguments, **{"port": str(port), "data_dir": str(folder / "data")} | settings
    )


def notified_ids(endpoint: Endpoint) -> set[str]:
    """The ids of the resources that were notified."""
    return {event.focus.rpartition("/")[2] for each in endpoint.notifications for event in each.events}


async def put_until_refused(base: str, prefix: str, accepted: list[str]) -> None:
    """Puts readings one after the other until the broker stops; adds each acknowledged one to `accepted`."""
    async with httpx.AsyncClient(base_url=base, timeout=30, trust_env=False) as client:
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
        async with connect(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a", max_count=5)
        async with asyncio.TaskGroup() as streams:
            for n in range(4):
                streams.create_task(put_until_refused(base, f"s{n}", accepted))
            assert await subscriber.wait_until(lambda: len(endpoint.numbers) >= 30)
            assert await first.stop(number) == (130 if number is signal.SIGINT else 0), first.output
        assert len(accepted) >= 30
        assert "Traceback" not in first.output
    with serve(tmp_path, port, "--workers", workers) as second:
        await second.until_ready(base)
        assert await subscriber.wait_until(lambda: set(accepted) <= notified_ids(endpoint)), set(
            accepted
        ) - notified_ids(endpoint)
        async with connect(base, subscriber) as broker_fixture:
            await broker_fixture.send()
            assert await subscriber.wait_until(lambda: len(notified_ids(endpoint)) > len(accepted))
        assert endpoint.numbers == list(range(1, len(endpoint.numbers) + 1))
        assert await second.stop() == 0, second.output


def delivered_by_worker(folder: Path) -> list[int]:
    """How many events each worker has delivered, from the files that hold their metrics."""
    counts = []
    for file in folder.glob("fhir-broker-metrics-*/histogram_*.db"):
        metrics = MultiProcessCollector.merge([str(file)])  # type: ignore[no-untyped-call]
        samples = [sample for metric in metrics for sample in metric.samples]
        counts += [
            int(sample.value) for sample in samples if sample.name == "broker_delivery_latency_seconds_count"
        ]
    return counts


def lag_files(folder: Path) -> set[str]:
    """The names of the files that hold the current values of the workers."""
    return {file.name for file in folder.glob("fhir-broker-metrics-*/gauge_livemax_*.db")}


async def send_until_all_workers_delivered(fixture: BrokerFixture, folder: Path, workers: int) -> int:
    """Returns how many events were delivered, all of them counted by the workers and in the store."""
    sent = 0

    async def are_counted() -> bool:
        delivered = await read_total(fixture.client, "broker_events_delivered_total")
        return sum(delivered_by_worker(folder)) == delivered == sent

    async with asyncio.timeout(2 * WAIT_S):
        while 0 in (counts := delivered_by_worker(folder)) or len(counts) < workers:
            await fixture.send(5)
            sent += 5
            await until(are_counted)  # a worker keeps a subscription while it has events left
    return sent


async def test_a_killed_worker_is_replaced_while_the_broker_stays_ready(
    tmp_path: Path, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with serve(tmp_path, port, "--workers", "2") as command:
        output = await command.until_output("ready ", times=2)
        workers = [int(pid) for pid in _READY_PID.findall(output)]
        async with connect(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a")
            sent = await send_until_all_workers_delivered(broker_fixture, tmp_path, 2)
            os.kill(workers[0], signal.SIGKILL)
            done = asyncio.Event()
            watching = asyncio.create_task(first_not_ready(base, done))
            output = await command.until_output("ready ", times=3)
            done.set()
            assert await watching == ""
            replacement = [int(pid) for pid in _READY_PID.findall(output)][2]
            assert replacement not in workers
            await broker_fixture.send(5)
            await broker_fixture.until_numbers("a", sent + 5)
        assert await command.stop() == 0
        for pid in (workers[1], replacement):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_a_scrape_answers_for_all_workers_also_for_one_that_has_ended(
    tmp_path: Path, subscriber: SimulatedSubscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with serve(tmp_path, port, "--workers", "2") as command:
        output = await command.until_output("ready ", times=2)
        async with connect(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a")
            sent = await send_until_all_workers_delivered(broker_fixture, tmp_path, 2)

            async def assert_scrapes_report_all() -> None:
                for _ in range(12):  # each may reach the other worker
                    page = (await broker_fixture.client.get("/metrics")).text
                    assert total(page, "broker_delivery_latency_seconds_count") == sent
                    assert total(page, "broker_events_delivered_total") == sent
                    assert total(page, "broker_changes_accepted_total", interaction="create") == sent

            await assert_scrapes_report_all()
            killed = int(_READY_PID.findall(output)[0])
            os.kill(killed, signal.SIGKILL)
            await command.until_output("ready ", times=3)
            await assert_scrapes_report_all()
        lags = lag_files(tmp_path)
        assert len(lags) == 2, "of the workers that run"
        assert f"gauge_livemax_{killed}.db" not in lags
        assert await command.stop() == 0
    assert delivered_by_worker(tmp_path) == [], "the directory is deleted"


async def test_workers_of_a_killed_supervisor_release_the_port_and_the_data(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with serve(tmp_path, port, "--workers", "2") as first:
        await first.until_output("ready ", times=2)
        async with connect(base, subscriber) as broker_fixture:
            await broker_fixture.subscribe("a")
            await broker_fixture.send(2)
            await broker_fixture.until_numbers("a", 2)
        first.kill()

    async def port_is_free() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    await until(port_is_free)
    with serve(tmp_path, port) as second:
        await second.until_ready(base)
        async with connect(base, subscriber) as broker_fixture:
            await broker_fixture.send()
            await broker_fixture.until_numbers("a", 3)


async def test_a_process_whose_settings_differ_is_refused_or_warned(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with serve(tmp_path, port) as first:
        await first.until_ready(base)
        same = {
            "redis_url": f"unix://{tmp_path}/data/valkey.sock",
            "port": str(free_port()),
            "base_url": base,
        }
        line = error_of(tmp_path, "match", **same | {"base_url": "https://fhir.example", "retention": "4d"})
        assert f"BROKER_BASE_URL is https://fhir.example here and {base} in process {first.pid} on " in line
        assert "BROKER_RETENTION is 4d here and 7d in process" in line
        with Command.of_broker(tmp_path, "dispatch", **same, retry_max="500ms") as second:
            output = await second.until_output("processes of one store have different settings")
            assert "variable=BROKER_RETRY_MAX here=500ms there=400ms" in output
            await second.until_ready(f"http://127.0.0.1:{same['port']}")


async def test_api_matcher_and_dispatcher_deliver_as_separate_processes(
    tmp_path: Path, subscriber: SimulatedSubscriber
) -> None:
    """Each process adds its spans to the trace of the change."""
    store = StoreProcess(tmp_path)
    await store.start()
    ports = {role: free_port() for role in ("api", "match", "dispatch")}
    base = f"http://127.0.0.1:{ports['api']}"
    try:
        async with Collector() as collector, contextlib.AsyncExitStack() as stack:
            shared = {"base_url": base, "redis_url": store.url}
            traced = {"traces_url": collector.url, "traces_ratio": "1"}
            roles = {
                role: stack.enter_context(
                    Command.of_broker(tmp_path, role, port=str(port), **shared, **traced)
                )
                for role, port in ports.items()
            }
            for role, port in ports.items():
                await roles[role].until_ready(f"http://127.0.0.1:{port}")
            async with connect(base, subscriber) as broker_fixture:
                await broker_fixture.subscribe("a", content="full-resource")
                await broker_fixture.send(3)
                await broker_fixture.until_numbers("a", 3)
            matcher = f"http://127.0.0.1:{ports['match']}"
            async with httpx.AsyncClient(base_url=matcher, trust_env=False, timeout=60) as client:
                assert (await client.get("/r4/metadata")).status_code == 404

                async def are_matched() -> bool:
                    """A change is matched after its events, which arrived, were appended."""
                    return await read_total(client, "broker_changes_matched_total") == 3

                await until(are_matched)

            def of_events() -> list[list[CollectedSpan]]:
                chains = [collector.chain(span) for span in collector.named("send")]
                return [chain for chain in chains if chain[0].name.startswith("POST ")]

            # a process that stops tries once, and briefly, to send the spans that wait
            await collector.until(lambda: len(of_events()) == 3)
            for command in roles.values():
                assert await command.stop() == 0, command.output
            assert [[span.name for span in chain] for chain in of_events()] == [
                ["POST /{release}/{type}", "match", "deliver", "send"]
            ] * 3
            for chain in of_events():
                assert [span.resource["fhir_broker.roles"] for span in chain] == [
                    "api",
                    "match",
                    "dispatch",
                    "dispatch",
                ]
                assert len({span.trace_id for span in chain}) == 1
                assert len({span.resource["service.instance.id"] for span in chain}) == 3
    finally:
        store.kill()


def error_of(folder: Path, *arguments: str, **settings: str) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    ended = run(*arguments, **({"data_dir": str(folder / "data")} | settings))
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("fhir-broker: ")
    return lines[0]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path, workers: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = error_of(tmp_path, "serve", "--workers", workers, port=port)
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
def test_a_setting_that_is_not_valid_is_reported_in_one_line(
    tmp_path: Path, settings: dict[str, str], named: str, workers: str
) -> None:
    variables = {"port": str(free_port())} | settings
    assert named in error_of(tmp_path, "serve", "--workers", workers, **variables)


@pytest.mark.parametrize("role", ["api", "match", "dispatch"])
def test_a_role_without_a_shared_store_is_refused(tmp_path: Path, role: str) -> None:
    assert "BROKER_REDIS_URL" in error_of(tmp_path, role)


async def test_a_process_reports_to_systemd_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, shared_store: SharedStore
) -> None:
    await shared_store.flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        env = environment(redis_url=shared_store.url, port="0") | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with Command(["fhir-broker", "match"], tmp_path / "match.log", env) as process:
            assert await asyncio.to_thread(systemd.recv, 64) == b"READY=1"
            assert "ready" in process.output
            assert await process.stop() == 0
            assert systemd.recv(64) == b"STOPPING=1"
