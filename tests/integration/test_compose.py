"""compose.yaml without a container engine: the command of each service runs as a process on this machine."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.settings import Settings
from broker.store.embedded import find_binary
from tests.integration.broker_fixture import until
from tests.integration.commands import BROKER, REPOSITORY, Command, environment
from tests.ports import free_port

_LOOPBACK = "127.0.0.1"
_BROKERS = {"api", "match", "dispatch-1", "dispatch-2"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    return read


def dockerfile() -> list[tuple[str, str]]:
    """Instruction and argument of each line of the Dockerfile, continued lines joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, rest in lines]


def last(instruction: str) -> str:
    """The argument of the last such instruction, which is the one that applies."""
    return [argument for word, argument in dockerfile() if word == instruction][-1]


class Translation:
    """Rewrites host names and ports of the compose network to free ports on loopback."""

    def __init__(self, compose: dict[str, Any]) -> None:
        self._services = "|".join(compose["services"])
        self._subnet: str = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
        self._ports: defaultdict[tuple[str, str], int] = defaultdict(free_port)

    def port(self, service: str, port: str) -> int:
        return self._ports[service, port]

    def translate(self, service: str, text: str) -> str:
        """The text of a service of compose.yaml as it applies on this machine."""

        def on_loopback(match: re.Match[str]) -> str:
            name = service if match[1] in {_LOOPBACK, "localhost"} else match[1]
            return f"{_LOOPBACK}:{self.port(name, match[2])}"

        text = re.sub(rf"\b({self._services}|127\.0\.0\.1|localhost):(\d+)\b", on_loopback, text)
        text = re.sub(r"(?<=--port=)\d+$", lambda match: str(self.port(service, match[0])), text)
        text = re.sub(
            r"'127\.0\.0\.1', (\d+)", lambda match: f"'{_LOOPBACK}', {self.port(service, match[1])}", text
        )
        return text.replace(self._subnet, "127.0.0.0/8").replace("0.0.0.0", _LOOPBACK)

    def environment(self, service: str, variables: dict[str, str]) -> dict[str, str]:
        translated = {name: self.translate(service, value) for name, value in variables.items()}
        if "BROKER_PORT" in variables:
            translated["BROKER_PORT"] = str(self.port(service, variables["BROKER_PORT"]))
        inherited = {name: v for name, v in environment().items() if not name.startswith("BROKER_")}
        return inherited | translated


class Stack:
    """The services of compose.yaml, started in the order of their conditions."""

    def __init__(self, compose: dict[str, Any], folder: Path, stack: contextlib.ExitStack) -> None:
        self.services: dict[str, dict[str, Any]] = compose["services"]
        self.running: dict[str, Command] = {}
        self._translation = Translation(compose)
        self._folder = folder
        self._stack = stack

    async def start(self, name: str) -> None:
        """Starts what the service depends on, then the service; returns when its health check passes."""
        if name in self.running:
            return
        for dependency, condition in self.services[name].get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, (
                f"{name} waits until {dependency} is healthy"
            )
            await self.start(dependency)
        service = self.services[name]
        env = self._translation.environment(name, service.get("environment", {}))
        log = self._folder / f"{name}.log"
        self.running[name] = self._stack.enter_context(Command(self._command(name), log, env, self._folder))
        if not service.get("healthcheck", {}).get("disable"):

            async def is_healthy() -> bool:
                return self._is_healthy(name, service["healthcheck"]["test"])

            try:
                await until(is_healthy, 30)
            except TimeoutError:
                pytest.fail(f"{name} is not healthy: {self.running[name].output[-2000:]}")

    def _command(self, name: str) -> list[str]:
        command = [self._translation.translate(name, word) for word in self.services[name]["command"]]
        if name == "store":
            assert command.pop(0) == "valkey-server"
            port = str(self._translation.port("store", "6379"))
            return [find_binary(), *command, "--port", port, "--bind", _LOOPBACK, "--dir", str(self._folder)]
        assert json.loads(last("ENTRYPOINT")) == ["fhir-broker"]
        return [BROKER, *command]

    def _is_healthy(self, name: str, test: list[str]) -> bool:
        kind, program, *arguments = test
        assert kind == "CMD"
        if name == "store":  # the bundled server comes without its command line client
            assert [program, *arguments] == ["valkey-cli", "ping"]
            program, arguments = "python", ["-c", _PING.format(self._translation.port("store", "6379"))]
        assert program == "python"
        translated = (
            [self._translation.translate(name, argument) for argument in arguments]
            if name != "store"
            else arguments
        )
        probe = subprocess.run(
            [sys.executable, *translated], capture_output=True, timeout=10, check=False, cwd=self._folder
        )
        return probe.returncode == 0


_PING = (
    "import socket; s = socket.create_connection(('127.0.0.1', {}), 2); s.send(b'PING\\r\\n'); "
    "assert s.recv(9).startswith(b'+PONG')"
)


async def test_the_services_of_the_compose_file_deliver_readings_to_the_demo_subscriber(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as processes:
        stack = Stack(compose, tmp_path, processes)
        for name in stack.services:
            await stack.start(name)
        output = await stack.running["subscriber"].until_output("event-notification #3", timeout_s=20)
        assert "handshake" in output
        assert "Observation/" in output
        for name in ("gateway", "subscriber", *sorted(_BROKERS)):
            assert await stack.running[name].stop() == 0, f"{name}: {stack.running[name].output[-2000:]}"
        for name in _BROKERS:
            assert re.search(r" (error|warning) ", stack.running[name].output) is None


def test_every_service_has_a_health_check_and_dependencies(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == _BROKERS | {"store", "subscriber", "gateway"}
    unchecked = {name for name, service in services.items() if service.get("healthcheck", {}).get("disable")}
    assert unchecked == {"gateway"}, "it has no port, and nothing depends on it"
    assert all(services[name]["healthcheck"].get("test") for name in services.keys() - {"gateway"})
    assert all("depends_on" in services[name] for name in services.keys() - {"store"})
    assert "/readyz" in last("HEALTHCHECK")


def test_nothing_runs_as_root(compose: dict[str, Any]) -> None:
    assert last("USER") not in {"", "root", "0"}
    assert compose["services"]["store"]["user"] not in {"", "root", "0"}
    services = compose["services"].values()
    assert all(service.get("user", last("USER")) not in {"root", "0"} for service in services)


def test_only_this_host_can_reach_the_published_port(compose: dict[str, Any]) -> None:
    services = compose["services"].items()
    published = {name: service["ports"] for name, service in services if "ports" in service}
    assert published == {"api": ["127.0.0.1:8080:8080"]}


def test_the_store_is_durable(compose: dict[str, Any]) -> None:
    store = compose["services"]["store"]
    flags = shlex.join(store["command"])
    for flag in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert flag in flags
    assert store["volumes"] == ["store:/data"]
    assert "store" in compose["volumes"]


def test_the_environment_of_every_service_is_valid(compose: dict[str, Any]) -> None:
    network = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    for name in _BROKERS:
        settings = Settings.from_environment(compose["services"][name]["environment"])
        assert settings.redis_url == "redis://store:6379/0"
        assert settings.base_url == "http://api:8080"
        assert [str(allowed) for allowed in settings.egress_allow] == [network]


def test_the_image_installs_from_the_lock_and_stops_on_sigterm() -> None:
    lines = [rest for word, rest in dockerfile() if word == "RUN"]
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    assert all("--require-hashes" in line or "--no-deps" in line for line in lines if "pip install" in line)
    assert last("STOPSIGNAL") == "SIGTERM"
