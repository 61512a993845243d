"""One broker process at a time uses a data directory, and the next one starts as soon as it has ended."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from broker.store import embedded
from broker.store.embedded import EmbeddedServer
from broker.store.process_identity import ProcessIdentity
from tests.integration.broker_fixture import WAIT_S
from tests.integration.commands import Command, run
from tests.ports import free_port


def serve(folder: Path, port: int, *arguments: str) -> Command:
    """Whatever its port, with one base URL: the workers of a killed broker may still be ending."""
    return Command.of_broker(
        folder,
        "serve",
        *arguments,
        port=str(port),
        data_dir=str(folder / "data"),
        base_url="http://broker.example.org",
    )


@pytest.mark.parametrize(
    ("workers", "others"), [("1", [["serve", "--workers", "2"], ["migrate"]]), ("2", [["serve"]])]
)
async def test_a_second_process_is_refused_by_name_until_the_first_is_killed(
    tmp_path: Path, workers: str, others: list[list[str]]
) -> None:
    data, port = tmp_path / "data", free_port()
    with serve(tmp_path, port, "--workers", workers) as first:
        await first.until_ready(f"http://127.0.0.1:{port}")
        lock = json.loads((data / "owner.lock").read_bytes())
        owner = ProcessIdentity.from_dict(lock)
        assert owner.pid == first.pid
        assert not owner.has_ended()
        # also on the port of the first: the directory is the reason that the user can act on
        for other in others:
            refused = run(*other, port=str(port), data_dir=str(data))
            assert refused.returncode == 2, refused.stderr
            assert refused.stderr == (
                f"fhir-broker: BROKER_DATA_DIR={data} is in use by process {first.pid} since "
                f"{lock['since']}. Stop that process, or set another BROKER_DATA_DIR.\n"
            )
        first.kill()
        assert owner.has_ended(), "the lock file proves it, for whoever takes over"
    another = free_port()
    with serve(tmp_path, another) as second:
        await second.until_ready(f"http://127.0.0.1:{another}")
        assert json.loads((data / "owner.lock").read_bytes())["pid"] == second.pid


def test_a_start_waits_for_a_store_that_loads_longer_than_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    with redis.Redis.from_url(server.url, protocol=2) as client:
        for n in range(200):
            client.set(f"key {n}", os.urandom(1000))
        client.bgrewriteaof()
        deadline = time.monotonic() + WAIT_S
        while client.info("persistence")["aof_base_size"] < 200_000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    server.stop()
    configured, probe = EmbeddedServer._configuration, EmbeddedServer._probe
    passed_s = 0.0
    """By the clock of the start. Only while the server loads does time pass, and a lot with each reply."""

    def slow(self: EmbeddedServer, path: Path) -> Iterator[str]:
        yield "key-load-delay 100000"  # µs, so 20 s in all
        yield "loading-process-events-interval-bytes 1024"
        yield from configured(self, path)

    def passing(self: EmbeddedServer) -> bytes:
        nonlocal passed_s
        reply = probe(self)
        if reply.startswith(b"-LOADING"):
            passed_s += 0.7 * embedded._START_DEADLINE_S
        if passed_s > 2 * embedded._START_DEADLINE_S:  # enough
            with redis.Redis.from_url(self.url, protocol=2) as loading:
                loading.config_set("key-load-delay", 0)
        return reply

    clock = SimpleNamespace(monotonic=lambda: passed_s, sleep=time.sleep)
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedServer, "_configuration", slow)
        patched.setattr(EmbeddedServer, "_probe", passing)
        patched.setattr(embedded, "time", clock)
        server.start()
    assert passed_s > 2 * embedded._START_DEADLINE_S
    with redis.Redis.from_url(server.url, protocol=2) as client:
        assert client.dbsize() == 200
    server.stop()
